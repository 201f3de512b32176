"""A tiny trained workspace that tests copy, and what they ask of it again and again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from rescind import backends, state
from rescind.certify import envelope_bytes
from rescind.core.certificate import Certificate, Statement
from rescind.core.dataset import Key
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.proofs.verifier import Verification, verify
from rescind.resolve import Ask
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.workspace import Workspace, open_workspace

ROWS = tiny_rows(40)
INLINE = Settings(executor="inline", near_threshold=1.0)


def write_rows(path: Path, rows: Iterable[dict[str, str]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fixed_secrets(folder: Path, draw: str = "2") -> Path:
    """Every run of the tests places the records in the same cells, none of them empty."""
    for name in ("workspace", "partition"):
        KeyStore(folder / "keys").put(name, name.ljust(32, draw).encode())
    return folder


def new_workspace(folder: Path, settings: Settings = INLINE, draw: str = "2") -> Workspace:
    return open_workspace(fixed_secrets(folder, draw), settings)


def train(folder: Path, encoder: Path, source: Path, method: str) -> None:
    ws = new_workspace(folder)
    ws.train(tiny_recipe(tiny_task(encoder), method), str(source))
    ws.backends.ledger.close()


def copy(trained: Path, folder: Path) -> Workspace:
    """The same workspace in another folder: same keys, same secrets, same names."""
    shutil.copytree(trained, folder)
    return open_workspace(folder)


def keys_in(ws: Workspace, *cells: str) -> list[Key]:
    """Keys of the usable records of these cells, cell by cell."""
    found = state.allowed(ws.backends)
    return [e.key for cell in cells for e in found if e.cell == cell]


def usable(ws: Workspace) -> set[Key]:
    return set(ws.keys())


def some_key(ws: Workspace, *cells: str) -> tuple[Key, ...]:
    """The first key of each cell."""
    return tuple(keys_in(ws, cell)[0] for cell in cells)


def ask(*keys: Key, outage: bool = False) -> Ask:
    return Ask(keys=keys, near="keep", accept_outage=outage)


def text_of(ws: Workspace, key: Key) -> str:
    [record] = ws.resolve(ask(key)).shown
    return str(record.row["text"])


def statement(certificate: Certificate) -> Statement:
    """What is certified; every check that can be made without a pinned key has passed."""
    result = checked(certificate)
    result.require()
    assert result.statement is not None
    return result.statement


def checked(certificate: Certificate) -> Verification:
    return verify(envelope_bytes(certificate))


def kinds(ws: Workspace, request: str | None = None) -> list[str]:
    return [e.kind for e in ws.backends.ledger.entries(request)]


def artifacts(ws: Workspace) -> list[tuple[str, str, tuple[str, ...]]]:
    listed = ws.backends.artifacts.list()
    return sorted((a.name, a.kind, tuple(sorted(a.cells))) for a in listed)


def served(ws: Workspace) -> tuple[Snapshot, ...]:
    return selection(state.parts(ws.backends))


def reopened(ws: Workspace) -> Workspace:
    """As another process would see it, after whatever recovery opening does."""
    return open_workspace(ws.folder)


def unrepaired(folder: Path) -> Workspace:
    """The workspace as a crash left it, before opening repairs anything."""
    return Workspace(backends.connect(folder))
