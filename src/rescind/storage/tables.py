"""The tables: entries are appended, all else is rebuilt from them or from the artifact folder."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

SCHEMA = 1

metadata = MetaData()

# schema: the number above; head: digest of the last entry, so that a cut tail shows
meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("request", Text, index=True),
    Column("body", Text, nullable=False),  # canonical JSON of facts and writes
)

# every projection; fed by Entry.writes, rebuilt by verify
state = Table(
    "state",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("seq", Integer, nullable=False),
)

# while a name is replaced it has two rows: the one that is ready and the one being written
artifacts = Table(
    "artifacts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("cells", Text, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("state", Text, nullable=False),  # writing | ready | destroying
    Index("artifacts_address", "address"),
    Index("artifacts_state", "state"),
)

artifact_cells = Table(
    "artifact_cells",
    metadata,
    Column("cell", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    ForeignKeyConstraint(
        ["name", "address"], ["artifacts.name", "artifacts.address"], ondelete="CASCADE"
    ),
    Index("artifact_cells_name", "name", "address"),
    sqlite_with_rowid=False,
)
