"""Proofs of masks: true statements pass both verifiers, and every cheat and change fails them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mask_worlds import World, both_verify, honest, proved, quiet, roots, second, solved, world

from rescind.core.canonical import dumps
from rescind.core.errors import BadData, BadParameter, VerificationFailed
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof import independent, prover, soundness, witness
from rescind.proofs.mask_proof.field import P, add
from rescind.proofs.mask_proof.independent import Rejected
from rescind.proofs.mask_proof.padded import Padding, Row
from rescind.proofs.mask_proof.proof_file import MAGIC, Proof, length_of, read, written
from rescind.proofs.mask_proof.prover import prove
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.transform import code_words, values_of
from rescind.proofs.mask_proof.verifier import verify
from rescind.proofs.mask_proof.witness import stack_of


def refused(statement: Statement, public: Public, data: bytes) -> None:
    """By both verifiers."""
    with pytest.raises((VerificationFailed, BadData)):
        verify(statement, public, data)
    with pytest.raises((Rejected, IndexError, ValueError)):
        second(statement, public, data)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual_bits": 16},
        {"residual_bits": 21},
        {"degree": 3},
        {"blocks": 130},
        {"exceptions": (3, 7)},
        {"size": 128},
        {"size": 96},
        {"blocks": 200, "size": 96},
        {"value_bytes": 3},
    ],
)
def test_a_true_statement_passes_both_verifiers(options: dict[str, Any]) -> None:
    made, data = honest(**options)
    assert len(data) == length_of(made.statement)
    both_verify(made.statement, made.public, data)


# --- the statement, field by field ---

CHANGES: dict[str, Any] = {
    "block": 4,
    "sketches": 3,
    "value_bytes": 3,
    "residual_bits": 19,
    "degree": 3,
    "opened": 11,
    "size": 128,
    "mask": "0" * 64,
    "direction": "0" * 64,
    "exceptions": (1,),
    "weights": "0" * 64,
    "gradients": "0" * 64,
    "post": "0" * 64,
}
TENSOR: dict[str, Any] = {
    "damping": 20_001,
    "pull": 4,
    "floor": 0,
    "weight_bits": 15,
    "gradient_step": 0.2,
}
TENSOR |= {"name": "c", "shape": (8, 20)}


@pytest.mark.parametrize("field", CHANGES)
def test_no_field_of_the_statement_can_be_changed(field: str) -> None:
    made, data = honest()
    changed = replace(made.statement, **{field: CHANGES[field]})
    refused(changed, made.public, data)


@pytest.mark.parametrize("field", TENSOR)
def test_no_number_of_a_tensor_can_be_changed(field: str) -> None:
    made, data = honest()
    first, other = made.statement.tensors
    changed = replace(made.statement, tensors=(replace(first, **{field: TENSOR[field]}), other))
    refused(changed, made.public, data)


def test_every_field_is_tried() -> None:
    made, _ = honest()
    assert {*CHANGES, "version", "tensors"} == set(Statement.__dataclass_fields__)
    assert set(TENSOR) == set(TensorTerms.__dataclass_fields__)
    with pytest.raises(BadParameter, match="version"):
        replace(made.statement, version="2")


def test_mask_and_direction_cannot_be_changed() -> None:
    made, data = honest()
    for name in ("mask", "direction"):
        values = getattr(made.public, name).copy()
        values[5, 2] = not values[5, 2]
        public = replace(made.public, **{name: values})
        refused(made.statement, public, data)
        digests: dict[str, Any] = dict(zip(("mask", "direction"), public.digests(), strict=True))
        refused(replace(made.statement, **digests), public, data)


# --- the proof, part by part ---


def test_no_part_of_the_proof_can_be_changed() -> None:
    made, data = honest()
    draw = np.random.default_rng(0)
    depth = made.statement.columns.bit_length() - 1
    places = [len(MAGIC) + i for i in (0, 31, 32, 63, 64)]
    sent = len(MAGIC) + 64
    places += [sent + 8 * i for i in (0, 63, 64, 127, 128, 200, 320, 400, 639)]
    places += [len(data) - 1, len(data) - 32 * depth - 1, 3]
    places += [int(x) for x in draw.integers(0, len(data), 60)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(VerificationFailed):
            verify(made.statement, made.public, bytes(changed))
    for place in places[:12]:
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(Rejected):
            second(made.statement, made.public, bytes(changed))


def test_a_proof_is_of_one_length_and_has_one_spelling() -> None:
    made, data = honest()
    for wrong in (data + b"\x00", data[:-1], b"", data[1:]):
        refused(made.statement, made.public, wrong)
    place = len(MAGIC) + 64
    number = int.from_bytes(data[place : place + 8], "little")
    if number < 2**64 - P:
        same = data[:place] + (number + P).to_bytes(8, "little") + data[place + 8 :]
        refused(made.statement, made.public, same)
    large = data[:place] + P.to_bytes(8, "little") + data[place + 8 :]
    refused(made.statement, made.public, large)


@pytest.mark.parametrize("seed", range(40))
def test_drawn_damage_is_refused_and_nothing_else_happens(seed: int) -> None:
    """Some bytes are others, a stretch is cut out, written twice, or random, or all of it is."""
    made, data = honest()
    draw = np.random.default_rng(seed)
    start, end = sorted(int(x) for x in draw.integers(0, len(data), 2))
    other = bytes([data[start] ^ int(draw.integers(1, 256))])
    for damaged in (
        data[:start] + other + data[start + 1 :],
        data[:start] + data[end + 1 :],
        data[:end] + data[start:],
        data[:start] + draw.bytes(end - start + 1) + data[end + 1 :],
        draw.bytes(len(data)),
    ):
        refused(made.statement, made.public, damaged)


def test_columns_cannot_be_exchanged_nor_trees() -> None:
    made, data = honest()
    proof = read(made.statement, data)
    for tree in ("weights", "aux"):
        columns = list(proof.columns[tree])
        columns[0], columns[1] = columns[1], columns[0]
        swapped = replace(proof, columns={**proof.columns, tree: columns})
        refused(made.statement, made.public, written(swapped))
    both = {**proof.columns, "weights": proof.columns["post"], "post": proof.columns["weights"]}
    refused(made.statement, made.public, written(replace(proof, columns=both)))


def test_a_proof_is_no_proof_of_another_model_or_request() -> None:
    made, data = honest()
    other, _ = honest(seed=1)
    refused(other.statement, other.public, data)
    refused(replace(made.statement, post=other.statement.post), made.public, data)
    refused(replace(made.statement, weights=other.statement.weights), made.public, data)


# --- provers that cheat ---


def forced(made: World, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A proof by a prover that does not look whether the statement is true."""
    monkeypatch.setattr(witness, "check_true", lambda *given: None)
    return proved(made)


def false(made: World, **secret: Any) -> World:
    """With another secret, committed to as if it were true."""
    changed = replace(made, secret=replace(made.secret, **secret))
    return replace(changed, statement=replace(made.statement, **roots(changed)))


def moved(made: World, masked: bool, by: int) -> World:
    """One weight of a touched block moved."""
    post = made.secret.post.copy()
    touched = np.asarray(made.public.mask.any(1))[:, None]
    where = made.public.mask if masked else touched & ~made.public.mask
    block, place = np.argwhere(where)[3]
    post[block, place] += by
    return false(made, post=post)


@pytest.mark.parametrize(("masked", "by"), [(True, 1), (True, -1), (False, 200), (False, 2**15)])
def test_a_weight_that_is_not_as_it_must_be_is_seen(
    masked: bool, by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat = moved(honest()[0], masked, by)
    with pytest.raises(VerificationFailed, match="not true"):
        proved(cheat)
    refused(cheat.statement, cheat.public, forced(cheat, monkeypatch))


def test_a_weight_of_an_untouched_block_that_moved_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = honest()
    post = made.secret.post.copy()
    post[0, 3] += 1  # block 0 has no masked weight
    cheat = false(made, post=post)
    refused(cheat.statement, cheat.public, forced(cheat, monkeypatch))


def test_a_compensation_of_an_exception_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = honest()
    cheat = replace(made, statement=replace(made.statement, exceptions=(3,)))
    assert made.public.mask[3].any()
    refused(cheat.statement, cheat.public, forced(cheat, monkeypatch))


@pytest.mark.parametrize("value", [200, -200])
def test_a_gradient_that_is_no_byte_is_seen(value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compensation is right for it, so that only the byte is wrong."""
    made, _ = honest()
    gradients = made.secret.gradients.astype(np.int64)
    gradients[2, 1, 4] = value
    change = solved(made.secret.weights, gradients, made.public.mask, made.public.direction, ())
    cheat = false(made, gradients=gradients, post=made.secret.weights + change)
    refused(cheat.statement, cheat.public, forced(cheat, monkeypatch))


def test_a_residual_that_is_too_large_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(residual_bits=9)
    with pytest.raises(VerificationFailed, match="residual"):
        proved(made)
    refused(made.statement, made.public, forced(made, monkeypatch))


def test_a_residual_cannot_be_wrapped_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modulo p a field element closes any gap; its bytes do not."""
    made, _ = honest()
    original = witness.StackWitness.row

    def closing(self: Any, tree: str, number: int) -> Any:
        layout = self._layout
        place, j = divmod(number, layout.aux_place)
        if tree == "aux" and place < layout.block and j == layout.aux_place - 2:
            return self._number(place, 2) >> 16  # whatever is left, byte or not
        return original(self, tree, number)

    monkeypatch.setattr(witness.StackWitness, "row", closing)
    data = forced(moved(made, False, 200), monkeypatch)
    refused(moved(made, False, 200).statement, made.public, data)


def test_a_fisher_that_is_chosen_after_the_mask_is_another_commitment() -> None:
    """One fake gradient gives any compensation; its root is not the one from before the mask."""
    made, _ = honest()
    wanted = np.random.default_rng(4).integers(-300, 300, made.secret.weights.shape)
    post = made.secret.weights + np.where(made.public.mask, -made.secret.weights, wanted)
    with pytest.raises(VerificationFailed, match="not true"):
        proved(false(made, post=post))
    gradients = np.roll(made.secret.gradients, 1, 0)
    change = solved(made.secret.weights, gradients, made.public.mask, made.public.direction, ())
    later = false(made, gradients=gradients, post=made.secret.weights + change)
    data = proved(later)
    both_verify(later.statement, later.public, data)  # true of what was committed to afterwards
    before = replace(later.statement, gradients=made.statement.gradients)
    refused(before, later.public, data)
    with pytest.raises(VerificationFailed, match="another root of gradients"):
        proved(replace(later, statement=before))


def reached(made: World) -> list[int]:
    """<g, D> of each tensor."""
    change = (made.secret.post - made.secret.weights) * made.public.direction.astype(np.int64)
    half = made.statement.tensors[0].blocks(8)
    return [int(part.sum()) for part in (change[:half], change[half:])]


def floored(made: World, more: int) -> World:
    tensors = tuple(
        replace(t, floor=value + more)
        for t, value in zip(made.statement.tensors, reached(made), strict=True)
    )
    return replace(made, statement=replace(made.statement, tensors=tensors))


def test_a_floor_that_is_just_reached_passes_and_one_above_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = honest()
    exact = floored(made, 0)
    both_verify(exact.statement, exact.public, proved(exact))
    above = floored(made, 1)
    with pytest.raises(VerificationFailed, match="floor"):
        proved(above)
    monkeypatch.setattr(prover, "slack_of", lambda s, p, c: np.zeros(s.blocks, dtype=np.int64))
    refused(above.statement, above.public, forced(above, monkeypatch))
    monkeypatch.setattr(prover, "slack_of", lambda s, p, c: np.full(s.blocks, -1, dtype=np.int64))
    refused(above.statement, above.public, forced(above, monkeypatch))


def test_one_gradient_along_g_cancels_the_pull_and_the_floor_sees_it() -> None:
    """The commitments come in their order, and the change does not forget."""
    made, _ = honest()
    plain = reached(made)
    gradients = made.secret.gradients.copy()
    gradients[:, 0] = made.public.direction
    gradients[:, 1] = made.public.direction
    change = solved(made.secret.weights, gradients, made.public.mask, made.public.direction, ())
    cheat = false(made, gradients=gradients, post=made.secret.weights + change)
    both_verify(cheat.statement, cheat.public, proved(cheat))  # nothing else is wrong with it
    assert sum(reached(cheat)) != sum(plain)
    asked = floored(made, 0).statement.tensors
    wanted = replace(cheat, statement=replace(cheat.statement, tensors=asked))
    if all(a >= b for a, b in zip(reached(cheat), plain, strict=True)):
        pytest.fail("the fake gradient cancelled nothing")
    with pytest.raises(VerificationFailed, match="floor"):
        proved(wanted)


def test_polynomials_that_are_right_for_another_secret_do_not_pass() -> None:
    made, data = honest()
    again = proved(made)
    assert again != data  # fresh random numbers
    one, other = (read(made.statement, d) for d in (data, again))
    for name in ("proximity", "quadratic", "floor", "aux", "helpers"):
        taken: dict[str, Any] = {name: getattr(other, name)}
        mixed: Proof = replace(one, **taken)
        refused(made.statement, made.public, written(mixed))


# --- what it shows, and what it does not ---


def contribution(statement: Statement, columns: list[int]) -> list[list[int]]:
    """What each random number at the end of a row adds to each column, (pads, columns)."""
    rows = np.zeros((statement.opened, statement.size), dtype=np.uint64)
    for r in range(statement.opened):
        rows[r, statement.lanes + r] = 1
    found: list[list[int]] = code_words(rows)[:, columns].tolist()
    return found


def kernel(matrix: list[list[int]]) -> list[int] | None:
    """Numbers by which columns of (pads, columns) sum to 0, not all 0; None where none do."""
    rows, pivots = [row[:] for row in matrix], list[int]()
    for column in range(len(rows[0])):
        at = len(pivots)
        pivot = next((r for r in range(at, len(rows)) if rows[r][column]), None)
        if pivot is None:
            found = [0] * len(rows[0])
            found[column] = P - 1
            for r, c in enumerate(pivots):
                found[c] = rows[r][column]
            return found
        rows[at], rows[pivot] = rows[pivot], rows[at]
        inverse = pow(rows[at][column], -1, P)
        rows[at] = [x * inverse % P for x in rows[at]]
        for r, row in enumerate(rows):
            if r != at and row[column]:
                factor = row[column]
                rows[r] = [(a - factor * b) % P for a, b in zip(row, rows[at], strict=True)]
        pivots.append(column)
    return None


def test_opened_columns_are_even_whatever_the_secret() -> None:
    """The random numbers of a row go one to one into any columns that are opened: for each secret
    every content of these has the same chance, which is how the simulator draws them.
    """
    made, _ = honest()
    draw = np.random.default_rng(0)
    for _ in range(5):
        columns = draw.permutation(made.statement.columns)[: made.statement.opened].tolist()
        assert kernel(contribution(made.statement, columns)) is None


def padded(statement: Statement, seed: bytes, tree: str, rows: Sequence[Row]) -> Any:
    """The rows as they are committed to."""
    into = np.empty((len(rows), statement.size), dtype=np.uint64)
    Padding(tree, seed, statement).write(rows, into)
    return into


def test_the_random_numbers_of_rows_are_even_and_each_row_has_its_own() -> None:
    made, _ = honest()
    nothing = np.zeros(made.statement.lanes, dtype=np.int64)

    def drawn(seed: bytes, tree: str, row: int = 0) -> Any:
        rows = [Row(number, nothing) for number in range(row, row + 300)]
        return padded(made.statement, seed, tree, rows)[:, made.statement.lanes :]

    one = drawn(b"a" * 32, "weights")
    assert len(np.unique(one)) == one.size
    counts = np.bincount((one.ravel() >> np.uint64(60)).astype(np.int64), minlength=16)
    expected = one.size / 16
    # the 99.99 % point of chi squared with 15 degrees of freedom
    assert float(((counts - expected) ** 2 / expected).sum()) < 44.3
    for other in (drawn(b"b" * 32, "weights"), drawn(b"a" * 32, "post")):
        assert (one != other).all()
    assert (drawn(b"a" * 32, "weights", 1)[:-1] == one[1:]).all()  # by the row's number alone


def test_one_column_more_shows_a_number_of_the_secret() -> None:
    """So a second proof with one commitment opens too many; who keeps the seed refuses it."""
    made, _ = honest()
    columns = list(range(0, 5 * (made.statement.opened + 1), 5))
    factors = kernel(contribution(made.statement, columns))
    assert factors is not None

    def shown(values: Any) -> int:
        rows = padded(made.statement, os.urandom(32), "weights", [Row(0, values[:, 0])])
        opened = code_words(rows)[0][columns].tolist()
        return int(sum(f * x for f, x in zip(factors, opened, strict=True)) % P)

    own = stack_of(made.secret.weights, made.statement, 0)
    other = own + 1
    assert shown(own) == shown(own)  # whatever the random numbers are
    assert shown(own) != shown(other)


@pytest.mark.parametrize("degree", [2, 3])
def test_sent_polynomials_are_hidden_by_even_ones(degree: int) -> None:
    """q's is 0 in every lane and r's sums to 0, and both have no other bond: as many free numbers
    as the space has.
    """
    statement = replace(honest()[0].statement, degree=degree)
    k, lanes = statement.size, statement.lanes
    top = []
    for _ in range(200):
        masks = prover._masks(statement)
        folded = add(masks.quadratic[:, :k], masks.quadratic[:, k:])
        values = values_of(folded, k)
        assert not values[:, :lanes].any() and values[:, lanes:].all()
        assert not add(masks.floor[:, 0], masks.floor[:, k]).any()
        top.append(masks.quadratic[:, k:].ravel() >> np.uint64(60))
        top.append(masks.floor[:, 1:].ravel() >> np.uint64(60))
        top.append(masks.proximity.ravel() >> np.uint64(60))
    counts = np.bincount(np.concatenate(top).astype(np.int64), minlength=16)
    expected = counts.sum() / 16
    # the 99.99 % point of chi squared with 15 degrees of freedom
    assert float(((counts - expected) ** 2 / expected).sum()) < 44.3


def test_two_proofs_of_one_statement_share_nothing_that_is_random() -> None:
    made, data = honest()
    one, other = (read(made.statement, d) for d in (data, proved(made)))
    assert one.aux != other.aux and one.helpers != other.helpers
    for name in ("proximity", "quadratic", "floor"):
        assert (getattr(one, name) != getattr(other, name)).mean() > 0.99


def test_the_soundness_is_the_sum_of_its_terms() -> None:
    made, _ = honest()
    tensors = (replace(made.statement.tensors[0], shape=(64, 64)),)
    large = replace(made.statement, size=8192, opened=250, block=64, sketches=32, tensors=tensors)
    assert 102 < soundness.bits(large) < 103
    assert soundness.bits(replace(large, opened=320)) < 115  # what the field allows
    assert soundness.bits(replace(large, opened=320, degree=3)) > 127.9 - 1
    assert soundness.after_hashes(large) == pytest.approx(2.0**64 * soundness.error(large))
    assert soundness.after_hashes(made.statement) == 1.0
    assert 0.75 ** soundness.columns_for(100) * 2 < 2.0**-100 * 1.01


def test_statements_that_make_no_sense_are_refused() -> None:
    made, _ = honest()
    wrong: dict[str, Any] = {"size": 100, "opened": 64, "residual_bits": 4, "exceptions": (9, 3)}
    for field, value in wrong.items():
        with pytest.raises(BadParameter):
            replace(made.statement, **{field: value})
    with pytest.raises(BadParameter):
        first = replace(made.statement.tensors[0], damping=0)
        replace(made.statement, tensors=(first,))


def test_a_wrong_seed_or_another_public_file_is_said() -> None:
    made, _ = honest()
    seeds = replace(made.seeds, post=os.urandom(32))
    with pytest.raises(VerificationFailed, match="another root of post"):
        prove(made.statement, made.public, made.secret, seeds, quiet)
    other, _ = honest(seed=1)
    with pytest.raises(BadData, match="mask"):
        prove(made.statement, other.public, made.secret, made.seeds, quiet)


HOSTILE: tuple[Any, ...] = (None, True, -1, 0, 0.5, 2**64, 10**400, "x", [], {}, [[1]], "é" * 9)


@pytest.mark.parametrize("seed", range(6))
def test_the_second_verifier_refuses_whatever_is_called_a_statement(seed: int) -> None:
    """Fields left out, of another kind, or beyond all sizes; canonical JSON and not."""
    made, data = honest()
    draw = np.random.default_rng(seed)
    mask, direction = made.public.mask.astype(int).tolist(), made.public.direction.tolist()
    for _ in range(60):
        said = json.loads(made.statement.canonical())
        owner = said["tensors"][0] if draw.random() < 0.4 else said
        name = str(draw.choice(sorted(owner)))
        if draw.random() < 0.2:
            owner.pop(name)
        else:
            owner[name] = HOSTILE[int(draw.integers(len(HOSTILE)))]
        for statement in (dumps(said), json.dumps(said).encode(), dumps(said)[:-3]):
            with pytest.raises(Rejected):
                independent.verify(statement, mask, direction, data)
