"""What a proof of a mask costs: processor seconds, bytes and memory, for models of several sizes.

    python benchmarks/mask_proof.py [--cases 131072:3072 5701632:49152]

Weights, gradients and the mask are drawn, 4 % masked, blocks of 64, 32 gradients; compensations are
solved and true, and weights and gradients are mapped as a client's are. A case is a number of
weights and a row size. Each runs in a process of its own, whose peak memory is told; the first
proof of a small statement compiles the loops and is not counted. Right before and after each case a
small one is proved, always the same: processor seconds of a busy machine are longer, and their
ratio is not. Cases that are not run again are kept from the file that it writes:
benchmarks/results/mask_proof_avx512.json with AVX-512, mask_proof.json without. One thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof import soundness
from rescind.proofs.mask_proof.columns import Committed
from rescind.proofs.mask_proof.mapped import let_go, mapped
from rescind.proofs.mask_proof.proof_file import written
from rescind.proofs.mask_proof.prover import Seeds, commit_values, prove
from rescind.proofs.mask_proof.statement import ROOTS, VERSION, Public, Statement
from rescind.proofs.mask_proof.truth import Secret
from rescind.proofs.mask_proof.verifier import verify

RESULTS = Path(__file__).parent / "results"
BLOCK, SKETCHES, SHARE = 64, 32, 0.04
CASES = (
    "131072:3072",
    "1048576:6144",
    "5701632:32768",
    "5701632:49152",
    "28311552:262144",
)
REFERENCE = (131_072, 3_072)  # weights and row size
AT_ONCE = 512  # blocks that are solved together
T = TypeVar("T")


def drawn(weights: int, opened: int, size: int) -> tuple[Statement, Public, Secret]:
    """A true statement without roots."""
    draw, blocks = np.random.default_rng(0), weights // BLOCK
    w, post = (mapped((blocks, BLOCK), np.int64) for _ in range(2))
    g = mapped((blocks, SKETCHES, BLOCK), np.int8)
    mask, damping, pull = np.empty((blocks, BLOCK), dtype=np.bool_), 500, 3_000
    direction = draw.integers(-100, 101, (blocks, BLOCK), dtype=np.int8)
    for start in range(0, blocks, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        w[part] = draw.integers(-(10**6), 10**6, w[part].shape)
        g[part] = draw.integers(-20, 21, g[part].shape, dtype=np.int8)
        mask[part] = draw.random(mask[part].shape) < SHARE
        post[part] = w[part]
        post[part] += solved(w[part], g[part], mask[part], direction[part], damping, pull)
        for values in (w, g, post):
            let_go(values)
    public = Public(mask, direction)
    digests = public.digests()
    terms = TensorTerms(
        name="weights",
        shape=(weights,),
        weight_bits=22,
        gradient_step=0.01,
        damping=damping,
        pull=pull,
        floor=-(2**40),
    )
    statement = Statement(
        version=VERSION,
        tensors=(terms,),
        block=BLOCK,
        sketches=SKETCHES,
        value_bytes=3,
        residual_bits=20,
        degree=2,
        opened=opened,
        size=size,
        mask=digests[0],
        direction=digests[1],
        exceptions=(),
        weights="",
        gradients="",
        post="",
    )
    return statement, public, Secret(w, g, post)


def solved(w: Any, g: Any, mask: Any, direction: Any, damping: int, pull: int) -> Any:
    """The rounded changes of blocks."""
    wide = g.astype(np.float64)
    fisher = wide.transpose(0, 2, 1) @ wide + damping * np.eye(BLOCK)
    right = np.where(
        mask, -w, pull * direction.astype(np.int64) + np.einsum("bij,bj->bi", fisher, w * mask)
    )
    either = mask[:, :, None] | mask[:, None, :]
    reduced = np.where(either, 0.0, fisher) + np.eye(BLOCK) * mask[:, :, None]
    change = np.rint(np.linalg.solve(reduced, right[:, :, None])[:, :, 0]).astype(np.int64)
    return np.where(mask, -w, change) * mask.any(1)[:, None]


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and its processor seconds."""
    started = time.process_time()
    return action(), round(time.process_time() - started, 2)


def one(weights: int, size: int, opened: int) -> dict[str, Any]:
    """One proof, verified, and how it compares with the reference."""
    run(1024, 64, 12)  # compiles
    before = run(*REFERENCE, opened)
    found = run(weights, size, opened)
    after = run(*REFERENCE, opened)
    reference = (spent(before) + spent(after)) / 2 / REFERENCE[0]
    a_weight = spent(found) / weights
    return {
        **found,
        "cpu_microseconds_a_weight": round(1e6 * a_weight, 2),
        "reference_microseconds_a_weight": round(1e6 * reference, 2),
        "of_the_reference": round(a_weight / reference, 2),
    }


def spent(found: dict[str, Any]) -> float:
    """Processor seconds to commit and prove."""
    return float(found["commit_cpu_seconds"] + found["prove_cpu_seconds"])


def run(weights: int, size: int, opened: int) -> dict[str, Any]:
    """Commit, prove, verify."""
    statement, public, secret = drawn(weights, opened, size)
    keys = [os.urandom(32) for _ in range(3)]
    seeds = Seeds(weights=keys[0], gradients=keys[1], post=keys[2])
    values: tuple[Any, ...] = (secret.weights, secret.gradients, secret.post)
    parts = dict(zip(ROOTS, values, strict=True))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def committed(*trees: str) -> dict[str, Committed]:
        return {t: commit_values(t, parts[t], statement, getattr(seeds, t)) for t in trees}

    def proved(said: Statement) -> bytes:
        return written(prove(said, public, secret, seeds, lambda what, done, total: None, trees))

    trees, committing = timed(lambda: committed("weights", "gradients"))
    post, after = timed(lambda: committed("post"))
    trees |= post
    roots = {tree: made.root.hex() for tree, made in trees.items()}
    statement = dataclasses.replace(statement, **roots)  # type: ignore[arg-type]
    proof, proving = timed(lambda: proved(statement))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, verifying = timed(lambda: verify(statement, public, proof))
    return {
        "weights": weights,
        "row_size": size,
        "stacks": statement.stacks,
        "soundness_bits": round(soundness.bits(statement), 1),
        "commit_cpu_seconds": committing,
        "prove_cpu_seconds": round(after + proving, 2),
        "verify_cpu_seconds": verifying,
        "proof_megabytes": round(len(proof) / 1e6, 1),
        "peak_megabytes": round(1024 * peak / 1e6),
        "of_which_before_proving_megabytes": round(1024 * before / 1e6),
    }


def instructions() -> list[str]:
    """Which of those that the loops gain most by this processor has, where that is known."""
    known = Path("/proc/cpuinfo")
    found = known.read_text().split() if known.exists() else []
    names = {"avx512f": "AVX-512", "avx2": "AVX2", "sha_ni": "SHA"}
    return [told for name, told in names.items() if name in found]


def main() -> None:
    """Run each size by itself, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="WEIGHTS:ROW_SIZE")
    parser.add_argument("--opened", type=int, default=244)
    parser.add_argument("--one", help="only this case, to standard output")
    name = "mask_proof_avx512" if "AVX-512" in instructions() else "mask_proof"
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    chosen = parser.parse_args()
    if chosen.one:
        weights, size = map(int, chosen.one.split(":"))
        print(json.dumps(one(weights, size, chosen.opened)))
        return
    rows = kept(chosen.out)
    for case in chosen.cases:
        command = [sys.executable, __file__, "--one", case, "--opened", str(chosen.opened)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout)
        rows[row["weights"], row["row_size"]] = row
        print(row, flush=True)
        store(chosen.out, rows)


def kept(path: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """The rows of a result file whose cases are still asked for."""
    said = json.loads(path.read_text())["rows"] if path.exists() else []
    names = {f"{row['weights']}:{row['row_size']}": row for row in said}
    fine = {case: names[case] for case in CASES if "of_the_reference" in names.get(case, {})}
    return {(row["weights"], row["row_size"]): row for row in fine.values()}


def store(path: Path, rows: dict[tuple[int, int], dict[str, Any]]) -> None:
    """Write what was found so far."""
    kind = " ".join(instructions())
    found = {
        "what": "Cost of committing, proving and verifying a mask, true of drawn weights.",
        "command": "python benchmarks/mask_proof.py",
        "system": f"{platform.system()} {platform.machine()}, 1 thread, with {kind}",
        "block": BLOCK,
        "sketches": SKETCHES,
        "masked": SHARE,
        "reference": f"{REFERENCE[0]} weights, rows of {REFERENCE[1]}, before and after each case",
        "rows": [rows[key] for key in sorted(rows)],
    }
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
