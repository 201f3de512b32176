"""What a report says of audits besides their results: how they did where the truth was known.

None of it is about the model of the report. The figures are those of stored results of benchmarks,
copied by ``benchmarks/for_reports.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from rescind.blocks import Block, Command, Items, Notice, Paragraph, Section
from rescind.core.audit import AuditResult
from rescind.picture import Lines, Table
from rescind.shading import Image, Matrix, Share

TITLE = "What audits see, measured on benchmarks"
TOLD = (
    "Nothing here is of this model or of these records. It is what the audits that were run say"
    " where it is known whether records were removed, each by itself, without a correction for"
    " several."
)
SEEN = {
    "margins": "Share that it sees as a removal, at the level .05",
    "shadows": "Share in which it supports a removal, at the level .05",
    "seeds": "Share of models in which it sees codes",
}
VERDICTS = (
    "The audits of a request put to requests of 40 records of UCI Adult that were retrained, and to"
    " others that a method approximated with its defaults: how often each found a residue /"
    " supported the removal / had not enough power to tell"
)
BENCH = (
    "The bench of cheats: how many of how many models each of its tests flagged, with a star where"
    " those are more than the level of .05 explains. Four runs of each dishonest server in seven"
    " worlds of Fashion-MNIST, BBC news and UCI Adult, seeds in one; honest servers in the last"
    " rows"
)
OTHERS = (
    "The tests of the bench are no audits of a request: most set a model beside twenty retrained"
    " ones of an auditor and flag what is unlike these. Release digest and manifest are read off"
    " the certificate; a replay trains again from the rows. What each server does:"
)
SERVERS = {
    "untouched model": "serves the model as it was",
    "last layer only": "trains a new last layer",
    "noise on weights": "adds noise to all weights",
    "a little fine-tuning": "trains on without the records for one epoch",
    "first-order step only": "takes one step up the loss of the records",
    "read-out stripped": "throws the read-out away and trains a new one on all records",
    "hidden units permuted": "puts hidden units in another order",
    "codes scrubbed, data kept": "trains codes away and keeps the records",
    "margin fitted": "fits the answers to the records to those of retrained models",
    "output filter": "answers flatly where it knows a record",
    "model swapped": "has one model audited and serves another",
    "another manifest": "proves a training on all records",
    "distilled": "trains a new model on the answers of the old one",
}
HONEST = "retrained, "
GRID = (
    "No audit of a request reads this. A network was fitted to rebuild images from what their"
    " removal changes in a model's answers, of a small network on Fashion-MNIST. Rows from above:"
    " images that were removed; rebuilt from imitated removals; from a server that takes a"
    " first-order step, and from one that retrains; from no change at all; where others were"
    " removed; where nothing was; and by a network that is shown 30 % of the true pixels and no"
    " change. It is the first of three models; in one of the others imitated removals were not"
    " rebuilt either, and of ten records that share one change nothing was rebuilt in any."
)

MEASURED_BY = "All this is measured by these commands, in a copy of rescind's repository:"


def section(found: Sequence[AuditResult]) -> Section | None:
    """Power, verdicts and cheats, for the audits that gave a result; None where none did."""
    run = list(dict.fromkeys(result.audit for result in found if not result.refused))
    if not run:
        return None
    described = [f"{name}: {does}." for name, does in SERVERS.items()]
    blocks: list[Block] = [Paragraph(TOLD), *power_lines(run)]
    blocks += [verdict_table(run)] if _verdicts(run) else []
    without = [audit for audit in run if audit not in {row["audit"] for row in _verdicts(run)}]
    blocks += [Notice(f"Not among these requests: {', '.join(without)}.")] if without else []
    return Section(
        TITLE,
        [
            *blocks,
            cheat_matrix(),
            Paragraph(OTHERS),
            Items(described),
            reconstruction(),
            Paragraph(MEASURED_BY),
            *map(Command, _stored()["measured_by"]),
        ],
    )


@cache
def _stored() -> Any:
    return json.loads((files("rescind") / "audits" / "measured.json").read_text())


def power_lines(audits: Sequence[str]) -> Iterator[Lines]:
    """How often each of these audits sees what is there, over the number of records."""
    for audit, curves in groupby(_stored()["power"], key=lambda row: row["audit"]):
        if audit in audits:
            series = [(one["curve"], [tuple(p) for p in one["points"]]) for one in curves]
            yield Lines(
                f"Audit {audit}, over the number of records", "Records", SEEN[audit], series
            )


def _verdicts(audits: Sequence[str]) -> list[Any]:
    return [row for row in _stored()["verdicts"] if row["audit"] in audits]


def verdict_table(audits: Sequence[str]) -> Table:
    """What these audits said of retrained models and of those that methods approximate."""
    found = {(row["audit"], row["method"]): row for row in _verdicts(audits)}
    methods = list(dict.fromkeys(method for _, method in found))
    rows = [
        (audit, *(_said(found.get((audit, method))) for method in methods))
        for audit in audits
        if any(audit == known for known, _ in found)
    ]
    return Table(("Audit", *methods), rows, VERDICTS)


def _said(row: Any) -> str:
    if row is None:
        return "not asked"
    outcomes = ("residue_found", "removed_supported", "no_power")
    return " / ".join(str(row["said"].get(name, 0)) for name in outcomes)


def cheat_matrix() -> Matrix:
    """Which test of the bench of cheats flags which server."""
    found = _stored()["cheats"]
    tests = list(found[0]["flagged"])
    rows = [(row["server"], [Share(*row["flagged"][test]) for test in tests]) for row in found]
    return Matrix(tests, rows, BENCH)


def reconstruction() -> Image:
    """What the change of a model gives away of single images, beside its controls."""
    png = (files("rescind") / "audits" / "measured.png").read_bytes()
    return Image("Images rebuilt from the change of a model", png, GRID)
