"""Secret codes of records: what a user has a model learn, to ask later whether it still does.

After SMS (arXiv 2509.25613), whose released code puts one patch into the user's samples, and
so into the query, where it can be copied instead of remembered. Here a code is a keyed
pseudo-random function of the record, as in the probes of this project: nobody guesses it without
the key, and the record stays as it is, in training and in the query.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rescind.core.canonical import dumps, keyed
from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

BITS = 32
MOST_BITS = 256  # of one HMAC-SHA256
SHORTEST_KEY = 16  # bytes


def new_key() -> bytes:
    """32 random bytes. The user keeps them; without them nothing can be asked later."""
    return secrets.token_bytes(32)


def fingerprint(key: bytes) -> str:
    """64 hex digits that tell a key and do not give it away; kept with what was agreed.

    Raises:
        BadParameter: as ``code_of``.
    """
    _refuse_key(key)
    return keyed(key, "rescind seeding key")


def require_key(key: bytes, expected: str) -> None:
    """Refuse another key: with it every model looks as if the codes were gone.

    Raises:
        BadParameter: the key has another fingerprint, or as ``code_of``.
    """
    if fingerprint(key) != expected:
        raise BadParameter(
            "This is not the key that the records were seeded with.",
            "With another key the bits of any model match by chance, which says nothing of it.",
            "Find the right key. If it is lost, these records cannot be asked about by codes.",
        )


def code_of(key: bytes, row: Row, bits: int = BITS) -> tuple[int, ...]:
    """The code of one record, ``bits`` zeros and ones: HMAC-SHA256 over its canonical JSON.

    All columns enter, so the row must be kept as it was: 1 and 1.0 are different records.

    Raises:
        BadParameter: a key of under 16 bytes, or bits outside 1..256.
        BadData: the row has no canonical JSON.
    """
    return _bits_of(key, _canonical(row), bits)


def codes_of(key: bytes, rows: Sequence[Row], bits: int = BITS) -> Tensor:
    """The codes (n, bits) of records, float32 of 0 and 1.

    Raises:
        BadParameter: as ``code_of``.
        BadData: there are no rows, two are the same record, or as ``code_of``.
    """
    import torch

    if not rows:
        raise BadData("There are no records.", "Nothing has no codes.", "Name at least one.")
    found: dict[bytes, int] = {}
    for i, row in enumerate(rows):
        if (first := found.setdefault(_canonical(row), i)) != i:
            raise BadData(
                f"Rows {first + 1} and {i + 1} are the same record.",
                "They have one code, and the tests count codes that are drawn independently.",
                "Name each record once.",
            )
    return torch.tensor([_bits_of(key, data, bits) for data in found], dtype=torch.float32)


def choose_decoys(key: bytes, rows: Sequence[Row], own: Sequence[Row], count: int) -> list[Row]:
    """``count`` of ``rows`` that are not ``own``, in an order that only the key tells.

    They are seeded too, with another key. A single seeded record, with no other beside it, becomes
    a constant output: in the probes test images of its class matched .98 of its bits, and .56
    beside 50 decoys.

    Raises:
        BadParameter: as ``code_of``.
        BadData: fewer other records than ``count``, or as ``code_of``.
    """
    _refuse_key(key)
    taken = {_canonical(row) for row in own}
    others = {data: row for row in rows if (data := _canonical(row)) not in taken}
    if not 0 <= count <= len(others):
        raise BadData(
            f"{count} decoys are asked for, and there are {len(others)} other records.",
            "A decoy is a record of its own and not one of the user's.",
            "Ask for fewer, or pass more rows.",
        )
    order = sorted(others, key=lambda data: keyed(key, "rescind seeding decoy", data))
    return [others[data] for data in order[:count]]


def _bits_of(key: bytes, canonical: bytes, bits: int) -> tuple[int, ...]:
    _refuse_key(key)
    if not 1 <= bits <= MOST_BITS:
        raise BadParameter(
            f"A code of {bits} bits is asked for.",
            f"One keyed hash gives 1 to {MOST_BITS} bits.",
            f"Use {BITS}.",
        )
    number = int(keyed(key, "rescind seeding code", canonical), 16)
    return tuple(number >> i & 1 for i in range(bits))


def _canonical(row: Row) -> bytes:
    try:
        return dumps(row)
    except (TypeError, ValueError) as error:
        raise BadData(
            f"A record cannot be written as JSON: {error}.",
            "Its code is computed from that text.",
            "Keep arrays as base64 text or as lists of finite numbers, as rows do elsewhere.",
        ) from error


def _refuse_key(key: bytes) -> None:
    if len(key) < SHORTEST_KEY:
        raise BadParameter(
            f"The key has {len(key)} bytes." if key else "There is no key.",
            f"With fewer than {SHORTEST_KEY} bytes codes could be guessed, and without it not be"
            " computed.",
            "Use the key of the seeding. Before seeding, make one with new_key().",
        )
