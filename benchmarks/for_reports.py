"""What a report shows of audits beside their results: how they did where the truth was known.

    python benchmarks/for_reports.py

Taken from the stored results of other benchmarks. The package comes without benchmarks, so it has
a copy; a test compares.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

RESULTS = Path(__file__).parent / "results"
PACKAGE = Path(__file__).parents[1] / "src" / "rescind" / "audits"
TABLES, PICTURE = PACKAGE / "measured.json", PACKAGE / "measured.png"
GREYS = 16  # a third of the picture's bytes, and nothing that is seen in it goes
FEWEST = 5  # records that an audit of a request takes; seeds take one


@dataclass(frozen=True, slots=True)
class Curve:
    """A share of models over the number of records, from the rows of a result that have ``where``;
    ``count`` names the field that holds it.
    """

    name: str
    result: str
    where: dict[str, Any]
    count: str = "rejected"
    fewest: int = FEWEST

    def points(self) -> list[list[float]]:
        """[records, share, low, high]; exact intervals, 95 %."""
        rows = [r for r in stored(self.result)["rows"] if self.where.items() <= r.items()]
        found = [(r["n"], r[self.count]) for r in rows if r["n"] >= self.fewest]
        return [[n, c["hits"] / c["models"], *c["interval"]] for n, c in sorted(found)]


SEEDED = {"network": "cnn", "models_are": "with codes"}
UNSEEDED = {"network": "cnn", "models_are": "retrained without the records", "test": "ask"}
GONE = {"audit": "margins", "models_are": "other_seed"}
POWER: dict[str, tuple[Curve, ...]] = {
    "margins": (
        Curve("Records gone, another seed (40 networks)", "margin_difference", GONE),
        Curve("Records kept (400 perceptrons)", "margin_null", {"level": 0.05}, "accused"),
    ),
    "shadows": tuple(
        Curve(
            f"Records {kind} (240 perceptrons)", "shadow_null", {"records_are": kind}, "supported"
        )
        for kind in ("removed", "kept", "never there")
    ),
    "seeds": (
        Curve(
            "Codes learned, both tests at .001", "seeding_power", SEEDED | {"test": "ask"}, fewest=1
        ),
        Curve(
            "Codes learned, the kernel test at .01", "seeding_power", SEEDED | {"test": "kernel"}
        ),
        Curve("Retrained without them, both tests at .05", "seeding_power", UNSEEDED, "at_0.05", 1),
    ),
}


def stored(name: str) -> dict[str, Any]:
    """A result of a benchmark."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def power() -> list[dict[str, Any]]:
    """A row a curve."""
    return [
        {
            "audit": audit,
            "curve": curve.name,
            "points": curve.points(),
        }
        for audit, curves in POWER.items()
        for curve in curves
    ]


def verdicts() -> list[dict[str, Any]]:
    """A row a method and audit: how many requests were asked, and how often what was said."""
    result = stored("honest_verdicts")
    return [
        {"audit": audit, "method": row["method"], "asked": one["asked"], "said": one["outcomes"]}
        for row in result["rows"]
        for audit, one in row["audits"].items()
    ]


def cheats() -> list[dict[str, Any]]:
    """A row a server, honest ones last: of each test how many of how many runs it flagged, and
    whether those are more than the level explains.
    """
    result = stored("cheats")
    return [
        {
            "server": server,
            "flagged": {
                test: [cell["flagged"], cell["asked"], cell["catches"]]
                for test, cell in result["matrix"][server].items()
            },
        }
        for server in sorted(result["matrix"], key=lambda name: name not in result["caught_by"])
    ]


def commands() -> list[str]:
    """Which benchmarks gave the figures and the picture."""
    results = [curve.result for curves in POWER.values() for curve in curves]
    every = dict.fromkeys([*results, "honest_verdicts", "cheats", "reconstructor"])
    return [stored(name)["command"] for name in every]


def tables() -> str:
    """All of it but the picture, as it is stored: a row on a line."""
    parts = [' "command": "python benchmarks/for_reports.py"']
    parts.append(f' "measured_by": {json.dumps(commands())}')
    for name, rows in (("power", power()), ("verdicts", verdicts()), ("cheats", cheats())):
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        parts.append(f' "{name}": [\n{lines}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def picture() -> bytes:
    """What a network reconstructs of removed images, beside its controls."""
    found = io.BytesIO()
    grey = Image.open(RESULTS / "reconstructor.png").convert("L").quantize(GREYS)
    grey.save(found, "PNG", optimize=True)
    return found.getvalue()


if __name__ == "__main__":
    TABLES.write_text(tables())
    PICTURE.write_bytes(picture())
