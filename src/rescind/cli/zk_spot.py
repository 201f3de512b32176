"""Spot checks of the gradients that a client committed to: pick, open, take, check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli.options import HERE, AsJson, WorkspaceFolder
from rescind.cli.output import emit
from rescind.cli.zk import (
    Commitment,
    Epoch,
    Gradients,
    Key,
    Mask,
    Order,
    Private,
    Proof,
    Receipt,
    Said,
    Secret,
    app,
    lines_of,
    published,
    verdict_lines,
)
from rescind.core.errors import BadParameter

__all__ = ["app"]

if TYPE_CHECKING:
    from rescind.zk.spot import Spotted

Picked = Annotated[Path, typer.Argument(metavar="PICK", help="The provider's pick.")]
OpenedFile = Annotated[Path, typer.Argument(metavar="OPENED", help="What the client opened.")]


@app.command()
def pick(
    epoch: Epoch,
    commitment: Annotated[Path, typer.Argument(metavar="COMMITMENT", help="A client's.")],
    key: Key,
    count: Annotated[int, typer.Option(help="How many gradients, at most a quarter.")],
    sign_with: Private,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The pick.")],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Draw the gradients that a client whose commitment was entered is to open, once."""
    from rescind.zk.spot_files import pick_files

    found = pick_files(workspace, epoch, key, sign_with, commitment, count, out)
    emit(as_json, found, lambda: _picked(found))


@app.command("open")
def open_(
    epoch: Epoch,
    pick: Picked,
    key: Key,
    commitment: Commitment,
    gradients: Gradients,
    secret: Secret,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="What is handed in.")],
    as_json: AsJson = False,
) -> None:
    """Open the picked gradients, whole. Nothing is claimed to be hidden of these any more."""
    from rescind.zk.spot_files import open_files

    found = open_files(epoch, pick, key, commitment, gradients, secret, out)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def take(
    epoch: Epoch,
    pick: Picked,
    opened: OpenedFile,
    key: Key,
    sign_with: Private,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="That it was taken.")],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Enter what a client opened in the provider's ledger, before the epoch is closed."""
    from rescind.zk.spot_files import take_files

    found = take_files(workspace, epoch, pick, opened, key, sign_with, out)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def spot(
    epoch: Epoch,
    order: Order,
    mask: Mask,
    taken: Annotated[Path, typer.Argument(metavar="TAKEN", help="Of `rescind zk take`.")],
    opened: OpenedFile,
    key: Key,
    commitment: Commitment,
    receipt: Receipt,
    statement: Said,
    proof: Proof,
    sign_with: Annotated[
        Path | None, typer.Option("--sign-with", metavar="PRIVATE", help="Certify it too.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The certificate.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof, and that the opened gradients are those it is about; offline."""
    from rescind.zk.spot_files import certify_spotted, spot_files

    if (sign_with is None) != (out is None):
        raise BadParameter(
            "A certificate needs a key and a file.", do="Give --sign-with and --out."
        )
    files = published(epoch, order, mask, key)
    found = spot_files(files, taken, opened, commitment, receipt, statement, proof)
    made = certify_spotted(found, sign_with, out) if sign_with and out else {}
    emit(as_json, _said(found) | made, lambda: (*_spotted(found), *lines_of(made)))


def _said(found: Spotted) -> dict[str, object]:
    from rescind.zk.picks import chances

    pick = found.spot.taken.pick
    return {"verdict": found.verdict, "gradients": pick.numbers, "chances": chances(pick)}


def _picked(found: dict[str, object]) -> Iterator[str]:
    chances = found["chances"]
    yield from lines_of({name: value for name, value in found.items() if name != "chances"})
    yield from chances if isinstance(chances, tuple) else ()


def _spotted(found: Spotted) -> Iterator[str]:
    from rescind.zk.picks import chances

    yield from verdict_lines(found.verdict)
    yield "Spot check"
    yield from (f"  {line}" for line in chances(found.spot.taken.pick))
