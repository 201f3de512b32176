"""Spot checks: what is opened is what was committed to, in time, and is that of its records."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from parties import client, made, part, receipt_of

from rescind.backends import Backends
from rescind.core.canonical import build, digest, dumps, plain
from rescind.core.certificate import PAYLOAD_TYPE
from rescind.core.errors import BadParameter, Refused, VerificationFailed
from rescind.methods.zk_apex.fisher import matrices
from rescind.proofs.mask_proof.challenges import Challenges
from rescind.proofs.mask_proof.field import P
from rescind.proofs.mask_proof.proof_file import read as read_proof
from rescind.proofs.mask_proof.transform import code_words
from rescind.proofs.signing import KeySigner, from_envelope, new_private_key
from rescind.workspace import new_workspace
from rescind.zk import certificate, picking, receipts
from rescind.zk.check import NOT_COVERED, Received, check
from rescind.zk.client import Opening, commit, prove_once
from rescind.zk.opened import MAGIC, Opened, check_rows, read, written
from rescind.zk.picks import Pick, Taken, caught, drawn
from rescind.zk.recompute import recompute
from rescind.zk.showing import Shown, records_of, show
from rescind.zk.signed import sealed
from rescind.zk.spot import Spotted, check_spot, not_covered
from rescind.zk.terms import Commitment


def quiet(what: str, done: int, total: int) -> None:
    """Nothing is told."""


@dataclass(frozen=True)
class World:
    """A provider's ledger, and a client that opened two of eight gradients and proved its order."""

    pick: Pick
    taken: Taken
    data: bytes
    got: Received
    opening: Opening
    before: Opening


@cache
def world(small: bool = False) -> World:
    """With small rows, blocks fill more than one stack."""
    b = new_workspace(Path(mkdtemp()) / "provider").backends
    terms, own = made(block=4) if small else made(), client()
    if small:
        terms = replace(terms, epoch=replace(terms.epoch, size=256))
    committed, opening = commit(terms.epoch, own.weights, own.gradients)
    receipt = receipts.enter(b, terms.epoch, committed, "anna")
    found = picking.pick(b, terms.epoch, committed, 2)
    shown, noted = show(terms.epoch, found, committed, own.gradients, opening)
    data = written(shown)
    taken = picking.take(b, found, data)
    receipts.close(b, terms.epoch)
    statement, proof, used = prove_once(
        terms.epoch, terms.order, terms.public, own.weights, own.gradients, noted, quiet
    )
    got = Received(terms.epoch, terms.order, committed, receipt, statement, terms.public, proof)
    return World(found, taken, data, got, used, opening)


def other_ledger(tmp_path: Path) -> tuple[Backends, Commitment, Opening]:
    """An open epoch with one commitment."""
    b = new_workspace(tmp_path / "other").backends
    committed, opening = commit(made().epoch, client(2).weights, client(2).gradients)
    receipts.enter(b, made().epoch, committed, "boris")
    return b, committed, opening


def as_taken(data: bytes, w: World) -> Taken:
    """As if the provider had taken another file in time."""
    return replace(w.taken, opened=hashlib.sha256(data).hexdigest())


def opened_of(w: World) -> Opened:
    return read(w.got.statement, len(w.pick.numbers), w.data)


def test_opened_gradients_are_the_ones_that_were_committed_to() -> None:
    w = world()
    found = check_spot(w.got, w.taken, w.data)
    assert found.verdict.checked[:-1] == check(w.got).checked
    assert f"gradients {w.pick.numbers[0]}, {w.pick.numbers[1]} of 8" in found.verdict.checked[-1]
    epoch, start = made().epoch, 0
    for t in epoch.tensors:
        size = int(np.prod(t.shape))
        end = start + t.blocks(epoch.block)
        for at, number in enumerate(w.pick.numbers):
            own = client().gradients[t.name][number].reshape(-1) / t.gradient_step
            got = found.opened.values[at, start:end].reshape(-1)[:size]
            assert np.abs(np.clip(own, -127, 127) - got).max() <= 0.5 + 1e-6
        start = end


# --- cheats ---


def another_gradient(opened: Opened, w: World) -> Opened:
    """One that was committed to too, under the number of a picked one."""
    free = next(k for k in range(8) if k not in w.pick.numbers)
    numbers = (*w.pick.numbers[1:], free)
    other = sibling(w.pick, numbers)
    shown, _ = show(made().epoch, other, w.got.commitment, client().gradients, w.before)
    values, ends = opened.values.copy(), opened.ends.copy()
    at = other.numbers.index(free)
    values[0], ends[0] = shown.values[at], shown.ends[at]
    return Opened(values, ends)


def sibling(pick: Pick, numbers: tuple[int, ...]) -> Pick:
    """A pick of just these numbers for the same commitment: a nonce is looked for."""
    wanted = tuple(sorted(numbers))
    nonces = (str(n) for n in range(100_000))
    nonce = next(n for n in nonces if drawn(n, pick.commitment, 8, len(wanted)) == wanted)
    return replace(pick, numbers=wanted, nonce=nonce)


def one_unit(opened: Opened, w: World) -> Opened:
    values = opened.values.copy()
    values[1, 7, 3] += 1 if values[1, 7, 3] < 127 else -1
    return replace(opened, values=values)


def one_end(opened: Opened, w: World) -> Opened:
    ends = opened.ends.copy()
    ends[0, 0, 2, 5] = (int(ends[0, 0, 2, 5]) + 1) % P
    return replace(opened, ends=ends)


def swapped(opened: Opened, w: World) -> Opened:
    return Opened(opened.values[::-1], opened.ends[::-1])


def invented(opened: Opened, w: World) -> Opened:
    values = np.zeros_like(opened.values)
    return replace(opened, values=values)


@pytest.mark.parametrize("cheat", [another_gradient, one_unit, one_end, swapped, invented])
def test_what_was_not_committed_to_is_caught(cheat: Any) -> None:
    """Even if the provider takes it."""
    w = world()
    data = written(cheat(opened_of(w), w))
    with pytest.raises(VerificationFailed, match="not the one that was committed to"):
        check_spot(w.got, as_taken(data, w), data)
    with pytest.raises(VerificationFailed, match="taken before the order"):
        check_spot(w.got, w.taken, data)


def test_rows_of_every_stack_are_looked_at() -> None:
    w = world(small=True)
    statement = w.got.statement
    assert statement.stacks == 2
    check_spot(w.got, w.taken, w.data)
    opened = opened_of(w)
    for block in (0, statement.lanes - 1, statement.lanes, statement.blocks - 1):
        for at in (0, 1):
            values = opened.values.copy()
            values[at, block, 3] ^= 1
            data = written(replace(opened, values=values))
            with pytest.raises(VerificationFailed, match=f"Gradient {w.pick.numbers[at]} is not"):
                check_spot(w.got, as_taken(data, w), data)


def test_gradients_that_are_shown_after_the_proof_can_be_anything() -> None:
    """The ends of a row fit any columns: so nothing but the ledger tells such a file apart."""
    w = world()
    statement, proof = w.got.statement, read_proof(w.got.statement, w.got.proof)
    columns = columns_of(w)
    shown = np.stack([one.numbers for one in proof.columns["gradients"]], 1)
    opened = opened_of(w)
    values = opened.values.copy()
    values[0] = np.roll(values[0], 1, axis=0)  # another gradient altogether
    ends = opened.ends.copy()
    for place in range(statement.block):
        row = np.zeros((1, statement.size), dtype=np.uint64)
        lanes = values[0, :, place].astype(object) % P
        row[0, : len(lanes)] = lanes.astype(np.uint64)
        wanted = shown[place * statement.sketches + w.pick.numbers[0]].astype(object)
        rest = (wanted - code_words(row)[0][columns].astype(object)) % P
        ends[0, 0, place] = np.array(solved(basis_of(w), rest), dtype=np.uint64)
    data = written(Opened(values, ends))
    assert statement.stacks == 1
    check_rows(statement, proof, w.pick, Opened(values, ends))
    check_spot(w.got, as_taken(data, w), data)
    with pytest.raises(VerificationFailed, match="taken before the order"):
        check_spot(w.got, w.taken, data)


def columns_of(w: World) -> list[int]:
    proof = read_proof(w.got.statement, w.got.proof)
    challenges = Challenges(w.got.statement)
    challenges.point(proof.aux)
    challenges.factors(proof.helpers)
    return challenges.columns(proof.proximity, proof.quadratic, proof.floor)


@cache
def basis_of(w: World) -> Any:
    """The inverse of what the ends of a row add to the opened columns, modulo p."""
    statement = w.got.statement
    t, lanes = statement.opened, statement.lanes
    units = np.zeros((t, statement.size), dtype=np.uint64)
    units[np.arange(t), lanes + np.arange(t)] = 1
    matrix = code_words(units)[:, columns_of(w)].T.astype(object)
    work = np.concatenate([matrix, np.eye(t, dtype=int).astype(object)], 1)
    for i in range(t):
        pivot = next(r for r in range(i, t) if work[r, i])
        work[[i, pivot]] = work[[pivot, i]]
        work[i] = work[i] * pow(int(work[i, i]), -1, P) % P
        for r in range(t):
            if r != i and work[r, i]:
                work[r] = (work[r] - work[r, i] * work[i]) % P
    return work[:, t:]


def solved(inverse: Any, right: Any) -> list[int]:
    return [int(x) for x in inverse.dot(right) % P]


def test_a_proof_of_another_commitment_is_another_one() -> None:
    """Of the same gradients even, committed to once more."""
    w, terms, own = world(), made(), client()
    committed, opening = commit(terms.epoch, own.weights, own.gradients)
    statement, proof, _ = prove_once(
        terms.epoch, terms.order, terms.public, own.weights, own.gradients, opening, quiet
    )
    receipt = receipt_of(committed)
    got = replace(w.got, commitment=committed, receipt=receipt, statement=statement, proof=proof)
    check(got)
    with pytest.raises(VerificationFailed, match="another commitment"):
        check_spot(got, w.taken, w.data)
    again = drawn(w.pick.nonce, digest(plain(committed)), 8, 2)
    after = got.receipt.seq + 1
    moved = replace(w.pick, commitment=digest(plain(committed)), numbers=again, seq=after)
    with pytest.raises(VerificationFailed, match="not the one that was committed to"):
        check_spot(got, replace(w.taken, pick=moved, seq=after + 1), w.data)


@pytest.mark.parametrize("seqs", [(1, 9), (9, 8), (9, 9)])
def test_a_pick_comes_after_the_commitment_and_the_gradients_after_it(
    seqs: tuple[int, int],
) -> None:
    w = world()
    pick, receipt = replace(w.pick, seq=seqs[0]), replace(w.got.receipt, seq=1)
    with pytest.raises(VerificationFailed, match="in this order"):
        check_spot(
            replace(w.got, receipt=receipt), replace(w.taken, pick=pick, seq=seqs[1]), w.data
        )


# --- the pick ---


def test_numbers_are_drawn_evenly_and_follow_from_the_nonce() -> None:
    counts: dict[tuple[int, ...], int] = dict.fromkeys(combinations(range(6), 2), 0)
    for nonce in range(3000):
        counts[drawn(str(nonce), "c", 6, 2)] += 1
    # the 99.99 % point of chi squared with 14 degrees of freedom
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 42.6
    w = world()
    assert len(set(w.pick.numbers)) == 2 and len(w.pick.nonce) == 64
    changed = plain(w.pick) | {"numbers": [a for a in range(8) if a not in w.pick.numbers][:2]}
    with pytest.raises(BadParameter, match="nonce"):
        build(Pick, changed)
    nonces = (str(n) for n in range(1000))
    other = next(n for n in nonces if drawn(n, w.pick.commitment, 8, 2) != w.pick.numbers)
    with pytest.raises(BadParameter, match="nonce"):
        replace(w.pick, nonce=other)


def test_the_probability_is_what_all_draws_give() -> None:
    for n, s, m in ((8, 2, 1), (8, 2, 3), (9, 4, 5), (6, 3, 0), (6, 4, 3)):
        draws = list(combinations(range(n), s))
        hit = sum(any(k < m for k in draw) for draw in draws)
        assert caught(n, s, m) == pytest.approx(hit / len(draws))
    assert caught(32, 8, 1) == pytest.approx(8 / 32)


def test_a_commitment_is_picked_once_in_an_open_epoch_and_not_whole(tmp_path: Path) -> None:
    b, committed, _ = other_ledger(tmp_path)
    epoch = made().epoch
    for count in (-1, 0, 3, 8):
        with pytest.raises(BadParameter, match="quarter"):
            picking.pick(b, epoch, committed, count)
    with pytest.raises(Refused, match="not in the ledger"):
        picking.pick(b, epoch, world().got.commitment, 1)
    first = picking.pick(b, epoch, committed, 1)
    assert first.seq == b.ledger.head()[0]
    with pytest.raises(Refused, match="There is a pick"):
        picking.pick(b, epoch, committed, 1)
    with pytest.raises(Refused, match="not in the ledger"):
        picking.take(b, world().pick, b"x")
    picking.take(b, first, b"x")
    with pytest.raises(Refused, match="were taken"):
        picking.take(b, first, b"y")


def test_nothing_is_picked_or_taken_after_the_closing(tmp_path: Path) -> None:
    b, committed, _ = other_ledger(tmp_path)
    found = picking.pick(b, made().epoch, committed, 1)
    receipts.close(b, made().epoch)
    with pytest.raises(Refused, match="closed"):
        picking.take(b, found, b"x")
    with pytest.raises(Refused, match="closed"):
        picking.pick(b, made().epoch, committed, 1)


def test_a_client_answers_one_pick_before_its_proof(tmp_path: Path) -> None:
    w, epoch = world(), made().epoch
    own, committed = client().gradients, w.got.commitment
    noted = replace(w.opening, used=False)
    assert noted.picked == digest(plain(w.pick)) and w.before.picked == ""
    shown, _ = show(epoch, w.pick, committed, own, noted)
    assert written(shown) == w.data  # the same pick once more shows nothing new
    second = sibling(w.pick, tuple(k for k in range(8) if k not in w.pick.numbers)[:2])
    with pytest.raises(Refused, match="Another pick"):
        show(epoch, second, committed, own, noted)
    with pytest.raises(Refused, match="proof was made"):
        show(epoch, w.pick, committed, own, w.opening)
    b, theirs, opening = other_ledger(tmp_path)
    foreign = picking.pick(b, epoch, theirs, 1)
    with pytest.raises(Refused, match="another commitment"):
        show(epoch, foreign, committed, own, w.before)
    with pytest.raises(Refused, match="another commitment"):
        show(epoch, foreign, theirs, own, w.before)
    with pytest.raises(Refused, match="not those of the commitment"):
        show(epoch, foreign, theirs, own, opening)


def test_a_file_has_one_spelling_and_its_length() -> None:
    w = world()
    statement, count = w.got.statement, len(w.pick.numbers)
    assert written(read(statement, count, w.data)) == w.data
    for data in (w.data[:-1], w.data + b"\0", b"X" + w.data[1:], b""):
        with pytest.raises(VerificationFailed, match="bytes"):
            read(statement, count, data)
    with pytest.raises(VerificationFailed, match="below p"):
        read(statement, count, w.data[:-8] + P.to_bytes(8, "little"))
    assert w.data.startswith(MAGIC)


# --- recomputing ---


def asked() -> tuple[Spotted, dict[str, Any]]:
    """What an auditor gets."""
    w = world()
    own = client()
    data = part(own.data, own.data["labels"] != 2)
    given = {
        "model": own.model,
        "weights": matrices(own.model),
        "shown": records_of(data, w.pick, samples=240),
        "seed": w.opening.seeds.weights,
    }
    return check_spot(w.got, w.taken, w.data), given


def test_opened_gradients_are_computed_again_from_their_records() -> None:
    spotted, given = asked()
    found = recompute(spotted, **given)
    done = found.spot.recomputed
    assert done is not None and done.records == 60 and done.units <= 1 and done.share < 0.001
    assert len(found.verdict.checked) == len(spotted.verdict.checked) + 1
    assert found.spot.taken == spotted.spot.taken


def cheats() -> Iterator[tuple[str, dict[str, Any]]]:
    _, given = asked()
    first, second = given["shown"]
    yield "off", {"shown": [second, first]}
    yield "off", {"shown": [Shown(first.batch, -first.signs), second]}
    labels = first.batch["labels"].clone()
    labels[3] = 1 - labels[3]
    yield "off", {"shown": [Shown({**first.batch, "labels": labels}, first.signs), second]}
    yield "picked", {"shown": [first]}
    yield "1 or -1 each", {"shown": [Shown(first.batch, first.signs * 2), second]}
    yield "1 or -1 each", {"shown": [Shown(first.batch, first.signs[1:]), second]}
    yield "first root", {"seed": bytes(32)}
    model = copy.deepcopy(given["model"])
    weights = matrices(model)
    with torch.no_grad():
        next(iter(weights.values())).view(-1)[3] += 1e-3
    yield "first root", {"model": model, "weights": weights}


@pytest.mark.parametrize("number", range(8))
def test_gradients_of_other_records_signs_or_weights_are_seen(number: int) -> None:
    spotted, given = asked()
    says, change = list(cheats())[number]
    with pytest.raises((VerificationFailed, BadParameter), match=says):
        recompute(spotted, **{**given, **change})


def test_a_gradient_that_is_a_unit_off_everywhere_or_two_anywhere_is_another() -> None:
    spotted, given = asked()
    values = np.clip(spotted.opened.values.astype(int) + 1, -127, 127).astype(np.int8)
    moved = replace(spotted, opened=replace(spotted.opened, values=values))
    with pytest.raises(VerificationFailed, match="1 units off"):
        recompute(moved, **given)
    values = spotted.opened.values.copy()
    values[0, 5, 5] += 2 if values[0, 5, 5] < 100 else -2
    moved = replace(spotted, opened=replace(spotted.opened, values=values))
    with pytest.raises(VerificationFailed, match=r"[123] units off"):
        recompute(moved, **given)


# --- the certificate ---


def outcome(envelope: bytes, **brought: Any) -> tuple[dict[str, str], Any]:
    found = certificate.verify(envelope, certificate.Brought(**brought))
    return {each.name: each.outcome for each in found.checks}, found


def test_a_certificate_says_what_was_opened_and_what_is_not_hidden() -> None:
    spotted, given = asked()
    w, signer = world(), KeySigner(new_private_key())
    brought = {"proof": w.got.proof, "public": w.got.public}
    data = certificate.issue(spotted.got, spotted.verdict, signer, spotted.spot)
    names, found = outcome(data, **brought, opened=w.data)
    assert names["spot"] == names["terms"] == names["proof"] == "passed"
    text = "\n".join(found.attested)
    assert "2 of 8 gradients false: one is among the 2 with probability 0.464" in text
    assert f"1 - (1 - 0.250)^2 = {1 - 0.75**2:.3f}" in text
    left = found.not_covered
    assert left[0] == NOT_COVERED[0] and "shows nothing of data" in left[1]
    assert "not claimed for the 2 of 8" in left[2]
    assert outcome(data, **brought)[0]["spot"] == "not checked"
    bad = bytearray(w.data)
    bad[-1] ^= 1
    assert outcome(data, **brought, opened=bytes(bad))[0]["spot"] == "failed"
    again = recompute(spotted, **given)
    data = certificate.issue(again.got, again.verdict, signer, again.spot)
    _, found = outcome(data)
    assert not any("own choosing" in line for line in found.not_covered)
    assert "from 60 records" in found.not_covered[0]
    assert "that the other gradients are of records at all" in found.not_covered[0]
    assert any("Recomputed by the signer from 60" in line for line in found.attested)
    unsigned = resigned(data, lambda payload: None, signature="00" * 64)
    _, found = outcome(unsigned)
    assert found.attested == () and found.not_covered == NOT_COVERED


def resigned(envelope: bytes, change: Any, signature: str | None = None) -> bytes:
    """With a changed payload, by another key; or with a signature that does not hold."""
    payload = json.loads(from_envelope(json.loads(envelope)).payload)
    change(payload)
    made = json.loads(sealed(PAYLOAD_TYPE, dumps(payload), KeySigner(new_private_key())))
    if signature is not None:
        made["signatures"][0]["sig"] = base64.b64encode(bytes.fromhex(signature)).decode()
    return json.dumps(made).encode()


def test_a_certificate_without_a_spot_check_says_what_it_said() -> None:
    w, signer = world(), KeySigner(new_private_key())
    data = certificate.issue(w.got, check(w.got), signer)
    names, found = outcome(data)
    assert "spot" not in names and found.not_covered == NOT_COVERED == not_covered(None)
    older = resigned(data, lambda payload: payload["predicate"].pop("spot"))
    assert outcome(older)[0] == names
    with pytest.raises(BadParameter, match="without a spot check"):
        outcome(data, opened=w.data)


def test_a_spot_check_of_another_client_does_not_belong_to_a_certificate(tmp_path: Path) -> None:
    spotted, _ = asked()
    b, committed, opening = other_ledger(tmp_path)
    found = picking.pick(b, made().epoch, committed, 1)
    shown, _ = show(made().epoch, found, committed, client(2).gradients, opening)
    taken = picking.take(b, found, written(shown))
    spot = replace(spotted.spot, taken=taken)
    data = certificate.issue(spotted.got, spotted.verdict, KeySigner(new_private_key()), spot)
    assert outcome(data)[0]["terms"] == "failed"
