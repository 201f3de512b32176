"""Kill -9 before every durable step of put and destroy; then open again, sweep, and look."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.database import Database
from rescind.storage.keys import KeyStore

A = frozenset({"0.0"})
OLD, NEW, SHARED = b"old bytes", b"new bytes", b"shared bytes"
STEPS = ("fsync", "replace", "rename", "unlink", "mkdir")

Work = Callable[[FolderArtifacts], object]


def opened(folder: Path) -> tuple[FolderArtifacts, Database]:
    database = Database(folder / "rescind.db")
    keys = KeyStore(folder / "keys")
    return FolderArtifacts(folder / "artifacts", database, keys, b"k" * 32), database


def prepare(folder: Path) -> None:
    store, database = opened(folder)
    store.put("old", "rows", OLD, A)
    store.put("shared 1", "rows", SHARED, A)
    store.put("shared 2", "rows", SHARED, A)
    database.close()


def run_until(folder: Path, work: Work, last: int) -> None:
    """In a child: open, then die before the durable step number ``last``; never returns."""
    store, database = opened(folder)
    left = last

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            step()
            return inner(*args, **named)

        return call

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))
    event.listen(database._engine, "before_cursor_execute", step)
    work(store)
    os._exit(0)


def crash(folder: Path, work: Work, last: int) -> bool:
    """Whether the child was killed; False when the work ended before."""
    child = os.fork()
    if child == 0:
        try:
            run_until(folder, work, last)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


# work, and what the names may hold after a crash and a sweep: before or after, nothing between
CASES: dict[str, tuple[Work, dict[str, tuple[bytes | None, ...]]]] = {
    "put a new name": (lambda s: s.put("new", "rows", NEW, A), {"new": (None, NEW)}),
    "replace": (lambda s: s.put("old", "rows", NEW, A), {"old": (OLD, NEW)}),
    "put equal bytes again": (lambda s: s.put("old", "rows", OLD, A), {"old": (OLD,)}),
    "put bytes that others share": (
        lambda s: s.put("old", "rows", SHARED, A),
        {"old": (OLD, SHARED)},
    ),
    "replace one of two that share": (
        lambda s: s.put("shared 1", "rows", NEW, A),
        {"shared 1": (SHARED, NEW)},
    ),
    "destroy": (lambda s: s.destroy(["old"]), {"old": (OLD, None)}),
    "destroy one of two that share": (
        lambda s: s.destroy(["shared 1"]),
        {"shared 1": (SHARED, None)},
    ),
    "destroy all": (
        lambda s: s.destroy(["old", "shared 1", "shared 2"]),
        {"old": (OLD, None), "shared 1": (SHARED, None), "shared 2": (SHARED, None)},
    ),
}
BEFORE = {"old": OLD, "shared 1": SHARED, "shared 2": SHARED}


QUICK = ("replace", "put equal bytes again", "destroy all")


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_a_kill_at_any_point_is_recovered_from(tmp_path: Path, case: str) -> None:
    work, allowed = CASES[case]
    prepare(tmp_path / "before")
    died, last = True, 0
    while died:
        folder = tmp_path / str(last)
        shutil.copytree(tmp_path / "before", folder)
        died = crash(folder, work, last)
        check(folder, allowed, died)
        last += 1
    assert last > 5


def check(folder: Path, allowed: dict[str, tuple[bytes | None, ...]], died: bool) -> None:
    store, database = opened(folder)
    # before the sweep: whatever lies on the disk is listed, torn writes by their final name
    listed = {a.address for a in store.list()}
    files = [p for p in (folder / "artifacts").rglob("*") if p.is_file() and p.name != ".lock"]
    assert {p.name.removeprefix(".").removesuffix(".tmp") for p in files} <= listed
    store.sweep()
    held = {a.name: store.get(a.name) for a in store.list(A)}
    for name, values in ({k: (v,) for k, v in BEFORE.items()} | allowed).items():
        assert held.pop(name, None) in (values if died else values[-1:])
    assert held == {}
    addresses = {a.address for a in store.list()}
    files = [p for p in (folder / "artifacts").rglob("*") if p.is_file() and p.name != ".lock"]
    assert {p.name for p in files} == addresses
    keys = [p for p in (folder / "keys").rglob("*") if p.is_file() and p.name != ".lock"]
    assert {p.name for p in keys} == addresses
    assert store.sweep() == ()
    database.close()
