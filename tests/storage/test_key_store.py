from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rescind.core.errors import BadParameter, DamagedArtifact
from rescind.storage.keys import KeyStore

ENSURE = """
import sys
from rescind.storage.keys import KeyStore
store = KeyStore(sys.argv[1])
sys.stdin.readline()
print([store.ensure(f"cell/0.{n}").hex() for n in range(30)])
"""


def test_a_key_is_drawn_once_and_private(keys: KeyStore) -> None:
    key = keys.ensure("request/r1")
    path = keys.folder / "request" / "r1"
    assert len(key) == 32
    assert keys.ensure("request/r1") == keys.get("request/r1") == path.read_bytes() == key
    assert keys.ensure("request/r2") != key
    assert len(keys.ensure("workspace", 16)) == 16
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_put_replaces(keys: KeyStore) -> None:
    keys.put("signing/ab", b"one")
    keys.put("signing/ab", b"two")
    assert keys.get("signing/ab") == b"two"


def test_destroy_leaves_nothing_and_may_be_repeated(keys: KeyStore) -> None:
    keys.ensure("request/r1")
    # what a writer killed between write and rename leaves beside the key
    (keys.folder / "request" / ".r1.tmp").write_bytes(b"secret")
    for _ in range(2):
        keys.destroy("request/r1")
        assert os.listdir(keys.folder / "request") == []
    with pytest.raises(DamagedArtifact, match="request/r1"):
        keys.get("request/r1")
    keys.destroy("nothing/there")


def test_a_key_of_another_size_is_refused(keys: KeyStore) -> None:
    keys.put("workspace", b"short")
    with pytest.raises(DamagedArtifact, match="5 bytes instead of 32"):
        keys.ensure("workspace")


def test_names_by_prefix(keys: KeyStore) -> None:
    for name in ("cell/0.1", "cell/0.0", "cell/test", "request/r1", "workspace"):
        keys.ensure(name)
    (keys.folder / "cell" / ".0.9.tmp").write_bytes(b"")
    assert keys.names("cell/") == ("cell/0.0", "cell/0.1", "cell/test")
    assert keys.names("cell/0") == ("cell/0.0", "cell/0.1")
    assert keys.names("re") == ("request/r1",)
    assert len(keys.names()) == 5
    assert keys.names("none/") == ()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        ".",
        ".lock",
        "a/.b",
        "a\\b",
        "a\nb",
        "é",
    ],
)
def test_names_cannot_leave_the_folder(keys: KeyStore, name: str) -> None:
    for call in (keys.get, keys.ensure, keys.destroy):
        with pytest.raises(BadParameter, match="no name for a key"):
            call(name)
    with pytest.raises(BadParameter):
        keys.put(name, b"x")


@pytest.mark.parametrize("prefix", ["../", "/etc/", "cell/../../"])
def test_prefixes_cannot_leave_the_folder(keys: KeyStore, prefix: str) -> None:
    with pytest.raises(BadParameter):
        keys.names(prefix)


def test_two_processes_ensure_the_same_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENSURE, str(tmp_path / "keys")]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1]
    assert len(KeyStore(tmp_path / "keys").names()) == 30
