"""What a user hands to whoever trains: codes by record, and the read-out; never the key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.seeding.codes import BITS, codes_of, fingerprint
from rescind.audits.seeding.readout import GAIN, draw_readout
from rescind.core.canonical import build, dumps
from rescind.core.dataset import Key, Record
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Handed:
    """The codes of a user's records and the signs of the user's read-out, in hex.

    ``fingerprint`` tells the key and does not give it away; ``width`` is that of the penultimate
    layer that the read-out (bits, width) is for. The lowest bit of a number is the first.

    Raises:
        BadData: a number has another length, or there are no codes.
    """

    fingerprint: str
    bits: int
    width: int
    readout: str
    codes: Mapping[Key, str]

    def __post_init__(self) -> None:
        lengths = {len(code) for code in self.codes.values()}
        fits = lengths == {_digits(self.bits)} and len(self.readout) == _digits(
            self.bits * self.width
        )
        if not fits or not _are_hex([self.fingerprint, self.readout, *self.codes.values()]):
            raise BadData(
                f"These are no codes of {self.bits} bits with a read-out of {self.width} units.",
                "Each code and the read-out are hex numbers of that many bits.",
                "Make the file again with `rescind seeds make`.",
            )


def hand_over(key: bytes, records: Sequence[Record], width: int, bits: int = BITS) -> Handed:
    """What the user of ``key`` hands over, for a penultimate layer of ``width`` units.

    Raises:
        BadParameter: as ``codes_of`` and ``draw_readout``.
        BadData: as ``codes_of``.
    """
    codes = codes_of(key, [r.row for r in records], bits).int().tolist()
    signs = (draw_readout(key, width, bits) > 0).int().flatten().tolist()
    by_key = {r.key: packed(code) for r, code in zip(records, codes, strict=True)}
    return Handed(fingerprint(key), bits, width, packed(signs), by_key)


def matrix_of(readout: str, bits: int, width: int) -> Tensor:
    """The read-out (bits, width), as ``draw_readout`` draws it from the user's key."""
    import torch

    signs = 2 * torch.tensor(unpacked(readout, bits * width), dtype=torch.float32) - 1
    matrix: Tensor = GAIN / width**0.5 * signs.reshape(bits, width)
    return matrix


def to_file(handed: Handed) -> bytes:
    """One JSON object."""
    return dumps(handed) + b"\n"


def from_file(data: bytes) -> Handed:
    """The inverse of ``to_file``.

    Raises:
        BadData: something else.
    """
    try:
        return build(Handed, json.loads(data))
    except (ValueError, BadParameter) as error:
        why = error.what if isinstance(error, BadParameter) else str(error)
        raise BadData(
            "This is no file of codes.", why, "Make it with `rescind seeds make`."
        ) from error


def packed(bits: Iterable[int]) -> str:
    """Zeros and ones as a hex number of fixed length, the first the lowest."""
    found = list(bits)
    return f"{sum(bit << i for i, bit in enumerate(found)):0{_digits(len(found))}x}"


def unpacked(number: str, count: int) -> list[int]:
    """The inverse of ``packed``."""
    value = int(number, 16)
    return [value >> i & 1 for i in range(count)]


def _digits(bits: int) -> int:
    return -(-bits // 4)


def _are_hex(texts: Iterable[str]) -> bool:
    return all(set(text) <= set("0123456789abcdef") and text for text in texts)
