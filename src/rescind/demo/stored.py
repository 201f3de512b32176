"""Figures of the stored benchmark that the report sets beside the demo's own.

The files are copies of ``benchmarks/results/accuracy_*.json``; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from rescind.render import Lines, Paragraph, Section, Table

SYSTEMS = {
    "s3t_b3": "S3T, 3 orders a shard (this demo)",
    "s3t_b1": "S3T, 1 order a shard",
    "sisa": "SISA, same shards, not retrained",
    "plain_lora": "one plain LoRA, same blocks, same record-epochs",
}


def stored_sections() -> tuple[Section, ...]:
    """Accuracy of S3T beside plain LoRA and SISA, at demo size and at full size."""
    folder = files("rescind.demo")
    found = ((size, folder / f"accuracy_{size}.json") for size in ("demo", "full"))
    return tuple(_section(size, json.loads(f.read_text())) for size, f in found if f.is_file())


def _section(size: str, stored: Mapping[str, Any]) -> Section:
    note = (
        "Not measured by this run: from the stored benchmark, made with"
        f" {stored['command']}, on the full training set."
    )
    return Section(
        f"Beside plain LoRA and SISA ({size} size, stored)",
        (Paragraph(note), _everything(stored), _slices(stored), _stream(stored)),
    )


def _everything(stored: Mapping[str, Any]) -> Table:
    rows = [
        (SYSTEMS[name], f"{m['accuracy']:.3f}", f"{m['interval'][0]:.3f} to {m['interval'][1]:.3f}")
        for name, m in stored["everything_left"].items()
    ]
    return Table(
        ("system", "test accuracy", "95 % interval"), rows, "Before any request is fulfilled."
    )


def _slices(stored: Mapping[str, Any]) -> Table:
    table = stored["slices_left"]
    lengths = sorted(table["s3t_b3"])
    rows = [
        (SYSTEMS[name], *(f"{found[n]['accuracy']:.3f}" for n in lengths))
        for name, found in table.items()
    ]
    columns = ("system", *(f"{n} left" for n in lengths))
    return Table(columns, rows, "Test accuracy with so many slices left in every shard.")


def _stream(stored: Mapping[str, Any]) -> Lines:
    """After each request of one random stream; retraining is measured at a few points only."""
    series: list[tuple[str, Sequence[tuple[float, float]]]] = [
        (SYSTEMS[name], [(float(i), value) for i, value in enumerate(curve)])
        for name, curve in stored["stream"].items()
    ]
    points = sorted((float(n), m["accuracy"]) for n, m in stored["stream_retrained"].items())
    series.append(("plain LoRA, retrained", points))
    return Lines("Test accuracy after each takedown", "takedowns", "accuracy", series)
