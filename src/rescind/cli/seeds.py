"""Codes in a user's own records: make a key, hand codes over, ask the model for them later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli.opening import opened
from rescind.cli.options import HERE, AsJson, KeyColumn, SubjectColumn, WorkspaceFolder
from rescind.cli.output import Exit, counted, emit, table
from rescind.core.canonical import plain

if TYPE_CHECKING:
    from rescind.users_seeds import Finding, SeedingVerdict, Seen

app = typer.Typer(no_args_is_help=True, help="Codes in a user's own records.")
CODES = {
    "no_evidence_of_codes": Exit.FINE,
    "still_held": Exit.VERIFICATION_FAILED,
    "not_testable": Exit.NOT_ENOUGH_EVIDENCE,
}
Secret = Annotated[
    Path, typer.Option("--secret", metavar="FILE", help="The user's key, of `rescind seeds key`.")
]
Rows = Annotated[str, typer.Argument(metavar="PATH|MODULE:FUNCTION", help="The user's records.")]


@app.command()
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    as_json: AsJson = False,
) -> None:
    """Make a user's key. It never leaves the user; without it nothing can be asked later."""
    from rescind.users_seeds import write_key

    mark = write_key(file)
    line = f"Wrote key {mark[:12]} to {file}. Keep it secret, and keep it."
    emit(as_json, {"fingerprint": mark}, lambda: [line])


@app.command()
def make(
    data: Rows,
    secret: Secret,
    recipe: Annotated[
        Path, typer.Option("--recipe", metavar="RECIPE.toml", help="What will be trained.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="What is handed over.")],
    column: KeyColumn = None,
    subject: SubjectColumn = None,
    bits: Annotated[
        int, typer.Option("--bits", help="Of a code: fewer hold better in a small network.")
    ] = 32,
    as_json: AsJson = False,
) -> None:
    """Compute the codes of a user's records, for whoever trains: `rescind train --seeds FILE`.

    The key is not in the file. Columns are those of the training: by default the recipe's.
    """
    from rescind import users_seeds
    from rescind.cli.training import read_recipe_file

    body, source = read_recipe_file(recipe)
    columns = users_seeds.Columns(column or source.key, subject or source.subject)
    handed = users_seeds.make(users_seeds.read_key(secret), data, columns, body, bits)
    users_seeds.write_codes(out, handed)
    told = {"fingerprint": handed.fingerprint, "codes": len(handed.codes), "bits": handed.bits}
    line = f"Wrote {len(handed.codes)} codes of {handed.bits} bits to {out}."
    emit(as_json, told, lambda: [line])


@app.command()
def ask(
    data: Rows,
    secret: Secret,
    before: Annotated[
        Path | None,
        typer.Option("--before", metavar="FILE", help="What was seen before, of --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep what is seen now.")
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Ask what serves for the codes of a user's records.

    With what was seen before, the exit code is 0 where nothing is seen of them any more, 3 where
    they are still held, and 4 where no test saw them before.
    """
    from rescind import users_seeds

    ws = opened(workspace)
    earlier = None if before is None else users_seeds.read_seen(before)
    found = ws.ask_seeds(users_seeds.read_key(secret), data, before=earlier)
    if out is not None:
        users_seeds.write_seen(out, found)
    if earlier is None:
        emit(as_json, found, lambda: _shown(found))
        return
    verdict = users_seeds.decide(earlier.findings, found.findings)
    told = {**plain(verdict), "left_out": found.left_out}
    emit(as_json, told, lambda: _told(verdict, found))
    if CODES[verdict.outcome]:
        raise typer.Exit(CODES[verdict.outcome])


def _told(verdict: SeedingVerdict, found: Seen) -> Iterator[str]:
    yield f"{verdict.outcome.replace('_', ' ').capitalize()}. {verdict.because}"
    yield from _shown(found)
    yield "Not claimed:"
    yield from (f"  {line}" for line in verdict.not_claimable)


def _shown(found: Seen) -> Iterator[str]:
    head = ["test", "n", "p", "effect", "95 % interval", "unit", "power"]
    yield from table(head, [_row(one) for one in found.findings])
    if found.left_out:
        yield (
            f"Left out: {counted(found.left_out, 'record')} of the test set, by the hash of their"
            " keys. Nobody trains on these, so that they hold no codes."
        )


def _row(found: Finding) -> tuple[object, ...]:
    ends = "{:.3g} to {:.3g}".format(*found.interval)
    power = "unknown" if found.power is None else f"{found.power:.2f}"
    return (found.audit, found.n, f"{found.p:.3g}", f"{found.effect:.3g}", ends, found.unit, power)
