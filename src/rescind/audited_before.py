"""What a report says of audits besides their results: how they did on benchmark data.

None of it is about the model of the report. The figures are copied from stored results of
benchmarks by ``benchmarks/for_reports.py``, which names the command behind each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from rescind.core.audit import AuditResult
from rescind.picture import Lines
from rescind.shading import Image, Matrix, Share

TOLD = (
    "What these audits found where the truth was known. The figures are of benchmark data, not of"
    " this model and not of these records."
)
SEEN = {
    "margins": "Share of models in which a removal was seen",
    "shadows": "Share of models in which a removal was seen",
    "seeds": "Share of models in which codes were seen",
}
# per audit of a request, what it is called in the table, and the test of the bench of cheats that
# reads what it reads
TESTS = {
    "membership": {"membership": "population"},
    "margins": {"margins": "margin difference"},
    "shadows": {"shadows": "shadow difference"},
    "u_lira": {"u_lira": "U-LiRA"},
    "seeds": {"seeds: bits": "seeding: bits", "seeds: kernel": "seeding: kernel"},
}
CERTIFIED = ("release digest", "manifest", "replay")  # by whoever checks a certificate
HONEST = "retrained, "
GRID = (
    "Rows from above: images that were removed; what a network rebuilds of them from an imitated"
    " removal; from a server that takes a first-order step; from one that retrains; and the"
    " controls: no change at all, other images removed, a retraining that removes nothing, and a"
    " network that is shown 30 % of the true pixels and no change. What retraining shows is what"
    " the controls show. The images are those of Fashion-MNIST, none of a requester."
)


@cache
def _stored() -> Any:
    return json.loads((files("rescind") / "audits" / "measured.json").read_text())


def told(found: Sequence[AuditResult]) -> str:
    """Whose figures these are, and which dishonest servers none of the audits caught there."""
    run = _run(found)
    servers = _stored()["cheats"]["flagged"].items()
    tests = _tests(run).values()
    missed = [
        server
        for server, cells in servers
        if not server.startswith(HONEST) and not any(cells[test][2] for test in tests)
    ]
    without = [audit for audit in run if audit not in TESTS]
    return (
        TOLD
        + (f" Not in the table of dishonest servers: {', '.join(without)}." if without else "")
        + (f" Caught by none of the audits run here: {', '.join(missed)}." if missed else "")
    )


def pictures(found: Sequence[AuditResult]) -> list[Lines | Matrix | Image]:
    """All that is known of the audits that were run; nothing where none was."""
    run = _run(found)
    return [*power_lines(run), cheat_matrix(run), reconstruction()] if run else []


def _run(found: Sequence[AuditResult]) -> list[str]:
    """Names of the audits that gave a result; one may have been added after it was planned."""
    return list(dict.fromkeys(result.audit for result in found if not result.refused))


def power_lines(audits: Sequence[str]) -> list[Lines]:
    """How often each of these audits sees what is there, over the number of records."""
    found = _stored()["power"]
    return [
        Lines(
            f"Audit {audit}: power over the number of records, at the level {one['level']:g}",
            "Records",
            SEEN[audit],
            [(name, [tuple(point) for point in points]) for name, points in one["curves"].items()],
        )
        for audit, one in found.items()
        if audit in audits
    ]


def cheat_matrix(audits: Sequence[str]) -> Matrix:
    """Which of these audits, and which checks of a certificate, flag which dishonest server."""
    found = _stored()["cheats"]
    tests = _tests(audits) | {name: name for name in CERTIFIED}
    rows = [
        (server, [Share(*cells[test]) for test in tests.values()])
        for server, cells in found["flagged"].items()
    ]
    told = (
        "Servers that cheat, and honest ones below: how many of how many were flagged, with a star"
        f" where that is more than the level of {found['level']:g} explains. The statistics are"
        " those of the audits here, each beside twenty models of an auditor's own; the last three"
        " columns are checks of the certificate"
    )
    return Matrix([*tests], rows, told)


def _tests(audits: Sequence[str]) -> dict[str, str]:
    return {head: test for audit in audits for head, test in TESTS.get(audit, {}).items()}


def reconstruction() -> Image:
    """What the change of a model gives away of single images, beside what it cannot."""
    png = (files("rescind") / "audits" / "measured.png").read_bytes()
    return Image("Images rebuilt from the change of a model's answers", png, GRID)
