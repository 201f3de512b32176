"""Options that say several things in one text, as bits=100,memory=1GB."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.errors import BadParameter


def named_parts(text: str, names: Sequence[str], what: str, example: str) -> dict[str, str]:
    """The parts by name, in any order; each of ``names`` may be left out.

    Args:
        text: name=value, separated by commas; blanks around them do not count.
        names: that are known.
        what: what a part says, for the error.
        example: all parts, for the error.

    Raises:
        BadParameter: a part is unknown or said twice.
    """
    found = dict[str, str]()
    for part in text.split(",") if text else ():
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in names or name in found:
            raise BadParameter(
                f"{part.strip()!r} is nothing that can be {what} once.",
                do=f"Write it as {example}, or a part of these.",
            )
        found[name] = value
    return found
