"""What a report shows of audits beside their results: how they did on benchmark data.

    python benchmarks/for_reports.py

Taken from the stored results of ``margin_difference.py``, ``seeding_power.py``, ``cheats.py`` and
``reconstructor.py``. The package comes without benchmarks, so it has a copy; a test compares.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

RESULTS = Path(__file__).parent / "results"
PACKAGE = Path(__file__).parents[1] / "src" / "rescind" / "audits"
TABLES, PICTURE = PACKAGE / "measured.json", PACKAGE / "measured.png"
GREYS = 16  # a third of the picture's bytes, and nothing that is seen in it goes
# audit of a request: its stored result, and per curve what all its rows have
POWER: dict[str, tuple[str, dict[str, dict[str, str]]]] = {
    "margins": (
        "margin_difference",
        {
            "Records gone, models of another seed": {
                "audit": "margins",
                "models_are": "other_seed",
            },
            "Records gone, their stage cut": {"audit": "margins", "models_are": "cut"},
            "Records kept": {"audit": "margins", "models_are": "kept"},
        },
    ),
    "shadows": (
        "margin_difference",
        {
            "Records gone, models of another seed": {
                "audit": "8 shadows",
                "models_are": "other_seed",
            },
            "Records kept": {"audit": "8 shadows", "models_are": "kept"},
        },
    ),
    "seeds": (
        "seeding_power",
        {
            "Codes learned, told by bits": {
                "network": "cnn",
                "models_are": "with codes",
                "test": "bits",
            },
            "Codes learned, told by the kernel test": {
                "network": "cnn",
                "models_are": "with codes",
                "test": "kernel",
            },
            "Retrained without the records, told by either": {
                "network": "cnn",
                "models_are": "retrained without the records",
                "test": "ask",
            },
        },
    ),
}


def stored(name: str) -> dict[str, Any]:
    """A result of a benchmark."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def power(name: str, curves: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Curves of [records, share rejected, low, high]; the intervals are exact, 95 %."""
    result = stored(name)
    found = {}
    for called, wanted in curves.items():
        rows = [r for r in result["rows"] if wanted.items() <= r.items()]
        found[called] = [
            [r["n"], r["rejected"]["hits"] / r["rejected"]["models"], *r["rejected"]["interval"]]
            for r in sorted(rows, key=lambda r: int(r["n"]))
        ]
    level = result.get("level") or rows[0]["level"]
    return {"command": result["command"], "level": level, "curves": found}


def cheats() -> dict[str, Any]:
    """Per server, how many of how many runs each audit flagged, and whether that is a catch; the
    honest ones last.
    """
    result = stored("cheats")
    servers = sorted(result["matrix"], key=lambda name: name not in result["caught_by"])
    rows = {
        server: {
            audit: [cell["flagged"], cell["asked"], cell["catches"]]
            for audit, cell in result["matrix"][server].items()
        }
        for server in servers
    }
    return {"command": result["command"], "level": result["level"], "flagged": rows}


def tables() -> str:
    """All of it but the picture, as it is stored."""
    found = {
        "command": "python benchmarks/for_reports.py",
        "power": {audit: power(name, curves) for audit, (name, curves) in POWER.items()},
        "cheats": cheats(),
    }
    return json.dumps(found, indent=1) + "\n"


def picture() -> bytes:
    """What a network reconstructs of removed images, beside its controls."""
    found = io.BytesIO()
    grey = Image.open(RESULTS / "reconstructor.png").convert("L").quantize(GREYS)
    grey.save(found, "PNG", optimize=True)
    return found.getvalue()


if __name__ == "__main__":
    TABLES.write_text(tables())
    PICTURE.write_bytes(picture())
