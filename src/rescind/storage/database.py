"""How the database is opened, read and written: one writer at a time, every commit synced."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, create_engine, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from rescind.core.errors import BadParameter, NewerWorkspace, StorageFailed
from rescind.storage.files import LOCK, locked, make_folder, storage_errors
from rescind.storage.tables import SCHEMA, meta, metadata

BUSY_SECONDS = 30.0

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_FULL = ("The disk is full.", "Free space, then run the same command again.")
_READ_ONLY = (
    "The file or its folder may not be written by this user.",
    "Give yourself write permission, then run the same command again.",
)
_CORRUPT = (
    "The file is damaged or is no SQLite database.",
    "Restore a backup of the workspace.",
)
_BUSY = (
    "Another process kept it locked for too long.",
    "Wait for that process to end, then run the same command again.",
)
_UNREADABLE = (
    "The file cannot be opened or the disk does not answer.",
    "Check the path, its permissions and the disk, then run the same command again.",
)
_REASONS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _CORRUPT,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_IOERR: _UNREADABLE,
    sqlite3.SQLITE_CANTOPEN: _UNREADABLE,
}


class Database:
    """One SQLite database: a connection a thread, one writer at a time, every commit synced.

    A file is in WAL mode, so that readers never wait. ``sqlite://`` lives in memory and is shared
    by the threads of this process only. Do not carry one over a fork: open it again there.
    """

    def __init__(self, where: str | Path) -> None:
        self.url = _url(where)
        self.in_memory = self.url.database in (None, "", ":memory:")
        self.name = "the database in memory" if self.in_memory else str(self.url.database)
        self._lock = threading.RLock()
        self._local = self._none_yet()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._engine = create_engine(
            self.url,
            isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are ours, see write()
            poolclass=StaticPool if self.in_memory else NullPool,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", _set_up)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """The connection of this thread, for single statements.

        Raises:
            StorageFailed: the file is damaged, locked for too long or not readable.
        """
        with self._explained(), self._lock if self.in_memory else nullcontext():
            yield self._connection()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """The connection of this thread, whose reads in the block all see one moment."""
        with self.read() as connection, _transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The connection of this thread in a durable transaction: all of the block or nothing.

        Raises:
            StorageFailed: the disk is full, the file read-only or damaged; nothing was changed.
        """
        with self._explained(), self._lock:
            connection = self._connection()
            with _transaction(connection, "BEGIN IMMEDIATE"):
                yield connection

    def copy_to(self, path: Path) -> None:
        """Write a copy of one moment of the database, by SQLite's online backup.

        Raises:
            StorageFailed: the copy could not be read or written.
        """
        with self.read() as connection, closing(sqlite3.connect(path)) as target:
            source = connection.connection.driver_connection
            if source is not None:
                source.backup(target)

    def close(self) -> None:
        """Close the connections of all threads; using the database again opens a new one."""
        for connection in list(self._open):
            connection.close()
        self._local = self._none_yet()
        self._engine.dispose()

    def _none_yet(self) -> Any:
        # in memory all threads share one: a dead thread's would be rolled back under the others
        return SimpleNamespace() if self.in_memory else threading.local()

    def _connection(self) -> Connection:
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None or found.closed:
            found = self._local.connection = self._engine.connect()
            self._open.add(found)
        return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            driver = error.orig if isinstance(error, DBAPIError) else error
            code = getattr(driver, "sqlite_errorcode", 0) & 0xFF
            unknown = (f"SQLite says: {driver}.", "Run `rescind db verify`.")
            raise StorageFailed(
                f"The workspace database {self.name} failed.", *_REASONS.get(code, unknown)
            ) from error

    def _prepare(self) -> None:
        if self.in_memory:
            self._create()
            return
        path = Path(self.name)
        make_folder(path.parent)
        with storage_errors(f"Making {path}"):
            path.touch(mode=0o600)  # the log and its index take over the mode
        with self.read() as connection:
            ready = _schema(connection, self.name) == SCHEMA and _is_wal(connection)
        if not ready:
            # one process at a time: SQLite does not wait for its turn to switch to WAL
            with locked(path.with_name(path.name + LOCK)):
                self._create()

    def _create(self) -> None:
        with self.read() as connection:
            _schema(connection, self.name)
            if not self.in_memory:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        with self.write() as connection:
            if _schema(connection, self.name) is None:
                metadata.create_all(connection)
                connection.execute(insert(meta).values(name="schema", value=str(SCHEMA)))


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(where))
    url = make_url(where)
    if url.get_backend_name() != "sqlite":
        raise BadParameter(
            f"The database {url.render_as_string()} cannot hold a workspace.",
            "Only SQLite is supported yet.",
            "Use a path or a URL such as sqlite:///rescind.db.",
        )
    return url


def _set_up(connection: Any, _record: Any) -> None:
    for pragma in ("synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


@contextmanager
def _transaction(connection: Connection, begin: str) -> Iterator[None]:
    connection.exec_driver_sql(begin)
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        # a full disk makes SQLite roll back by itself
        driver = connection.connection.driver_connection
        if driver is not None and driver.in_transaction:
            connection.exec_driver_sql("ROLLBACK")
        raise


def _is_wal(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal")


def _schema(connection: Connection, name: str) -> int | None:
    """The schema number of the file, None for a new one; refuses what is not ours to change."""
    tables = connection.exec_driver_sql(_TABLES).all()
    if not tables:
        return None
    found = None
    if ("meta",) in [tuple(row) for row in tables]:
        found = connection.scalar(select(meta.c.value).where(meta.c.name == "schema"))
    if found is None or not found.isdigit():
        raise StorageFailed(
            f"{name} is not a rescind database.",
            "It has tables, but no schema number.",
            "Name another file, or make a workspace elsewhere with `rescind init`.",
        )
    if int(found) > SCHEMA:
        raise NewerWorkspace(
            f"The workspace has schema {found}; this rescind knows schema {SCHEMA}.",
            "A later version of rescind wrote it; nothing was changed.",
            "Upgrade with `pip install --upgrade rescind`.",
        )
    return int(found)
