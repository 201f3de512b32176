"""The workspace as a whole: copies of it, its ledger, its key, and what it still stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli import prove
from rescind.cli.opening import opened, restored
from rescind.cli.options import HERE, AsJson, Out, WorkspaceFolder, write
from rescind.cli.output import Exit, counted, emit, table

if TYPE_CHECKING:
    from rescind.core.request import Request

database = typer.Typer(no_args_is_help=True, help="The ledger and what was forgotten.")
keys = typer.Typer(no_args_is_help=True, help="The signing key.")


@database.command()
def verify(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Recompute the chain of the ledger and all that follows from it."""
    ws = opened(workspace)
    ws.verify()
    seq, head = ws.head()
    lines = [f"The chain of {seq} entries holds; head {head}."]
    emit(as_json, {"entries": seq, "head": head}, lambda: lines)


@database.command()
def head(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Print the last entry of the ledger, number and digest, to be kept elsewhere; and the root of
    the tree of all entries, from which later ones can be shown to go on.
    """
    from rescind.proving import ledger_root

    ws = opened(workspace)
    seq, digest = ws.head()
    root = ledger_root(ws.backends, seq)
    found = {"entry": seq, "head": digest, "root": root}
    emit(as_json, found, lambda: [f"{seq} {digest}", f"root {root}"])


database.command()(prove.consistency)
database.command()(prove.consistent)


@database.command()
def suppressed(out: Out, workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Write the list of what was forgotten, as keyed marks; keep it apart from backups."""
    written = write(out, opened(workspace).suppressed())
    emit(as_json, {"suppressed": str(written)}, lambda: [f"Written to {written}."])


@keys.command()
def rotate(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Sign with a new key from now on; earlier certificates stay verifiable."""
    key_id = opened(workspace).rotate_key()
    lines = [f"New key {key_id}.", "Publish it: `rescind certificate key --out PUB.pem`."]
    emit(as_json, {"key_id": key_id}, lambda: lines)


def erase(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Show what made from forgotten records is still stored, and why.

    It is destroyed by `rescind process`, before the certificate. Exit code 4 while anything is
    left, be it on hold or not.
    """
    left = opened(workspace).remaining()
    emit(as_json, {"remaining": left}, lambda: _left_lines(left))
    if left:
        raise typer.Exit(Exit.NOT_ENOUGH_EVIDENCE)


def _left_lines(left: dict[str, str]) -> Iterator[str]:
    if not left:
        yield "Nothing made from forgotten records is stored."
        return
    yield from table(["still stored", "because"], sorted(left.items()))
    yield f"Left: {counted(len(left), 'artifact')}; `rescind process` destroys what no hold keeps."


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the whole workspace into one file; it holds keys, so keep it secret.

    It is noted as a copy to recall. Export `rescind db suppressed` later and keep it apart.
    """
    made = opened(workspace).backup(file)
    emit(as_json, {"backup": str(made)}, lambda: [f"Backup written to {made}."])


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="A new folder.")],
    suppressed: Annotated[
        Path | None,
        typer.Option(
            "--suppressed", metavar="FILE", help="The list of what was forgotten after the backup."
        ),
    ] = None,
    nothing: Annotated[
        bool,
        typer.Option("--nothing-forgotten-since", help="Nothing was forgotten after the backup."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place and forget again what was forgotten after it was made.

    One of --suppressed and --nothing-forgotten-since must be said.
    """
    if nothing == (suppressed is not None):
        raise typer.BadParameter("Give either --suppressed FILE or --nothing-forgotten-since.")
    again = restored(file, into, suppressed)
    found = {"workspace": str(into), "request": again.id if again else None}
    emit(as_json, found, lambda: _restored_lines(into, again))


def _restored_lines(into: Path, again: Request | None) -> Iterator[str]:
    yield f"Restored into {into}."
    if again is not None:
        yield f"Forgotten again by request {again.id}: {counted(again.target.records, 'record')}."
        yield f"Next: `rescind process {again.id} --workspace {into}`."
