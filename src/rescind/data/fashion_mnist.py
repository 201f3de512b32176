"""Fashion-MNIST as Debian's package ``dataset-fashion-mnist`` brings it (Xiao et al., 2017,
arXiv 1708.07747).
"""

from __future__ import annotations

import base64
import gzip
import sys
from pathlib import Path
from typing import Any

from rescind.core.errors import BadData, MissingExtra

PLACE = "share/datasets/fashion-mnist"
# where Debian puts them, and where `make test` does without root
FOLDERS = (Path("/usr") / PLACE, Path(sys.prefix) / PLACE)
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
SIDE = 28
FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}


def load(part: str = "train", count: int | None = None) -> list[dict[str, Any]]:
    """The first ``count`` images of a part: key, array (base64 of 28 x 28 bytes) and label.

    Raises:
        MissingExtra: the package is not installed.
        BadData: a part that there is not, or files of another length.
    """
    if part not in FILES:
        raise BadData(f"There is no part {part!r}.", do="Use 'train' or 'test'.")
    name, there = FILES[part]
    pixels = _read(f"{name}-images-idx3-ubyte.gz", 16, there * SIDE * SIDE)
    labels = _read(f"{name}-labels-idx1-ubyte.gz", 8, there)
    size = SIDE * SIDE
    return [
        {
            "id": f"{part}-{i}",
            "array": base64.b64encode(pixels[i * size : (i + 1) * size]).decode(),
            "label": CLASSES[labels[i]],
        }
        for i in range(there if count is None else min(count, there))
    ]


def _read(name: str, header: int, length: int) -> bytes:
    path = next((p for folder in FOLDERS if (p := folder / name).is_file()), None)
    if path is None:
        raise MissingExtra(
            f"{name} is in none of {', '.join(map(str, FOLDERS))}.",
            "Fashion-MNIST comes with a package of Debian.",
            "Type: sudo apt-get install dataset-fashion-mnist. Where there is no apt, put the four"
            f" files of github.com/zalandoresearch/fashion-mnist into {FOLDERS[-1]}.",
        )
    data = gzip.decompress(path.read_bytes())[header:]
    if len(data) != length:
        raise BadData(f"{path} holds {len(data)} bytes after its header, not {length}.")
    return data
