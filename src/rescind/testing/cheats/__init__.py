"""The bench of cheats: servers that say they retrained, and which audit sees through which."""

from __future__ import annotations

from rescind.testing.cheats.auditing import AUDITS, Audit
from rescind.testing.cheats.catalogue import CHEATS, NOT_DETECTABLE, Cheat
from rescind.testing.cheats.counting import Count, Row, caught_by, counts, honest
from rescind.testing.cheats.matrix import Bench, Size
from rescind.testing.cheats.reading import LEVEL, Reading
from rescind.testing.cheats.served import Claim, Served, served
from rescind.testing.cheats.world import Codes, World

__all__ = [
    "AUDITS",
    "CHEATS",
    "LEVEL",
    "NOT_DETECTABLE",
    "Audit",
    "Bench",
    "Cheat",
    "Claim",
    "Codes",
    "Count",
    "Reading",
    "Row",
    "Served",
    "Size",
    "World",
    "caught_by",
    "counts",
    "honest",
    "served",
]
