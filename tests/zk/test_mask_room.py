"""What accepted residuals leave open: by hand, and against what prover and verifier accept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parties import made, provider

from rescind.core.errors import VerificationFailed
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.statement import VERSION, Public, Statement
from rescind.proofs.mask_proof.truth import Secret
from rescind.proofs.mask_proof.witness import stack_witness
from rescind.zk.provider import NO_ROOTS
from rescind.zk.room import rooms, told
from rescind.zk.tensors import whole, whole_gradients
from rescind.zk.terms import slack, slacks

MASK = np.array(
    [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]], bool
)
G = [[100, 8, 9, -8], [7, 7, 7, 7], [5, -3, 0, 0], [50, 50, 1, 1], [50, 1, 1, 1], [0, 9, 9, 9]]
PUBLIC = Public(MASK, np.array(G, np.int8))


def terms(name: str, weights: int, **more: Any) -> TensorTerms:
    return TensorTerms(name=name, shape=(weights,), weight_bits=3, gradient_step=1.0, **more)


def statement(*tensors: TensorTerms, public: Public = PUBLIC, **more: Any) -> Statement:
    """Blocks of 4 and a limit of 128."""
    mask, direction = public.digests()
    given: dict[str, Any] = {
        "version": VERSION,
        "tensors": tensors,
        "block": 4,
        "sketches": 1,
        "value_bytes": 2,
        "residual_bits": 8,
        "degree": 2,
        "opened": 4,
        "size": 64,
        "mask": mask,
        "direction": direction,
        "exceptions": (),
        "weights": "",
        "gradients": "",
        "post": "",
    }
    return Statement(**{**given, **more})


A = terms("a", 10, damping=64, pull=16, floor=800)
B = terms("b", 12, damping=16, pull=3, floor=-5)


def test_a_small_case_by_hand() -> None:
    """Limit 128. In a, c |g| is not above it up to |g| = 8: of the rows 8, 9, -8 and, in the last
    block, -3, three are untold, and the last block wholly; two of its places are no weights, and
    the second block is untouched. In b block 3 is an exception, block 5 has no rows, and 3 * 50 is
    told.
    """
    a, b = rooms(statement(A, B, exceptions=(3,)), PUBLIC)
    assert (a.tensor, a.rows, a.untold, a.untold_share) == ("a", 4, 3, 0.75)
    assert (a.blocks, a.unpulled) == (2, 1)
    assert (a.units, a.distance) == (4.0, 0.5)  # 128 * sqrt(4) / 64, and an eighth of it
    # g over ten weights: 10000 + 64 + 81 + 64 + 4 * 49 + 25 + 9
    assert a.of_pull == pytest.approx(128 / (16 * (10439 / 10) ** 0.5), abs=1e-4)
    # two blocks, and g where something may move: 10000 + 64 + 81 + 64 + 25 + 9
    assert a.of_change == pytest.approx(4 * 2**0.5 * 10243**0.5 / 800, rel=1e-2)
    assert (b.rows, b.untold, b.untold_share, b.blocks, b.unpulled) == (1, 0, 0.0, 1, 0)
    assert (b.units, b.distance, b.of_change) == (16.0, 2.0, None)


def test_the_largest_are_told_with_their_tensors() -> None:
    found = told(rooms(statement(A, B, exceptions=(3,)), PUBLIC))
    assert found == {
        "Pull not told": "at most 75.0% of a tensor's rows (a); 1 of 3 blocks wholly",
        # g over twelve weights: 7748, so that its mean square is 645.7, and 128 / (3 * 25.41)
        "Worst accepted": "a block 2 from the exact one (b: 16 units); 167.91% of what the pull"
        " moves against damping alone (b)",
        "Of the change": "at most 71.6% of a tensor's (a), by floors alone; 1 of 2 tensors have"
        " one",
    }
    bare = statement(replace(A, floor=0, name="a\x1b[2J"), B, exceptions=(3,))
    plain = told(rooms(bare, PUBLIC))
    assert "no floor" in plain["Of the change"] and "\x1b" not in str([*plain.values()])
    assert "(a" in plain["Pull not told"]


def test_without_a_pull_nothing_is_told_and_without_rows_there_is_nothing_to_tell() -> None:
    still = rooms(statement(replace(A, pull=0), B), PUBLIC)[0]
    assert (still.untold, still.rows, still.unpulled, still.of_pull) == (4, 4, 2, 0.0)
    every = Public(np.ones_like(MASK), PUBLIC.direction)
    for room in rooms(statement(A, B, public=every), every):
        assert (room.rows, room.untold_share, room.blocks, room.unpulled) == (0, 0.0, 0, 0)


@pytest.mark.parametrize("g", [0, 7, 8, 9, -9])
def test_a_row_is_told_just_where_a_change_without_pull_is_refused(g: int) -> None:
    """One block whose gradients are 0, so that it moves nothing but by the pull."""
    public = Public(np.array([[1, 0, 0, 0]], bool), np.array([[0, g, 0, 0]], np.int8))
    said = statement(terms("a", 4, damping=64, pull=16), public=public)
    w, nothing = np.array([[5, 6, 7, 8]]), np.zeros((1, 1, 4), np.int8)
    secret = Secret(w, nothing, np.array([[0, 6, 7, 8]]))
    [room] = rooms(said, public)
    assert room.untold == (3 if abs(g) <= 8 else 2) and room.unpulled == (abs(g) <= 8)
    spare = np.zeros(1, dtype=np.int64)
    if room.unpulled:
        assert stack_witness(said, public, secret, spare, 0).row("aux", 0).size
    else:
        with pytest.raises(VerificationFailed, match="residual"):
            stack_witness(said, public, secret, spare, 0)


def test_what_is_accepted_lies_within_the_distance_and_may_come_near_it() -> None:
    """Residuals at the limit, with and without gradients, against the exact solve."""
    draw = np.random.default_rng(0)
    said = statement(terms("a", 4, damping=64, pull=16), public=PUBLIC, sketches=1)
    shares = []
    for size in (0, 1, 20):
        g = draw.integers(-size, size + 1, 4).astype(float)
        fisher = 64 * np.eye(4) + np.outer(g, g)
        for signs in np.ndindex(2, 2, 2):
            limit = 128 * (2.0 * np.array(signs) - 1)
            off = float(np.linalg.norm(np.linalg.solve(fisher[1:, 1:], limit)))
            shares.append(off / (128 * 4**0.5 / said.tensors[0].damping))
    assert max(shares) <= 1 and max(shares) == pytest.approx(0.75**0.5)  # three of four rows


def test_of_a_real_order_each_tensor_is_told() -> None:
    order = made()
    said = order.epoch.statement(order.order, (), NO_ROOTS)
    found = rooms(said, order.public)
    assert [room.tensor for room in found] == [t.name for t in said.tensors]
    assert [room.of_pull for room in found] == [round(x, 4) for x in slacks(said, order.public)]
    assert max(room.of_pull for room in found) == round(slack(said, order.public), 4)
    assert all(room.rows > room.untold for room in found)


def test_a_real_compensation_lies_within_what_is_told() -> None:
    """The provider's own, against the exact solve of each block."""
    order, own = made(), provider()
    said = order.epoch.statement(order.order, order.simulated.exceptions, NO_ROOTS)
    before = whole(own.weights, said.tensors, said.block)
    gradients = whole_gradients(own.gradients, said.tensors, said.block).astype(float)
    change, start = order.simulated.weights - before, 0
    for t, room in zip(said.tensors, rooms(said, order.public), strict=True):
        end = start + t.blocks(said.block)
        off = np.zeros(end - start)
        for b in set(range(start, end)) - set(said.exceptions):
            kept = ~order.public.mask[b]
            if kept.all() or not kept.any():
                continue
            fisher = gradients[b].T @ gradients[b] + t.damping * np.eye(said.block)
            pull = t.pull * order.public.direction[b][kept].astype(float)
            right = pull - fisher[kept][:, ~kept] @ change[b][~kept]
            exact = np.linalg.solve(fisher[kept][:, kept], right)
            off[b - start] = np.linalg.norm(change[b][kept] - exact)
        assert 0 < off.max() <= room.units
        whole_change = float(np.linalg.norm(change[start:end].astype(float)))
        assert room.of_change is not None
        assert room.units * room.blocks**0.5 <= room.of_change * 1.01 * whole_change
        start = end
