"""Artifacts in a folder: encrypted one by one, listed in the database from before to after."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from rescind.core.canonical import dumps
from rescind.core.errors import DamagedArtifact
from rescind.core.lineage import Artifact, ArtifactKind
from rescind.storage.database import Database
from rescind.storage.files import LOCK, locked, remove_durably, storage_errors, write_durably
from rescind.storage.keys import KeyStore
from rescind.storage.tables import artifact_cells, artifacts

NONCE = 12  # bytes, as NIST SP 800-38D advises for GCM
TAG = 16

_ORDER = (artifacts.c.name, artifacts.c.address)


class FolderArtifacts:
    """``core.protocols.Artifacts`` over a folder, a database and a key store.

    The address is HMAC-SHA256 of the bytes under ``address_key``. Each address has its own
    AES-256-GCM key, ``artifact/<address>`` in the key store, with the address as associated data;
    its file is ``folder/<first two hex digits>/<address>`` = nonce (12 bytes), ciphertext, tag
    (16). With ``encrypt=False`` new files hold the bytes as they are and destroying them only
    unlinks; files of either form stay readable.

    Writers take turns over one lock file. Every put and destroy may be killed at any point: call
    ``sweep`` on opening to finish what was left.
    """

    def __init__(
        self,
        folder: str | Path,
        database: Database,
        keys: KeyStore,
        address_key: bytes,
        encrypt: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.encrypt = encrypt
        self._database = database
        self._keys = keys
        self._address_key = address_key

    def put(self, name: str, kind: ArtifactKind, data: bytes, cells: frozenset[str]) -> Artifact:
        """Store the bytes, unsealed, in place of what the name held; the old bytes stay readable
        until the new ones are, and are then destroyed if no other name shares them.

        Raises:
            StorageFailed: the disk is full or read-only; the name holds what it held before.
        """
        artifact = Artifact(name, kind, self._address(data), len(data), cells)
        with self._locked():
            self._announce(artifact)
            self._write(artifact.address, data)
            if self._publish(artifact):
                self._finish()
        return artifact

    def get(self, name: str) -> bytes:
        """The bytes that were put.

        Raises:
            DamagedArtifact: the name is unknown or half written, or its bytes or its key are
                missing, cut short or altered.
        """
        row = self._ready(name)
        while True:
            try:
                return self._read(row)
            except DamagedArtifact:
                now = self._ready(name)
                if now.address == row.address:
                    raise
                row = now  # replaced while we read

    def find(self, name: str) -> Artifact | None:
        """What is listed under the name; None where nothing is."""
        rows = self._rows(name)
        return _artifact(rows[0]) if rows else None

    def list(self, cells: frozenset[str] | None = None) -> tuple[Artifact, ...]:
        """All artifacts, or those made from any of the cells, by name; half-written and
        half-destroyed ones too, since their bytes may still be there.
        """
        query = select(artifacts)
        if cells is not None:
            found = select(artifact_cells.c.name, artifact_cells.c.address).distinct()
            hits = found.where(artifact_cells.c.cell.in_(sorted(cells))).subquery()
            same = (artifacts.c.name == hits.c.name) & (artifacts.c.address == hits.c.address)
            query = query.join(hits, same)
        with self._database.read() as connection:
            return tuple(_artifact(row) for row in connection.execute(query.order_by(*_ORDER)))

    def seal(self, names: Sequence[str]) -> None:
        """Mark artifacts as kept for evidence and never to be served.

        Names that are not listed are passed over, as in ``destroy``: what is gone cannot be served,
        and a withdrawal must not stop at it.
        """
        query = update(artifacts).where(artifacts.c.name.in_(list(names))).values(sealed=True)
        with self._locked(), self._database.write() as connection:
            connection.execute(query)

    def destroy(self, names: Sequence[str]) -> None:
        """Delete key and bytes, unless another name shares them, and then the listing.

        Names that are not listed are passed over, so that a retry goes through.

        Raises:
            StorageFailed: something is still there, and still listed.
        """
        if not names:
            return
        query = update(artifacts).where(artifacts.c.name == bindparam("named"))
        with self._locked():
            with self._database.write() as connection:
                marked = query.values(state="destroying")
                connection.execute(marked, [{"named": name} for name in names])
            self._finish()

    def sweep(self) -> tuple[str, ...]:
        """Finish half-done destroys, remove half-done writes, and all files and keys that no name
        lists.

        Returns:
            What was removed: names of artifacts, then names of files and keys.
        """
        with self._locked():
            with self._database.write() as connection:
                half = update(artifacts).where(artifacts.c.state == "writing")
                connection.execute(half.values(state="destroying"))
            return (*self._finish(), *self._remove_unlisted())

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder / LOCK)

    def _address(self, data: bytes) -> str:
        return hmac.digest(self._address_key, data, "sha256").hex()

    def _path(self, address: str) -> Path:
        return self.folder / address[:2] / address

    def _rows(self, name: str) -> Sequence[Row[Any]]:
        """All rows of the name, the ready one first."""
        query = select(artifacts).where(artifacts.c.name == name)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return sorted(rows, key=lambda row: row.state != "ready")

    def _ready(self, name: str) -> Row[Any]:
        rows = self._rows(name)
        if rows and rows[0].state != "ready":
            with self._locked():  # who writes it holds the lock: wait for that, then look again
                rows = self._rows(name)
        if not rows or rows[0].state != "ready":
            raise _damaged(name, "is half written or half destroyed" if rows else "is not stored")
        return rows[0]

    def _announce(self, artifact: Artifact) -> None:
        """List the artifact before its bytes; equal bytes already listed stay ready meanwhile."""
        same = _same(artifact)
        with self._database.write() as connection:
            now = connection.scalar(select(artifacts.c.state).where(same))
            connection.execute(delete(artifacts).where(same))
            row = {
                "name": artifact.name,
                "address": artifact.address,
                "kind": artifact.kind,
                "size": artifact.size,
                "cells": dumps(artifact.cells).decode(),
                "sealed": artifact.sealed,
                "state": "ready" if now == "ready" else "writing",
            }
            connection.execute(insert(artifacts), row)
            _list_cells(connection, artifact)

    def _write(self, address: str, data: bytes) -> None:
        key_name = f"artifact/{address}"
        if not self.encrypt:
            write_durably(self._path(address), data)
            self._keys.destroy(key_name)
            return
        nonce = secrets.token_bytes(NONCE)
        cipher = AESGCM(self._keys.ensure(key_name))
        write_durably(self._path(address), nonce, cipher.encrypt(nonce, data, address.encode()))

    def _publish(self, artifact: Artifact) -> bool:
        """Make the new bytes the ones of the name; whether there are old ones to destroy."""
        others = (artifacts.c.name == artifact.name) & (artifacts.c.address != artifact.address)
        with self._database.write() as connection:
            old = connection.execute(update(artifacts).where(others).values(state="destroying"))
            connection.execute(update(artifacts).where(_same(artifact)).values(state="ready"))
        return bool(old.rowcount)

    def _finish(self) -> tuple[str, ...]:
        """Destroy all that is marked: key first, then bytes, then the row. The lock is held."""
        query = select(artifacts.c.name, artifacts.c.address)
        with self._database.read() as connection:
            doomed = connection.execute(query.where(artifacts.c.state == "destroying")).all()
        if not doomed:
            return ()
        for address in {row.address for row in doomed}:
            if not self._shared(address):
                self._keys.destroy(f"artifact/{address}")
                remove_durably(self._path(address))
        with self._database.write() as connection:
            connection.execute(delete(artifacts).where(artifacts.c.state == "destroying"))
        return tuple(sorted(row.name for row in doomed))

    def _shared(self, address: str) -> bool:
        alive = (artifacts.c.address == address) & (artifacts.c.state != "destroying")
        with self._database.read() as connection:
            return connection.execute(select(artifacts.c.name).where(alive)).first() is not None

    def _read(self, row: Row[Any]) -> bytes:
        path = self._path(row.address)
        with storage_errors(f"Reading {path}"):
            try:
                stored = path.read_bytes()
            except FileNotFoundError:
                raise _damaged(row.name, "has lost its file") from None
        if len(stored) == row.size + NONCE + TAG:
            return self._decrypted(row, stored)
        if len(stored) != row.size:
            raise _damaged(row.name, f"has {len(stored)} bytes on disk, which is not its length")
        if not hmac.compare_digest(self._address(stored), row.address):
            raise _damaged(row.name, "was altered on disk")
        return stored

    def _decrypted(self, row: Row[Any], stored: bytes) -> bytes:
        try:
            key = self._keys.get(f"artifact/{row.address}")
        except DamagedArtifact as error:
            raise _damaged(row.name, "has lost its key") from error
        view = memoryview(stored)
        try:
            return AESGCM(key).decrypt(view[:NONCE], view[NONCE:], row.address.encode())
        except (InvalidTag, ValueError):  # ValueError: a key of another length
            raise _damaged(row.name, "was altered on disk, or its key was") from None

    def _remove_unlisted(self) -> Iterable[str]:
        with self._database.read() as connection:
            listed = set(connection.scalars(select(artifacts.c.address)))
        files = [p for p in self.folder.rglob("*") if p.is_file() and p.name != LOCK]
        for path in files:
            if path.name not in listed:
                remove_durably(path)
                yield path.name
        for key_name in self._keys.names("artifact/"):
            if key_name.removeprefix("artifact/") not in listed:
                self._keys.destroy(key_name)
                yield key_name


def _same(artifact: Artifact) -> Any:
    return (artifacts.c.name == artifact.name) & (artifacts.c.address == artifact.address)


def _list_cells(connection: Connection, artifact: Artifact) -> None:
    pair = {"name": artifact.name, "address": artifact.address}
    rows = [{"cell": cell, **pair} for cell in sorted(artifact.cells)]
    if rows:
        connection.execute(insert(artifact_cells), rows)


def _artifact(row: Row[Any]) -> Artifact:
    cells = frozenset(json.loads(row.cells))
    return Artifact(row.name, row.kind, row.address, row.size, cells, row.sealed)


def _damaged(name: str, how: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"The artifact {name!r} {how}.",
        "Its bytes cannot be given back as they were stored.",
        "Restore a backup; a lost snapshot is trained again by `rescind rebuild`.",
    )
