"""How long ``import rescind`` and ``rescind --help`` take: the median of fresh processes.

    python benchmarks/start.py

writes benchmarks/results/start.json and exits with 1 if a median is over its limit.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 10
RESULT = Path(__file__).parent / "results" / "start.json"
HELP = "import sys; sys.argv = ['rescind', '--help']; from rescind.cli.main import run; run()"
# what is timed, the limit in seconds, and an empty Python for comparison
CASES: dict[str, tuple[str, float]] = {
    "python": ("pass", 0.3),
    "import rescind": ("import rescind", 0.3),
    "rescind --help": (HELP, 0.5),
}


def seconds(code: str) -> float:
    """Wall time of one fresh process, its start included."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(code: str, limit: float) -> dict[str, float | int | bool]:
    """One run to warm the disk cache, then the median of the others."""
    seconds(code)
    times = sorted(seconds(code) for _ in range(RUNS))
    median = statistics.median(times)
    return {
        "median_seconds": round(median, 3),
        "fastest_seconds": round(times[0], 3),
        "slowest_seconds": round(times[-1], 3),
        "runs": RUNS,
        "limit_seconds": limit,
        "passed": median < limit,
    }


def main() -> int:
    """Measure all cases, write the result, say it."""
    cases = {name: measure(code, limit) for name, (code, limit) in CASES.items()}
    result = {
        "command": "python benchmarks/start.py",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cases": cases,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(cases, indent=2))
    return 0 if all(case["passed"] for case in cases.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
