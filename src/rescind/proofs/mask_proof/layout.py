"""Where each number stands: rows of each tree, their order, and how many of each there are.

A row has one number of each block of a stack, side by side, and random numbers after them. Trees:

    weights    w, a row for each place in a block
    gradients  G, for each place a row for each sketch
    post       w', a row for each place
    aux        for each place: the bytes of w and of D but for the highest, those of the residual,
               and lambda, which is free where the equation need not hold; then <G_k, D>, how
               often each byte is looked up, the floor's sum, and the bytes of its slack
    helpers    1 / (X - v) for each byte v that is looked up, in the order of ``looked_up``; last
               the masks of the three polynomials that are sent

and in each tree all rows of the first stack, then those of the second.
"""

from __future__ import annotations

from dataclasses import dataclass

from rescind.proofs.mask_proof.statement import Statement

BYTES = 256
SLACK = 7  # bytes of the floor's slack
TREES = ("weights", "gradients", "post", "aux", "helpers")


@dataclass(frozen=True, slots=True)
class Layout:
    """Counts that follow from a statement."""

    block: int
    sketches: int
    value_bytes: int
    residual_bits: int
    degree: int
    stacks: int

    @property
    def offset(self) -> int:
        """What makes w and D bytes without a sign."""
        return 1 << (8 * self.value_bytes - 1)

    @property
    def residual_bytes(self) -> int:
        """Rows of the residual."""
        return -(-self.residual_bits // 8)

    @property
    def partial(self) -> int:
        """Bits of its highest byte where that is not a whole one, else 0."""
        return self.residual_bits % 8

    @property
    def aux_place(self) -> int:
        """Rows of aux for one place in a block."""
        return 2 * (self.value_bytes - 1) + self.residual_bytes + 1

    @property
    def aux_rest(self) -> int:
        """Rows of aux after all places."""
        return self.sketches + BYTES + 1 + SLACK

    @property
    def looked_place(self) -> int:
        """Bytes that are looked up for one place."""
        return 2 * self.value_bytes + self.residual_bytes + (self.partial > 0) + self.sketches

    def rows_of_place(self, tree: str) -> int:
        """Rows of one place in a tree."""
        each = {
            "weights": 1,
            "gradients": self.sketches,
            "post": 1,
            "aux": self.aux_place,
            "helpers": self.degree * self.looked_place,
        }
        return each[tree]

    def rows_of_stack(self, tree: str) -> int:
        """Rows of one stack in a tree, without the masks of polynomials."""
        rest = {"aux": self.aux_rest, "helpers": self.degree * SLACK}
        return self.block * self.rows_of_place(tree) + rest.get(tree, 0)

    def rows(self, tree: str) -> int:
        """Rows of a tree."""
        masks = 3 * self.degree if tree == "helpers" else 0
        return self.stacks * self.rows_of_stack(tree) + masks

    @property
    def constraints(self) -> int:
        """Numbers that the constraints of one stack are combined with."""
        return self.block * (3 + self.looked_place) + self.sketches + 2 + SLACK


def layout_of(statement: Statement) -> Layout:
    """The layout of a statement."""
    return Layout(
        statement.block,
        statement.sketches,
        statement.value_bytes,
        statement.residual_bits,
        statement.degree,
        statement.stacks,
    )
