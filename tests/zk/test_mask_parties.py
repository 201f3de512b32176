"""Provider, client and verifier: an order is sealed, carried out, proved once and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parties import accuracy, client, forgetting, made, provider, quiet, receipt_of, received

import rescind.zk.client
from rescind.core.canonical import digest, plain
from rescind.core.errors import BadData, BadParameter, Refused, VerificationFailed
from rescind.proofs.mask_proof import soundness, truth
from rescind.proofs.mask_proof.sizes import LONGEST, Limits, cost_of, held
from rescind.proofs.mask_proof.soundness import columns_for
from rescind.proofs.mask_proof.statement import Public
from rescind.proofs.mask_proof.truth import Secret, slack_of
from rescind.proofs.mask_proof.witness import stack_witness
from rescind.proofs.signing import load_public
from rescind.workspace import new_workspace
from rescind.zk import receipts, signed
from rescind.zk.check import check
from rescind.zk.client import (
    carried_out,
    commit,
    compensate,
    post_root,
    prove_once,
)
from rescind.zk.exceptions import declared
from rescind.zk.provider import Wish, _sound, check_slack, make
from rescind.zk.tensors import blocks_of, floats, save_public, whole, whole_gradients
from rescind.zk.tensors import load_public as load_mask
from rescind.zk.terms import Commitment, Epoch, MaskOrder, slack


def test_an_honest_client_is_believed_and_has_forgotten_more() -> None:
    got, opening, new = received()
    found = check(got, again=True, model=new, post_seed=opening.seeds.post)
    assert len(found.checked) == 5 and found.bits > 39.5 and found.share <= 0.15
    own = client()
    assert accuracy(own.model, new, 2) < accuracy(own.model, None, 2) - 0.1
    others = [accuracy(own.model, w, 0) + accuracy(own.model, w, 1) for w in (None, new)]
    assert others[1] > others[0] - 0.2
    mask, _ = forgetting()
    assert all(not new[n][mask[n] != 0].any() for n in new)


def test_the_opening_serves_one_proof() -> None:
    got, used, _ = received()
    own = client()
    with pytest.raises(Refused, match="already"):
        prove_once(got.epoch, got.order, got.public, own.weights, own.gradients, used, quiet)


def test_what_was_not_committed_before_is_seen() -> None:
    got, _, _ = received()
    other, _ = commit(got.epoch, client(2).weights, client(2).gradients)
    with pytest.raises(VerificationFailed, match="ledger holds another"):
        check(replace(got, commitment=other))
    with pytest.raises(VerificationFailed, match="epoch, order and commitment"):
        check(replace(got, commitment=other, receipt=receipt_of(other)))
    later, _ = commit(got.epoch, client().weights, client(2).gradients)
    with pytest.raises(VerificationFailed):
        check(replace(got, commitment=later, receipt=receipt_of(later)))
    foreign = replace(got.commitment, epoch="0" * 64)
    with pytest.raises(VerificationFailed, match="another epoch"):
        check(replace(got, commitment=foreign))


def test_an_order_that_was_not_sealed_is_refused_by_all() -> None:
    got, opening, _ = received()
    own = client()
    floors = tuple(f - 1 for f in got.order.floors)
    changed = replace(got.order, floors=floors)
    with pytest.raises(VerificationFailed, match="sealed"):
        check(replace(got, order=changed))
    fresh = replace(opening, used=False)
    with pytest.raises(VerificationFailed, match="sealed"):
        prove_once(got.epoch, changed, got.public, own.weights, own.gradients, fresh, quiet)
    with pytest.raises(VerificationFailed, match="sealed"):
        compensate(got.epoch, changed, got.public, own.weights, own.gradients)


def test_another_mask_beside_a_good_order_is_refused() -> None:
    got, _, _ = received()
    mask = got.public.mask.copy()
    mask[0, 0] = not mask[0, 0]
    public = Public(mask, got.public.direction)
    with pytest.raises(BadData, match="mask"):
        check(replace(got, public=public))
    with pytest.raises(BadData):
        compensate(got.epoch, got.order, public, client().weights, client().gradients)


def test_another_model_is_not_the_one_that_was_proved() -> None:
    got, opening, new = received()
    name = sorted(new)[0]
    moved = {**new, name: new[name].copy()}
    moved[name].flat[5] += np.float32(2.0 ** -got.epoch.tensors[0].weight_bits)
    with pytest.raises(VerificationFailed, match="third root"):
        check(got, model=moved, post_seed=opening.seeds.post)
    moved[name].flat[5] += np.float32(1e-7)
    with pytest.raises(VerificationFailed):
        check(got, model=moved, post_seed=opening.seeds.post)
    with pytest.raises(VerificationFailed):
        check(got, model=new, post_seed=b"0" * 32)
    assert post_root(got.statement, new, opening.seeds.post) == got.statement.post


def test_blocks_that_cannot_be_met_are_masked_only_and_declared() -> None:
    """With less room for residuals than rounding leaves; what is declared can be proved."""
    epoch, own = made(), client()
    tight = epoch.epoch.statement(epoch.order, (), received()[0].commitment.roots)
    tight = replace(tight, residual_bits=tight.residual_bits - 4)
    before = whole(own.weights, tight.tensors, tight.block)
    gradients = whole_gradients(own.gradients, tight.tensors, tight.block)
    done = carried_out(before, gradients, epoch.public, tight)
    change, mask = done.weights - before, epoch.public.mask
    declared = np.zeros(len(mask), dtype=bool)
    declared[list(done.exceptions)] = True
    assert 0 < declared.sum() < mask.any(1).sum()
    assert not change[declared][~mask[declared]].any()
    assert not done.weights[mask].any() and change[~declared][~mask[~declared]].any()
    assert done.residual < 2 ** (tight.residual_bits - 1)
    secret = Secret(before, gradients, done.weights)
    floorless = tuple(replace(t, floor=-(2**40)) for t in tight.tensors)
    said = replace(tight, tensors=floorless, exceptions=done.exceptions)
    spare = np.zeros(said.blocks, dtype=np.int64)
    assert stack_witness(said, epoch.public, secret, spare, 0).row("aux", 0).size
    with pytest.raises(VerificationFailed, match="residual"):
        stack_witness(replace(said, exceptions=()), epoch.public, secret, spare, 0)


def test_blocks_are_solved_and_summed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (got, *_), own, order = received(), client(), made()
    statement = got.statement
    before = whole(own.weights, statement.tensors, statement.block)
    gradients = whole_gradients(own.gradients, statement.tensors, statement.block)
    at_once = carried_out(before, gradients, order.public, statement)
    secret = Secret(before, gradients, at_once.weights)
    floorless = tuple(replace(t, floor=-(2**40)) for t in statement.tensors)
    statement = replace(statement, tensors=floorless)
    slack = slack_of(statement, order.public, secret)
    monkeypatch.setattr(rescind.zk.client, "AT_ONCE", 7)
    monkeypatch.setattr(truth, "AT_ONCE", 5)
    apart = carried_out(before, gradients, order.public, statement)
    assert len(before) > 14
    assert np.abs(apart.weights - at_once.weights).max() <= 1  # sums of another order are rounded
    assert (apart.weights[order.public.mask] == 0).all()
    assert (slack_of(statement, order.public, secret) == slack).all()


def test_other_numbers_of_gradients_than_the_epochs_are_refused() -> None:
    found, own = made(), client()
    fewer = {name: g[:-1] for name, g in own.gradients.items()}
    with pytest.raises(BadData, match="the epoch asks for"):
        commit(found.epoch, own.weights, fewer)
    name = found.epoch.tensors[-1].name
    with pytest.raises(BadData, match="Take as many of each tensor"):
        commit(found.epoch, own.weights, {**own.gradients, name: own.gradients[name][:-1]})


def test_a_gradient_along_the_direction_does_not_reach_the_floor() -> None:
    """A client that commits to it in time cancels its pull, and cannot prove the order.

    Its size leaves one block that cannot be met, as many as the order says, so that none is drawn.
    """
    epoch, own = made(), client()
    _, direction = forgetting()
    fake = {n: g.copy() for n, g in own.gradients.items()}
    for t in epoch.epoch.tensors:
        scale = 120 * t.gradient_step / np.abs(direction[t.name]).max()
        fake[t.name][:] = direction[t.name] * scale
    committed, opening = commit(epoch.epoch, own.weights, fake)
    assert committed.roots.gradients
    with pytest.raises(VerificationFailed, match="floor"):
        prove_once(epoch.epoch, epoch.order, epoch.public, own.weights, fake, opening, quiet)


def test_a_client_enters_one_commitment_in_an_open_epoch(tmp_path: Path) -> None:
    b = new_workspace(tmp_path / "provider").backends
    epoch = made().epoch
    first, _ = commit(epoch, client().weights, client().gradients)
    second, _ = commit(epoch, client(2).weights, client(2).gradients)
    receipt = receipts.enter(b, epoch, first, "anna")
    assert receipt.commitment == digest(plain(first)) and receipt.seq == b.ledger.head()[0]
    with pytest.raises(Refused, match="committed in this epoch already"):
        receipts.enter(b, epoch, second, "anna")
    assert receipts.enter(b, epoch, second, "boris").client != receipt.client
    assert receipts.close(b, epoch) == 2
    with pytest.raises(Refused, match="closed"):
        receipts.enter(b, epoch, second, "clara")
    with pytest.raises(Refused, match="another epoch"):
        receipts.enter(b, replace(epoch, id="x"), second, "clara")


def test_an_order_for_a_subject_or_few_records_is_refused() -> None:
    order = made().order
    with pytest.raises(BadParameter, match="would show them"):
        replace(order, records=499)
    with pytest.raises(BadParameter, match="would show them"):
        replace(order, goal="subject")


@pytest.mark.parametrize(("bits", "degree"), [(60.0, 2), (100.0, 2), (108.0, 2), (127.0, 3)])
def test_proofs_are_as_sound_as_was_asked_for(bits: float, degree: int) -> None:
    epoch = made(bits=bits).epoch
    assert bits <= soundness.bits(epoch.sized) < bits + 1
    assert epoch.degree == degree
    with pytest.raises(BadParameter, match="from 40 to 127"):
        made(bits=128.0)


def test_long_rows_that_take_too_much_of_the_bits_get_the_larger_extension() -> None:
    epoch = made().epoch
    large = replace(epoch, block=64, tensors=(replace(epoch.tensors[0], shape=(2**26,)),))
    wish = Wish(goal="class", records=600, bits=108.0, row_size=2**20)
    found = _sound(replace(large, opened=columns_for(108.0), size=2**20), wish)
    assert (found.size, found.degree) == (2**20, 3) and soundness.bits(found.sized) >= 108.0


def test_rows_are_as_long_as_all_blocks_need_or_as_is_asked_for() -> None:
    plain = made().epoch.sized
    assert plain.size == held(plain, LONGEST) == 256
    wide = made(block=1).epoch.sized
    assert wide.blocks > 512 and wide.size == held(wide, LONGEST) > 512
    assert made(block=1, row_size=300).epoch.size == 256
    least = cost_of(replace(wide, size=384))
    found = cost_of(made(block=1, limits=Limits(memory=least.memory)).epoch.sized)
    assert found.memory <= least.memory < cost_of(wide).memory and found.proof <= least.proof
    for wrong in (32, 2**21):
        with pytest.raises(BadParameter, match="rows of 64 to"):
            made(row_size=wrong)


def test_a_pull_that_drowns_in_residuals_is_refused() -> None:
    own, (mask, direction) = provider(), forgetting()
    wish = Wish(goal="class", records=600, alpha=1e-5, block=16, bits=40.0, value_bytes=2)
    with pytest.raises(BadParameter, match="of the pull"):
        make(own.weights, own.gradients, mask, direction, wish)
    assert check_slack(received()[0].statement, made().public) < 0.15


def test_the_share_of_the_pull_is_of_the_gradient_as_it_is_published() -> None:
    """A gradient of half the size is pulled half as hard, whatever its unit was meant to be."""
    statement, public = received()[0].statement, made().public
    halved = Public(public.mask, (public.direction // 2).astype(np.int8))
    assert slack(statement, halved) == pytest.approx(2 * slack(statement, public), rel=0.05)
    ends = np.cumsum([t.blocks(statement.block) for t in statement.tensors])[:-1]
    pulls = [
        t.pull * float(np.sqrt((part.astype(float) ** 2).sum() / np.prod(t.shape)))
        for t, part in zip(statement.tensors, np.split(public.direction, ends), strict=True)
    ]
    limit = 2 ** (statement.residual_bits - 1)
    assert slack(statement, public) == pytest.approx(limit / min(pulls))


def test_weights_go_into_units_and_back_exactly() -> None:
    epoch, own = made().epoch, client()
    units = whole(own.weights, epoch.tensors, epoch.block)
    back = floats(units, epoch.tensors, epoch.block)
    again = whole(back, epoch.tensors, epoch.block)
    assert (units == again).all()
    for t in epoch.tensors:
        error = np.abs(back[t.name] - own.weights[t.name]).max()
        assert error <= 2.0 ** -(t.weight_bits + 1)
    assert blocks_of(np.arange(5), 4).tolist() == [[0, 1, 2, 3], [4, 0, 0, 0]]
    with pytest.raises(BadData, match="missing"):
        whole({}, epoch.tensors, epoch.block)
    broken = {n: np.full_like(w, np.nan) for n, w in own.weights.items()}
    with pytest.raises(BadData, match="finite"):
        whole(broken, epoch.tensors, epoch.block)
    large = {n: w * 100 for n, w in own.weights.items()}
    with pytest.raises(BadParameter, match="too large"):
        commit(epoch, large, own.gradients)


def test_what_is_signed_is_read_with_the_trusted_key_alone(tmp_path: Path) -> None:
    one, other = (tmp_path / n for n in ("one", "other"))
    signed.new_key(one, tmp_path / "one.pem")
    signed.new_key(other, tmp_path / "other.pem")
    with pytest.raises(BadParameter, match="exists"):
        signed.new_key(one, tmp_path / "three.pem")
    assert one.stat().st_mode & 0o077 == 0
    key, wrong = (load_public((tmp_path / f"{n}.pem").read_bytes()) for n in ("one", "other"))
    epoch, order = made().epoch, made().order
    data = signed.sign(epoch, signed.read_private(one))
    assert signed.opened(Epoch, data, key) == epoch
    assert signed.opened(MaskOrder, signed.sign(order, signed.read_private(one)), key) == order
    with pytest.raises(VerificationFailed, match="trust"):
        signed.opened(Epoch, data, wrong)
    with pytest.raises(VerificationFailed, match="type"):
        signed.opened(MaskOrder, data, key)
    with pytest.raises(BadData):
        signed.opened(Epoch, b"{", key)
    with pytest.raises(BadParameter, match="no private key"):
        signed.read_private(tmp_path / "one.pem")


def test_the_public_file_holds_mask_and_direction_and_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    save_public(path, made().public)
    assert load_mask(path).digests() == made().public.digests()
    np.savez(path, mask=np.array([{"a": 1}], dtype=object), direction=np.zeros(3))
    with pytest.raises(BadData):
        load_mask(path)
    with pytest.raises(BadParameter):
        load_mask(tmp_path / "none.npz")
    assert isinstance(received()[0].commitment, Commitment)


def test_every_client_declares_as_many_blocks() -> None:
    """Those that could be met are masked only too, drawn by a hash of the client's own weights."""
    epoch, own = made(), client()
    roomy = replace(epoch.order, exceptions=3)
    terms = replace(epoch.epoch, seal=roomy.seal)
    statement = terms.statement(roomy, (), received()[0].commitment.roots)
    before = whole(own.weights, statement.tensors, statement.block)
    gradients = whole_gradients(own.gradients, statement.tensors, statement.block)
    found = carried_out(before, gradients, epoch.public, statement)
    done = declared(found, before, epoch.public, roomy)
    assert len(done.exceptions) == 3 > len(found.exceptions)
    for block in done.exceptions:
        mask = epoch.public.mask[block]
        assert mask.any() and not done.weights[block][mask].any()
        assert (done.weights[block] == before[block])[~mask].all()
    assert declared(found, before, epoch.public, roomy).exceptions == done.exceptions
    others = {declared(found, before + k, epoch.public, roomy).exceptions for k in range(1, 9)}
    assert len(others) > 1
    few = replace(roomy, exceptions=0)
    with pytest.raises(Refused, match="room for 0"):
        declared(replace(found, exceptions=(1,)), before, epoch.public, few)


def test_another_number_of_declared_blocks_is_refused() -> None:
    got, _, _ = received()
    said = replace(got.statement, exceptions=got.statement.exceptions[1:])
    with pytest.raises(VerificationFailed) as error:
        check(replace(got, statement=said))
    assert error.value.check == "exceptions"
