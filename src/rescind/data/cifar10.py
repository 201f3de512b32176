"""CIFAR-10 in its binary version (Krizhevsky, Learning Multiple Layers of Features from Tiny
Images, 2009); the Python version is pickled, which could run anything, and is never read.

A record is 3,073 bytes: the label, then 32 x 32 bytes of red, of green and of blue, row by row.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rescind.core.errors import BadData, MissingExtra

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32
SHAPE = (3, SIDE, SIDE)
RECORD = 1 + 3 * SIDE * SIDE
EACH = 10_000  # records in a file
FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}


def load(folder: Path, part: str = "train", count: int | None = None) -> list[dict[str, Any]]:
    """The first ``count`` images of a part: id, array (base64 of 3 x 32 x 32 bytes) and label.

    Args:
        folder: where the files of the binary version lie.
        part: "train" or "test".
        count: at most so many, in the order of the files; all where it is None. All files of the
            part must be there, however few are wanted.

    Raises:
        MissingExtra: files are missing; all are named.
        BadData: a part that there is not, a file of another length, a label above 9.
    """
    if part not in FILES:
        raise BadData(f"There is no part {part!r}.", do="Use 'train' or 'test'.")
    _refuse_missing(folder, part)
    rows: list[dict[str, Any]] = []
    for name in FILES[part]:
        wanted = EACH if count is None else min(EACH, count - len(rows))
        if wanted <= 0:
            break
        rows += _rows(folder / name, part, len(rows), wanted)
    return rows


def _refuse_missing(folder: Path, part: str) -> None:
    missing = [name for name in FILES[part] if not (folder / name).is_file()]
    if missing:
        raise MissingExtra(
            f"{', '.join(missing)} not found in {folder}.",
            "CIFAR-10 comes in no package; it is read in its binary version only, as the Python"
            " version is pickled.",
            "Download cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html,"
            " unpack it, and start in the folder that holds cifar-10-batches-bin.",
        )


def _rows(path: Path, part: str, first: int, count: int) -> Iterator[dict[str, Any]]:
    length = path.stat().st_size
    if length != EACH * RECORD:
        raise BadData(
            f"{path} holds {length} bytes, not {EACH * RECORD}.",
            f"A file has {EACH} records of {RECORD} bytes; this one is cut or of another data set.",
            "Unpack cifar-10-binary.tar.gz again.",
        )
    with path.open("rb") as file:
        data = file.read(count * RECORD)
    for i in range(count):
        label = data[i * RECORD]
        if label >= len(CLASSES):
            raise BadData(
                f"Record {i} of {path} has the label {label}, not 0 to {len(CLASSES) - 1}.",
                "The file is damaged or of another data set, such as CIFAR-100.",
                "Unpack cifar-10-binary.tar.gz again.",
            )
        pixels = data[i * RECORD + 1 : (i + 1) * RECORD]
        yield {
            "id": f"{part}-{first + i}",
            "array": base64.b64encode(pixels).decode(),
            "label": CLASSES[label],
        }
