"""The stored figures of the proof of lineage, and that their benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_quotes_what_is_stored() -> None:
    found = json.loads((ROOT / "benchmarks/results/lineage_proof.json").read_text())
    text = (ROOT / "docs/concepts/lineage-proof.md").read_text()
    for row in found["manifests"]:
        seconds, size = row["write_cpu_ms"] / 1e3, row["present_bytes"]
        assert f"| {row['records']:,} | {seconds:.2f} s |" in text
        assert f"| {size:,} | {row['absent_bytes']:,} |" in text
        assert row["check_cpu_ms"] < 1 and size < 4096


def test_it_runs(tmp_path: Path) -> None:
    args = ["--records", "50", "--leaves", "9", "--out", str(tmp_path / "out.json")]
    file = ROOT / "benchmarks" / "lineage_proof.py"
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["manifests"][0]["records"] == 50 and found["trees"][0]["leaves"] == 9
