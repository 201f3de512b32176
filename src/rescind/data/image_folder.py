"""Images in one folder a class, such as ImageNet or Office-Home, read with Pillow.

As the released code of "Are We Truly Forgetting?" (arXiv 2503.06991) looks at images: both sides
scaled to 8/7 of the crop (256 for 224) whatever the proportions, bilinear, then the middle.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rescind.core.errors import BadData, BadParameter, MissingExtra

ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SIDE = 224


def class_names(folder: Path) -> tuple[str, ...]:
    """The folders in it, sorted: the order in which published lists count classes, from 0.

    Raises:
        MissingExtra: there is no such folder.
        BadData: it holds no folder.
    """
    if not folder.is_dir():
        raise MissingExtra(
            f"There is no folder {folder}.",
            "These images come in no package.",
            "Download them and put the images of each class into a folder of its own there.",
        )
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise BadData(
            f"{folder} holds no folders.",
            "The folder that an image lies in is its class.",
            "Put the images of each class into a folder of its own.",
        )
    return tuple(found)


def load(
    folder: Path,
    per_class: int | None = None,
    skip: int = 0,
    side: int = SIDE,
    classes: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Images by class, each: id, array (base64 of 3 x side x side bytes: red, green, blue), label.

    Args:
        folder: holds one folder a class.
        per_class: at most so many of each, in the order of their file names; None takes all.
        skip: files of each class that are passed over before, so that two sets share none.
        side: of the square crop, pixels.
        classes: folders to read; all where it is None.

    Raises:
        MissingExtra: Pillow is not installed, or the folder is missing.
        BadData: classes without a folder or without an image after ``skip``, all named; a file
            that is no image.
        BadParameter: ``per_class`` or ``side`` below 1, ``skip`` below 0.
    """
    if skip < 0 or side < 1 or (per_class is not None and per_class < 1):
        raise BadParameter(
            f"per_class is {per_class}, skip is {skip}, side is {side}.",
            do="Take a side and a number of images of at least 1, and skip 0 or more.",
        )
    there = class_names(folder)
    end = None if per_class is None else skip + per_class
    files = {n: _files(folder / n)[skip:end] for n in (there if classes is None else classes)}
    empty = [name for name, found in files.items() if not found]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise BadData(
            f"{folder} has no image for {', '.join(empty[:5])}{more}"
            + (f" after the first {skip}." if skip else "."),
            "Every class needs at least one in every set.",
            "Complete the folders, or take fewer images a class for the sets before.",
        )
    return [
        {
            "id": f"{folder.name}/{name}/{path.name}",
            "array": base64.b64encode(_pixels(path, side)).decode(),
            "label": name,
        }
        for name, found in files.items()
        for path in found
    ]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    return sorted((p for p in found if not p.name.startswith(".")), key=lambda p: p.name)


def _pixels(path: Path, side: int) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(
            "Pillow is not installed.", "It reads the images.", "Type: pip install pillow"
        ) from error
    scaled = round(side * 8 / 7)
    at = (scaled - side) // 2
    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((scaled, scaled), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadData(
            f"{path} cannot be read as an image.",
            f"{type(error).__name__}: {error}",
            "Fetch it again, or take it out of the folder.",
        ) from error
    bands = small.crop((at, at, at + side, at + side)).split()
    return b"".join(band.tobytes() for band in bands)
