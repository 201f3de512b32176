"""The command `rescind`: nouns and verbs, each in a file of its own."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from rescind.cli import (
    audit,
    bench,
    certificate,
    database,
    evaluate,
    model,
    process,
    prove,
    report,
    request,
    seeds,
    training,
    zk_spot,
)
from rescind.cli.failures import JSON, KNOWN, code_of, explained, tell


class Commands(TyperGroup):
    """Runs a command and turns its error into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Only what is a bug of ours goes on upwards, with its traceback."""
        try:
            return super().invoke(ctx)
        except KNOWN as error:
            known = explained(error)
            if known is None:
                raise
            tell(known, bool(ctx.meta.get(JSON)))
            raise typer.Exit(code_of(known)) from error


app = typer.Typer(
    cls=Commands,
    name="rescind",
    help="Make trained models forget data on request, and show it with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _verb in (
    model.init,
    training.train,
    model.demo,
    model.predict,
    request.plan,
    process.process,
    evaluate.evaluate,
    audit.audit,
    report.report,
    prove.prove,
    prove.receipt,
    database.erase,
    model.rebuild,
    model.export,
    bench.bench,
    database.backup,
    database.restore,
):
    app.command()(_verb)
for _name, _noun in (
    ("request", request.app),
    ("certificate", certificate.app),
    ("seeds", seeds.app),
    ("zk", zk_spot.app),  # that of ``zk``, with the verbs of both
    ("list", model.listing),
    ("db", database.database),
    ("key", database.keys),
):
    app.add_typer(_noun, name=_name)


def run() -> None:
    """The console script."""
    app(prog_name="rescind")


if __name__ == "__main__":
    run()
