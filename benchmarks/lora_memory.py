"""How much memory an edit of a language model takes with low-rank adapters and without.

    python benchmarks/lora_memory.py

edits a GPT of 43 million weights by each method that has a ``lora_rank``, each in a process of its
own, and writes benchmarks/results/lora_memory.json: bytes at most held beyond the loaded model.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

METHODS = ("gradient_difference", "npo", "simnpo", "rmu")
RANKS = (0, 8)
SIZES = {"vocabulary": 256, "width": 768, "depth": 6, "length": 32}
RESULT = Path(__file__).parent / "results" / "lora_memory.json"


def peak(method: str, rank: int) -> dict[str, Any]:
    """One edit of eight steps on texts of 32 bytes, in this process.

    A small model is edited first, so that modules are imported before anything is measured.
    """
    _edit(method, rank, {"vocabulary": 256, "width": 32, "depth": 2, "length": 32})
    weights, held = _edit(method, rank, SIZES)
    return {"method": method, "rank": rank, "weights": weights, "peak_bytes": held}


def _edit(method: str, rank: int, sizes: dict[str, int]) -> tuple[int, int]:
    """How many weights the model has, and the bytes that the edit held beyond it."""
    from rescind import methods_of
    from rescind.benchmarks.choosing import plain_recipe
    from rescind.benchmarks.cost import metered
    from rescind.core.dataset import Record, Split
    from rescind.testing.memory import MemoryModel, run_of
    from rescind.training.determinism import settle
    from rescind.training.models import trained_model
    from rescind.training.modules import CausalLM

    settle(1)
    recipe = plain_recipe(CausalLM("rescind.training.zoo:gpt", 32, sizes), 1, 1e-3, batch_size=1)
    model = MemoryModel(trained_model(recipe))
    rows = [{"text": f"{i} {'abcdefgh'[i % 8] * 40}"} for i in range(16)]
    split = Split(
        [Record(f"f{i}", row, "") for i, row in enumerate(rows[:8])],
        [Record(f"r{i}", row, "") for i, row in enumerate(rows[8:])],
    )
    settings = {"epochs": 1, "batch_size": 1, "lora_rank": rank}
    with metered() as meter:
        methods_of.make(method, settings).unlearn(model, split, run_of(recipe))
    return sum(p.numel() for p in model.model.module.parameters()), meter.peak_bytes


def apart(method: str, rank: int) -> dict[str, Any]:
    """``peak`` in a fresh process: what an allocator keeps would hide what the next edit takes."""
    code = [sys.executable, __file__, method, str(rank)]
    told = subprocess.run(code, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def main() -> None:
    """All methods at both ranks, side by side."""
    rows = [apart(method, rank) for method in METHODS for rank in RANKS]
    by = {(row["method"], row["rank"]): row["peak_bytes"] for row in rows}
    shares = {m: round(by[m, RANKS[1]] / by[m, 0], 3) for m in METHODS}
    result = {
        "command": "python benchmarks/lora_memory.py",
        "system": f"{platform.system()} {platform.machine()}",
        "threads": 1,
        "rows": rows,
        "peak_with_adapters_over_peak_without": shares,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(shares))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(peak(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
