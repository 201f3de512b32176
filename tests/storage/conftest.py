from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger

ADDRESS_KEY = b"a" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = SqlLedger(tmp_path / "rescind.db", tmp_path / "locks")
    yield made
    made.close()


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


@pytest.fixture
def store(tmp_path: Path, ledger: SqlLedger, keys: KeyStore) -> FolderArtifacts:
    return FolderArtifacts(tmp_path / "artifacts", ledger.database, keys, ADDRESS_KEY)
