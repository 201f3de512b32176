"""Killed before or after any entry that belongs to no request: training, rebuilding, copying."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_kill import KILLED, dying, in_child
from tiny_workspace import ask, copy, fixed_secrets, kinds, new_workspace, some_key, unrepaired

from rescind import backends
from rescind.core.errors import NoOp
from rescind.storage.sql import SqlLedger
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.workspace import Workspace, open_workspace


def killed(work: Callable[[], object], count: int, before: bool) -> None:
    """Do the work in a child that dies around its ``count``-th entry."""

    def dies() -> None:
        real: Any = SqlLedger.append
        SqlLedger.append = dying(real, count, before)  # type: ignore[method-assign]
        work()

    assert in_child(dies) == KILLED


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("count", "entry"), [(1, "run.started"), (2, "run.finished")])
def test_a_training(
    count: int, entry: str, before: bool, encoder: Path, source: Path, tmp_path: Path, ws: Workspace
) -> None:
    apart = new_workspace(tmp_path / "apart")
    apart.backends.ledger.close()
    recipe = tiny_recipe(tiny_task(encoder))
    killed(lambda: open_workspace(apart.folder).train(recipe, str(source)), count, before)
    assert (entry in kinds(unrepaired(apart.folder))) != before
    again = open_workspace(apart.folder)
    again.train(recipe, str(source))
    assert (kinds(again).count("run.started"), kinds(again).count("run.finished")) == (1, 1)
    assert again.state_digest() == ws.state_digest()
    again.verify()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_rebuild(before: bool, ws: Workspace) -> None:
    digest, folder = ws.state_digest(), ws.folder
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id, replay=False)
    ws.backends.ledger.close()
    killed(lambda: open_workspace(folder).rebuild(shards=[0]), 1, before)
    again = open_workspace(folder)
    if before:
        assert again.rebuild(shards=[0]) == 2
    else:
        with pytest.raises(NoOp):
            again.rebuild(shards=[0])
    assert (len(again.backends.ledger.items("part")), again.remaining()) == (8, {})
    assert again.state_digest() != digest
    again.verify()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("what", ["export", "backup", "fork"])
def test_a_copy(what: str, before: bool, ws: Workspace, tmp_path: Path) -> None:
    """Noted before it is made: a kill may leave a note without a copy, never the reverse."""
    folder, target = ws.folder, tmp_path / "copy"
    ws.backends.ledger.close()
    calls = {
        "export": lambda w: w.export(target, "the press"),
        "backup": lambda w: w.backup(target),
    }
    call: Callable[[Workspace], object] = calls.get(what, lambda w: w.fork(target))
    killed(lambda: call(open_workspace(folder)), 1, before)
    noted = open_workspace(folder).backends.ledger.items("export")
    assert not target.exists()
    assert len(noted) == (not before)
    call(open_workspace(folder))
    assert target.exists()


@pytest.mark.parametrize("count", [1, 2])
def test_making_a_workspace(count: int, tmp_path: Path) -> None:
    """What is missing of it, such as its first signing key, is made when it is opened."""
    folder = fixed_secrets(tmp_path / "ws")
    killed(lambda: open_workspace(folder), count, False)
    made = open_workspace(folder)
    assert made.backends.signer().key_id
    assert kinds(made)[:1] == ["workspace.created"]


def test_the_harness_counts_entries_of_this_process(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "ws"
    copy(trained("s3t"), folder).backends.ledger.close()
    before = len(kinds(unrepaired(folder)))
    killed(functools.partial(_two_entries, folder), 2, True)
    assert len(kinds(unrepaired(folder))) == before + 1


def _two_entries(folder: Path) -> None:
    b = backends.connect(folder)
    Workspace(b).rotate_key()
    Workspace(b).rotate_key()
