"""The ledger in SQL: an append-only hash chain and the projections it feeds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from rescind.core.canonical import dumps
from rescind.core.errors import BadParameter, Busy, LedgerInconsistent
from rescind.core.protocols import Entry, Write, chain_digest
from rescind.storage.database import Database
from rescind.storage.files import locked
from rescind.storage.tables import entries, meta, state

PAGE = 500  # entries read at once; no transaction stays open between pages

_HEAD = select(entries.c.seq, entries.c.digest).order_by(entries.c.seq.desc()).limit(1)
_NOTED_HEAD = select(meta.c.value).where(meta.c.name == "head")
_REQUEST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_RESTORE = "Restore a backup of the workspace; certificates already issued stay valid."


class SqlLedger:
    """A ``core.protocols.Ledger`` in a SQLite file, or in memory for ``sqlite://``.

    Args:
        where: a path, a ``sqlite:///`` URL, or a database that is open already.
        locks: the folder of the lock files by which requests are claimed.

    Raises:
        NewerWorkspace: the file has a later schema; it is left as it is.
        StorageFailed: the file is damaged, not ours, or cannot be opened.
    """

    def __init__(self, where: str | Path | Database, locks: str | Path) -> None:
        self.database = where if isinstance(where, Database) else Database(where)
        self._locks = Path(locks)

    def append(self, entry: Entry) -> Entry:
        """Store the entry with its place in the chain, and apply its writes, in one transaction.

        Returns:
            The entry as stored: ``at`` (UTC, ISO 8601, microseconds) filled where empty, ``seq``,
            ``previous`` and ``digest`` set, facts and writes as plain JSON values.

        Raises:
            StorageFailed: the disk is full or read-only; nothing was changed.
            LedgerInconsistent: entries are missing at the end of the chain.
        """
        body = dumps({"facts": entry.facts, "writes": entry.writes}).decode()
        entry = _with_body(entry, body)
        with self.database.write() as connection:
            entry = _link(entry, *_checked_head(connection))
            connection.execute(insert(entries), _row(entry, body))
            _apply(connection, entry)
            connection.execute(delete(meta).where(meta.c.name == "head"))
            connection.execute(insert(meta), {"name": "head", "value": entry.digest})
        return entry

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last entry; (0, "") where there is none."""
        with self.database.read() as connection:
            return _head(connection)

    def entries(self, request: str | None = None) -> Iterator[Entry]:
        """All entries in order, or those of one request; appending while reading is fine."""
        after = None
        while True:
            with self.database.read() as connection:
                rows = _page(connection, after, request)
            if not rows:
                return
            yield from map(_entry, rows)
            after = rows[-1].seq

    def get(self, table: str, key: str) -> Any:
        """The value in a projection, None where there is none."""
        where = (state.c.table_name == table, state.c.key == key)
        with self.database.read() as connection:
            text = connection.scalar(select(state.c.value).where(*where))
        return None if text is None else json.loads(text)

    def items(self, table: str) -> dict[str, Any]:
        """All of a projection, by key in order."""
        query = select(state.c.key, state.c.value).where(state.c.table_name == table)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(state.c.key)).all()
        return {key: json.loads(text) for key, text in rows}

    def verify(self) -> None:
        """Recompute the chain, rebuild the projections from it and compare.

        A tail cut off together with the noted head shows only against a head kept elsewhere, such
        as the one in a certificate.

        Raises:
            LedgerInconsistent: ``at`` is the first entry that was changed, removed, moved or put
                in, or whose projection drifted.
        """
        rebuilt: dict[tuple[str, str], tuple[str, int]] = {}
        with self.database.snapshot() as connection:
            last, after = (0, ""), None
            while rows := _page(connection, after):
                after = rows[-1].seq
                for row in rows:
                    entry = _checked(row, *last)
                    _replay(rebuilt, entry)
                    last = entry.seq, entry.digest
            _check_tail(connection, last)
            _check_state(connection, rebuilt)

    def claim(self, request: str) -> AbstractContextManager[None]:
        """Hold a request for the block; freed by the system when this process dies.

        Raises:
            Busy: another process or thread holds it.
            BadParameter: the id cannot name a file.
        """
        if not _REQUEST.fullmatch(request):
            raise BadParameter(
                f"{request!r} is no request id.",
                "It may hold letters, digits, dot, dash and underscore.",
                "Run `rescind request list` to see the ids.",
            )
        busy = Busy(
            f"Request {request} is being worked on by another process.",
            "Two processes may not take the same steps.",
            "Wait for it to end, then run the same command again.",
        )
        return locked(self._locks / f"{request}.lock", busy)

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and empty it, so that no deleted row lingers.

        Raises:
            Busy: another process was reading or writing all the while.
        """
        with self.database.read() as connection:
            row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
        if row is not None and row[0]:
            raise Busy(
                "The write-ahead log of the workspace could not be truncated.",
                "Another process is using the database; deleted rows may linger in the log.",
                "Wait for it to end, then run the same command again.",
            )

    def close(self) -> None:
        """Close the connections of all threads."""
        self.database.close()


def _with_body(entry: Entry, body: str) -> Entry:
    """The entry with facts and writes as they will be read back: plain JSON values."""
    content = json.loads(body)
    writes = tuple(Write(w["table"], w["key"], w["value"]) for w in content["writes"])
    return replace(entry, facts=content["facts"], writes=writes)


def _link(entry: Entry, seq: int, previous: str) -> Entry:
    at = entry.at or datetime.now(UTC).isoformat(timespec="microseconds")
    linked = replace(entry, at=at, seq=seq + 1, previous=previous)
    return replace(linked, digest=chain_digest(linked))


def _row(entry: Entry, body: str) -> dict[str, Any]:
    names = ("seq", "previous", "digest", "kind", "at", "request")
    return {name: getattr(entry, name) for name in names} | {"body": body}


def _entry(row: Row[Any]) -> Entry:
    bare = Entry(row.kind, row.request, {}, (), row.at, row.seq, row.previous, row.digest)
    return _with_body(bare, row.body)


def _head(connection: Connection) -> tuple[int, str]:
    row = connection.execute(_HEAD).first()
    return (0, "") if row is None else (row.seq, row.digest)


def _checked_head(connection: Connection) -> tuple[int, str]:
    head = _head(connection)
    _check_tail(connection, head)
    return head


def _check_tail(connection: Connection, last: tuple[int, str]) -> None:
    if (connection.scalar(_NOTED_HEAD) or "") != last[1]:
        raise LedgerInconsistent(
            last[0] + 1,
            f"The ledger ends at entry {last[0]}, which is not the last one written.",
            "Entries are missing at the end of the chain.",
            _RESTORE,
        )


def _page(
    connection: Connection, after: int | None, request: str | None = None
) -> Sequence[Row[Any]]:
    query = select(entries).order_by(entries.c.seq).limit(PAGE)
    if after is not None:
        query = query.where(entries.c.seq > after)
    if request is not None:
        query = query.where(entries.c.request == request)
    return connection.execute(query).all()


def _apply(connection: Connection, entry: Entry) -> None:
    last = {(w.table, w.key): w.value for w in entry.writes}
    if not last:
        return
    where = (state.c.table_name == bindparam("t"), state.c.key == bindparam("k"))
    connection.execute(delete(state).where(*where), [{"t": t, "k": k} for t, k in last])
    rows = [
        {"table_name": t, "key": k, "value": dumps(value).decode(), "seq": entry.seq}
        for (t, k), value in last.items()
        if value is not None
    ]
    if rows:
        connection.execute(insert(state), rows)


def _checked(row: Row[Any], seq: int, previous: str) -> Entry:
    """The entry in this row, if it is the one that follows; its text must be canonical too."""
    if row.seq != seq + 1:
        raise _broken(seq + 1, "it is missing")
    try:
        entry = _entry(row)
        canonical = dumps({"facts": entry.facts, "writes": entry.writes}).decode() == row.body
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(row.seq, "its body cannot be read") from error
    if entry.previous != previous:
        raise _broken(row.seq, "it does not follow the entry before it")
    if not canonical or chain_digest(entry) != entry.digest:
        raise _broken(row.seq, "its content was changed")
    return entry


def _broken(seq: int, how: str) -> LedgerInconsistent:
    return LedgerInconsistent(
        seq,
        f"The ledger is broken at entry {seq}: {how}.",
        "Nothing from there on can be relied upon.",
        _RESTORE,
    )


def _replay(rebuilt: dict[tuple[str, str], tuple[str, int]], entry: Entry) -> None:
    for write in entry.writes:
        if write.value is None:
            rebuilt.pop((write.table, write.key), None)
        else:
            rebuilt[write.table, write.key] = dumps(write.value).decode(), entry.seq


def _check_state(connection: Connection, rebuilt: dict[tuple[str, str], tuple[str, int]]) -> None:
    stored = {(r.table_name, r.key): (r.value, r.seq) for r in connection.execute(select(state))}
    if stored == rebuilt:
        return
    at, table, key = min(
        (rebuilt[k][1] if k in rebuilt else stored[k][1], *k)
        for k in stored.keys() | rebuilt.keys()
        if stored.get(k) != rebuilt.get(k)
    )
    raise LedgerInconsistent(
        at,
        f"The table {table!r} disagrees with the chain at entry {at}, key {key!r}.",
        "It was changed by something other than an entry.",
        _RESTORE,
    )
