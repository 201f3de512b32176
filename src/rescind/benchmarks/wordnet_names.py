"""Names of ImageNet's classes from the list that comes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rescind.core.errors import BadData


def names_by_folder(path: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """A name for each folder, in their order, from lines such as "n01440764 tench, Tinca tinca".

    Of several words for a class all are kept. Where two classes have one name, as the two cranes
    have, the folder is added to both.

    Raises:
        BadData: the file cannot be read, or has no name for some folder.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            f"{path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Put LOC_synset_mapping.txt of ImageNet there, or set `names` to nothing.",
        ) from error
    found = {key: name.strip() for key, _, name in (line.partition(" ") for line in lines)}
    missing = [folder for folder in folders if not found.get(folder)]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise BadData(
            f"{path} has no name for {', '.join(missing[:5])}{more}.",
            "Likeness of names is measured by them.",
            "Complete it, or set `names` to nothing.",
        )
    times = Counter(found[folder] for folder in folders)
    return tuple(
        f"{found[folder]} ({folder})" if times[found[folder]] > 1 else found[folder]
        for folder in folders
    )
