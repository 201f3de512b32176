"""Where a record is placed: a keyed hash decides, fixed at ingestion, blind to every other."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.canonical import keyed
from rescind.core.errors import BadParameter


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One slice of one shard: the unit that a deletion cuts. ``TEST`` lies outside all slices."""

    shard: int
    slice: int

    def __str__(self) -> str:
        return "test" if self == TEST else f"{self.shard}.{self.slice}"

    @classmethod
    def parse(cls, text: str) -> Cell:
        """The inverse of ``str``."""
        if text == "test":
            return TEST
        shard, _, slice_ = text.partition(".")
        return cls(int(shard), int(slice_))


TEST = Cell(-1, -1)


@dataclass(frozen=True, slots=True)
class Partition:
    """``shards`` x ``slices`` cells beside a test share, all by keyed hash of the placement key."""

    shards: int = 3
    slices: int = 3
    test_share: float = 0.1

    def __post_init__(self) -> None:
        if self.shards < 1 or self.slices < 1:
            raise BadParameter(
                f"A partition of {self.shards} shards and {self.slices} slices has no cell.",
                do="Use at least one of each.",
            )
        if not 0.0 <= self.test_share < 1.0:
            raise BadParameter(f"test_share is {self.test_share}.", "It must lie in [0, 1).")

    def cell(self, placement: str, secret: bytes) -> Cell:
        """The cell of a placement key under the partition secret.

        Test membership and cell use separate domains of the hash, so that neither tells the other.
        The draw of 64 bits modulo the number of cells is biased by less than 2**-50.
        """
        if int(keyed(secret, "test", placement)[:16], 16) / 2**64 < self.test_share:
            return TEST
        index = int(keyed(secret, "cell", placement)[:16], 16) % (self.shards * self.slices)
        return Cell(index // self.slices, index % self.slices)

    def cells(self) -> tuple[Cell, ...]:
        """All training cells in order."""
        return tuple(Cell(q, k) for q in range(self.shards) for k in range(self.slices))
