"""Who is caught by what, over worlds and seeds.

An audit *catches* a cheat where it flags more of its runs than its level explains: the low end of
Clopper and Pearson's 95 % interval lies above the level. Beside it stands how often honest
retraining was flagged, with the exact upper bound. Honest models of one world share the auditor's
models, so their flags are not wholly independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.metrics.statistics import clopper_pearson
from rescind.testing.cheats.auditing import AUDITS, Audit
from rescind.testing.cheats.reading import LEVEL, Reading


@dataclass(frozen=True, slots=True)
class Row:
    """One server under all audits; None where an audit had nothing to go by."""

    world: str
    server: str
    honest: bool
    seed: int
    readings: Mapping[str, Reading | None]


@dataclass(frozen=True, slots=True)
class Count:
    """How many of ``asked`` servers were flagged, and the ends of the exact 95 % interval."""

    flagged: int
    asked: int

    @property
    def catches(self) -> bool:
        """More than the level explains."""
        return clopper_pearson(self.flagged, self.asked)[0] > LEVEL

    @property
    def at_most(self) -> float:
        """The exact upper bound, right 95 times of 100."""
        return clopper_pearson(self.flagged, self.asked, 0.9)[1]


def counts(rows: Sequence[Row], audits: Sequence[Audit] = AUDITS) -> dict[str, dict[str, Count]]:
    """By server and audit, over worlds and seeds; an audit that was never asked is left out."""
    found: dict[str, dict[str, Count]] = {}
    for name in dict.fromkeys(row.server for row in rows):
        own = [row for row in rows if row.server == name]
        line = {each.name: _count(own, each.name) for each in audits}
        found[name] = {audit: count for audit, count in line.items() if count.asked}
    return found


def honest(rows: Sequence[Row], audits: Sequence[Audit] = AUDITS) -> dict[str, Count]:
    """How often each audit flags honest retraining of either initialisation."""
    own = [row for row in rows if row.honest]
    return {each.name: _count(own, each.name) for each in audits if _count(own, each.name).asked}


def caught_by(rows: Sequence[Row], audits: Sequence[Audit] = AUDITS) -> dict[str, tuple[str, ...]]:
    """The audits that catch each cheat."""
    cheats = {row.server for row in rows if not row.honest}
    return {
        name: tuple(audit for audit, count in line.items() if count.catches)
        for name, line in counts(rows, audits).items()
        if name in cheats
    }


def _count(rows: Sequence[Row], audit: str) -> Count:
    read = [r for row in rows if (r := row.readings[audit]) is not None]
    return Count(sum(r.caught for r in read), len(read))
