"""Run a benchmark: every method beside its controls on real data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rescind.cli.options import AsJson, settings_in
from rescind.cli.output import emit


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="`rescind list benchmarks`.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: a look in minutes, and no figures.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also relearning, linear probes and bootstrap intervals."),
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A size of the benchmark; repeatable."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part", metavar="MODEL/SET", help="Only this part; may be repeated. Default: all."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="For results and what can be resumed.")
    ] = Path("bench"),
    device: Annotated[
        str,
        typer.Option("--device", help='As torch names it: "cuda" trains on a GPU, not adapters.'),
    ] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Judge every method against retrained models and write NAME.json and NAME.html.

    What is in the folder is not computed again; an interrupted run goes on where it stopped.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
    from rescind.benchmarks.page import summary
    from rescind.benchmarks.runner import Options, run
    from rescind.benchmarks.stored import to_json
    from rescind.progress import Bars

    options = Options(quick, deep, tuple(part or ()), out, settings_in(setting or ()), device)
    with Bars() as progress:
        result, path = run(name, options, progress)
    if as_json:
        typer.echo(to_json(result).decode(), nl=False)
        return
    lines = [*summary(result).splitlines(), f"Page: {path.with_suffix('.html')}"]
    emit(as_json, {}, lambda: lines)
