"""The figures that the demo shows are those that the benchmark stored."""

from __future__ import annotations

from pathlib import Path

import rescind.demo
from rescind.demo.stored import stored_sections
from rescind.render import Lines

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
PACKAGED = Path(rescind.demo.__file__).parent


def test_the_packaged_copies_are_the_stored_results() -> None:
    stored = {p.name: p.read_bytes() for p in RESULTS.glob("accuracy_*.json")}
    assert {p.name: p.read_bytes() for p in PACKAGED.glob("accuracy_*.json")} == stored
    assert stored


def test_each_section_shows_every_system_and_ends_where_its_stream_ended() -> None:
    for section in stored_sections():
        [lines] = [block for block in section.blocks if isinstance(block, Lines)]
        assert len(lines.series) == 4
        assert all(len(points) >= 2 for _, points in lines.series)
