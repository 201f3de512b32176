"""One file that holds a whole workspace, and the way back."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import select

from rescind.core.canonical import dumps
from rescind.core.errors import BadParameter, DamagedArtifact, NewerWorkspace
from rescind.storage.artifacts import NONCE, TAG
from rescind.storage.database import Database
from rescind.storage.files import (
    LOCK,
    locked,
    make_folder,
    move_durably,
    storage_errors,
    write_durably,
)
from rescind.storage.tables import artifacts

FORMAT = 1
DATABASE, SETTINGS, ARTIFACTS, KEYS = "rescind.db", "rescind.toml", "artifacts", "keys"

_CONTENTS = "backup.json"  # always the first member: format, number of files
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_MEMBER = re.compile(
    rf"{re.escape(DATABASE)}|{re.escape(SETTINGS)}"
    rf"|{ARTIFACTS}/[0-9a-f]{{2}}/[0-9a-f]{{64}}|{KEYS}/{_PART}(/{_PART})*"
)


def backup(workspace: str | Path, archive: str | Path) -> Path:
    """Copy a workspace as it is at one moment into one tar file, mode 0600.

    The archive holds the private keys, so it is as secret as the workspace. Keys and bytes of what
    was destroyed are not in it; what is destroyed later stays in it until the archive itself goes,
    so record it as a recipient. Artifacts cannot be written while it is made. If the process is
    killed, remove the folder ``.backup-...`` that it leaves beside the archive: it holds keys too.

    Returns:
        The path of the archive.

    Raises:
        BadParameter: no workspace is there, or the archive exists already.
        DamagedArtifact: a listed artifact or its key is missing; nothing is written.
        StorageFailed: the disk is full or read-only; nothing is left there.
    """
    folder, target = Path(workspace), Path(archive)
    check_ends(folder, target)
    make_folder(target.parent)
    with (
        locked(folder / ARTIFACTS / LOCK),
        locked(folder / KEYS / LOCK),
        storage_errors(f"Writing the backup {target}"),
        tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as scratch,
    ):
        copy, unfinished = Path(scratch) / DATABASE, Path(scratch) / "archive"
        with closing(Database(folder / DATABASE)) as database:
            database.copy_to(copy)
        members = {DATABASE: copy, **dict(_members(folder, _listed(folder, copy)))}
        _pack(unfinished, members)
        move_durably(unfinished, target)
    return target


def restore(archive: str | Path, destination: str | Path) -> Path:
    """Unpack an archive into a new or empty folder; nothing outside of it is touched.

    The caller must apply the suppression list of any later ledger again: an old backup knows
    nothing of what was forgotten after it was made.

    Returns:
        The folder of the workspace.

    Raises:
        BadParameter: the destination is not empty.
        DamagedArtifact: the archive is cut short, altered or none of ours; nothing is left there.
        NewerWorkspace: a later version of rescind wrote it.
    """
    folder = Path(destination).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadParameter(
            f"{destination} is not empty.",
            "A backup is never unpacked over something else.",
            "Name a new folder.",
        )
    unfinished = folder.with_name(f".{folder.name}.restoring")
    with storage_errors(f"Unpacking {archive} into {folder}"):
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder(unfinished)
        try:
            _unpack(Path(archive), unfinished)
            _listed(unfinished, unfinished / DATABASE)
            move_durably(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def check_ends(folder: Path, target: Path) -> None:
    """Refuse a backup of nothing, or over something, before anything is written or noted.

    Raises:
        BadParameter: no workspace is there, or the archive exists already.
    """
    if not (folder / DATABASE).is_file():
        raise BadParameter(
            f"{folder} is no workspace.",
            f"It has no {DATABASE}.",
            "Name the folder that `rescind init` made.",
        )
    if target.exists():
        raise BadParameter(
            f"{target} exists already.", "A backup replaces no file.", "Name a new file."
        )


def _listed(folder: Path, database: Path) -> set[str]:
    """Addresses of all finished artifacts, every one of which has its bytes and its key."""
    query = select(artifacts.c.name, artifacts.c.address, artifacts.c.size)
    with closing(Database(database)) as copy, copy.read() as connection:
        rows = connection.execute(query.where(artifacts.c.state == "ready")).all()
    for name, address, size in rows:
        path = folder / ARTIFACTS / address[:2] / address
        key = folder / KEYS / "artifact" / address
        length = path.stat().st_size if path.is_file() else -1
        if length == size or (length == size + NONCE + TAG and key.is_file()):
            continue
        raise DamagedArtifact(
            f"The artifact {name!r} lacks its bytes or its key.",
            "A copy without them could not be used.",
            "Drop it with `rescind erase`, or use an older backup.",
        )
    return {row.address for row in rows}


def _members(folder: Path, addresses: set[str]) -> Iterator[tuple[str, Path]]:
    if (folder / SETTINGS).is_file():
        yield SETTINGS, folder / SETTINGS
    for path in sorted((folder / KEYS).rglob("*")):
        name = path.relative_to(folder).as_posix()
        destroyed = name.startswith(f"{KEYS}/artifact/") and path.name not in addresses
        if path.is_file() and not path.name.startswith(".") and not destroyed:
            yield name, path
    for address in sorted(addresses):
        name = f"{ARTIFACTS}/{address[:2]}/{address}"
        yield name, folder / name


def _pack(archive: Path, members: dict[str, Path]) -> None:
    contents = dumps({"format": FORMAT, "files": len(members)})
    archive.touch(mode=0o600)
    with tarfile.open(archive, "w") as tar:
        tar.addfile(_info(_CONTENTS, len(contents)), io.BytesIO(contents))
        for name, path in members.items():
            with path.open("rb") as file:
                tar.addfile(_info(name, path.stat().st_size), file)


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in _checked(archive, tar):
                write_durably(folder / member.name, _content(tar, member))
    except tarfile.TarError as error:
        raise _broken(archive, f"it cannot be read ({error})") from error


def _checked(archive: Path, tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members to unpack, once all names are known to be ours and none is missing."""
    first, *members = tar.getmembers() or [tarfile.TarInfo()]
    if first.name != _CONTENTS:
        raise _broken(archive, f"it does not begin with {_CONTENTS}")
    contents = _contents(archive, _content(tar, first))
    if contents["format"] > FORMAT:
        raise NewerWorkspace(
            f"{archive} has format {contents['format']}; this rescind knows format {FORMAT}.",
            "A later version of rescind wrote it.",
            "Upgrade with `pip install --upgrade rescind`.",
        )
    for member in members:
        if not member.isreg() or not _MEMBER.fullmatch(member.name):
            raise _broken(archive, f"it holds {member.name!r}, which is no file of a workspace")
    names = {member.name for member in members}
    if DATABASE not in names or not len(names) == len(members) == contents["files"]:
        raise _broken(archive, f"it holds {len(names)} of {contents['files']} files")
    return members


def _contents(archive: Path, data: bytes) -> dict[str, int]:
    try:
        found = json.loads(data)
        return {"format": int(found["format"]), "files": int(found["files"])}
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(archive, f"its {_CONTENTS} cannot be read") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    with file:
        return file.read()


def _broken(archive: Path, how: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"{archive} is no whole backup: {how}.",
        "A part of a workspace cannot be used.",
        "Use another backup.",
    )
