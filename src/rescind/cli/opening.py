"""Open the workspace that a command works on, and read from it what has no call of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rescind.cli.options import VARIABLE
from rescind.core.errors import BadParameter, UnknownKey

if TYPE_CHECKING:
    from rescind.core.run import Run
    from rescind.core.version import ModelVersion
    from rescind.workspace import Workspace

DATABASE = "rescind.db"


def opened(folder: Path) -> Workspace:
    """The workspace in a folder.

    Raises:
        BadParameter: there is none.
    """
    if not (folder.expanduser() / DATABASE).exists():
        raise BadParameter(
            f"{folder.expanduser().absolute()} holds no workspace.",
            do="Make one with `rescind init`, or name its folder with --workspace FOLDER.",
        )
    return opened_or_new(folder)


def opened_or_new(folder: Path) -> Workspace:
    """The workspace in a folder, made where there is none."""
    from rescind.workspace import open_workspace

    # the variable is read by now; Settings, here and in workers, would take it for one of its own
    os.environ.pop(VARIABLE, None)
    return open_workspace(folder)


def run_of(ws: Workspace) -> Run:
    """The run behind the model."""
    from rescind import state

    return state.run(ws.backends)


def versions_of(ws: Workspace) -> tuple[tuple[ModelVersion, ...], str]:
    """All versions, oldest first, and the id of the one that serves."""
    from rescind import state

    state.run(ws.backends)
    names = sorted(ws.backends.ledger.items("version"), key=lambda name: (len(name), name))
    found = tuple(state.version_by_id(ws.backends, name) for name in names)
    return found, state.version(ws.backends).id


def public_key_of(ws: Workspace, key_id: str | None) -> bytes:
    """The raw public key of a signer, by default of the one in force.

    Raises:
        UnknownKey: no signer of this workspace has that key.
    """
    name = key_id or str(ws.backends.ledger.get("signer", "current"))
    public = None if name == "current" else ws.backends.ledger.get("signer", name)
    if public is None:
        raise UnknownKey(
            f"No signer of this workspace has the key {name!r}.",
            do="Give the key id as `rescind certificate verify` prints it, or leave --key-id out.",
        )
    return bytes.fromhex(public)
