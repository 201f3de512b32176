"""From an exception to three lines on standard error and an exit code; bugs keep their trace."""

from __future__ import annotations

import errno

import typer

from rescind.cli.output import Exit, as_text
from rescind.core.errors import (
    ErasureIncomplete,
    InsufficientEvidence,
    LedgerInconsistent,
    MissingExtra,
    NotDeterministic,
    RescindError,
    StorageFailed,
    VerificationFailed,
)

TRAINING = ("torch", "transformers", "peft", "safetensors", "numpy", "scipy", "tokenizers")
KNOWN = (RescindError, OSError, ModuleNotFoundError, typer.Abort, KeyboardInterrupt)
JSON = "rescind.cli.json"  # where the context remembers that --json was given


class Interrupted(RescindError):
    """Somebody pressed Ctrl-C."""


class NotAnswered(RescindError):
    """A question that nobody answered."""


def explained(error: BaseException) -> RescindError | None:
    """The error as a user is told it, or None for what is a bug, or the end of a pipe."""
    if isinstance(error, RescindError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(
            "Stopped.",
            "Every finished step is kept, and what was withdrawn stays withdrawn.",
            "The same command goes on where it stopped.",
        )
    if isinstance(error, typer.Abort):
        return NotAnswered(
            "The question was not answered.",
            "Without an answer nothing more is done.",
            "Answer it, or say so on the command line: --yes, and --near where records would stay.",
        )
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        return _refused_by_system(error)
    return None


def _missing(error: ModuleNotFoundError) -> RescindError | None:
    package = (error.name or "").partition(".")[0]
    if package not in TRAINING:
        return None
    return MissingExtra(
        f"This command needs {package}, which is not installed.",
        "The light install plans, reports and verifies; training and predicting need more.",
        "Type: pip install 'rescind[train]'",
    )


def _refused_by_system(error: OSError) -> RescindError:
    where = f" at {error.filename}" if error.filename else ""
    return StorageFailed(
        f"The system refused{where}: {error.strerror or error}.",
        "Every finished step is kept.",
        "Check the path, the permissions and the space left, then type the same command again.",
    )


def code_of(error: RescindError) -> Exit:
    """The exit code that an error ends a command with."""
    if isinstance(error, (VerificationFailed, LedgerInconsistent, NotDeterministic)):
        return Exit.VERIFICATION_FAILED
    if isinstance(error, (InsufficientEvidence, ErasureIncomplete)):
        return Exit.NOT_ENOUGH_EVIDENCE
    if isinstance(error, Interrupted):
        return Exit.INTERRUPTED
    return Exit.USER_ERROR


def as_plain(error: RescindError) -> dict[str, str]:
    """The error as JSON has it."""
    return {
        "type": type(error).__name__,
        "what": error.what,
        "why": error.why,
        "do": error.do,
    }


def tell(error: RescindError, as_json: bool) -> None:
    """Write the error to standard error: what, why and do, a line each."""
    if isinstance(error, (Interrupted, NotAnswered)):
        typer.echo(err=True)  # the cursor still stands behind the question, or behind ^C
    if as_json:
        typer.echo(as_text({"error": as_plain(error)}), err=True)
        return
    typer.echo(f"Error: {error.what}", err=True)
    for line in (error.why, error.do):
        if line:
            typer.echo(f"  {line}", err=True)
