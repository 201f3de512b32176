"""Mask and compensate against brute force: KKT, dense solves, explicit Fisher, whole numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from edited_points import class_work, mean_loss
from torch import Tensor

from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.core.mask_terms import TensorTerms
from rescind.methods.zk_apex import ZkApex
from rescind.methods.zk_apex.blocks import from_blocks, into_blocks, sketches_into_blocks
from rescind.methods.zk_apex.compensate import compensate, directed
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.quantise import (
    compensated,
    residuals,
    weight_bits,
    whole_gradients,
    whole_weights,
)
from rescind.methods.zk_apex.saliency import global_mask, scores

BLOCKS, SIZE, N = 5, 16, 6
DAMPING = 0.3


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, mask, gradients and a pull; each block has some masked weights."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(BLOCKS, SIZE, generator=draw, dtype=torch.float64)
    mask = torch.rand(BLOCKS, SIZE, generator=draw) < 0.2
    mask[:, 0] = True
    gradients = torch.randn(BLOCKS, N, SIZE, generator=draw, dtype=torch.float64)
    return weights, mask, gradients, torch.randn(BLOCKS, SIZE, generator=draw, dtype=torch.float64)


def fisher_of(gradients: Tensor) -> Tensor:
    return gradients.T @ gradients / len(gradients) + DAMPING * torch.eye(
        gradients.shape[1], dtype=torch.float64
    )


@pytest.mark.parametrize("pulled", [False, True])
def test_the_change_fulfils_its_equations(pulled: bool) -> None:
    weights, mask, gradients, pull = drawn()
    right = pull if pulled else torch.zeros_like(pull)
    change = compensate(weights, mask, gradients, DAMPING, pull if pulled else None)
    for b in range(BLOCKS):
        left = fisher_of(gradients[b]) @ change[b]
        assert torch.allclose(left[~mask[b]], right[b][~mask[b]], atol=1e-12)
        assert bool((weights[b] + change[b])[mask[b]].eq(0.0).all())


def test_it_is_the_papers_formula_with_the_inverse() -> None:
    weights, mask, gradients, _ = drawn(1)
    change = compensate(weights, mask, gradients, DAMPING)
    for b in range(BLOCKS):
        inverse, s = torch.linalg.inv(fisher_of(gradients[b])), mask[b]
        wanted = -inverse[:, s] @ torch.linalg.solve(inverse[s][:, s], weights[b][s])
        assert torch.allclose(change[b], wanted, atol=1e-10)


def test_it_costs_less_than_any_other_change_with_that_mask() -> None:
    weights, mask, gradients, _ = drawn(2)
    change = compensate(weights, mask, gradients, DAMPING)
    draw = torch.Generator().manual_seed(9)
    for b in range(BLOCKS):
        fisher = fisher_of(gradients[b])
        least = change[b] @ fisher @ change[b]
        for _ in range(20):
            other = change[b] + 0.1 * torch.randn(SIZE, generator=draw) * ~mask[b]
            assert other @ fisher @ other > least


def test_blocks_are_those_of_one_solve_with_a_block_diagonal_fisher() -> None:
    weights, mask, gradients, pull = drawn(3)
    whole = torch.zeros(BLOCKS * SIZE, BLOCKS * SIZE, dtype=torch.float64)
    for b in range(BLOCKS):
        here = slice(b * SIZE, (b + 1) * SIZE)
        whole[here, here] = fisher_of(gradients[b])
    s, flat = mask.flatten(), weights.flatten()
    right = whole[~s][:, s] @ flat[s] + pull.flatten()[~s]
    kept = torch.linalg.solve(whole[~s][:, ~s], right)
    assert torch.allclose(
        compensate(weights, mask, gradients, DAMPING, pull).flatten()[~s], kept, atol=1e-10
    )


def test_without_a_mask_nothing_moves_and_with_a_full_one_all_is_zero() -> None:
    weights, mask, gradients, pull = drawn(4)
    none = compensate(weights, torch.zeros_like(mask), gradients, DAMPING, pull)
    assert not bool(none.any())
    full = compensate(weights, torch.ones_like(mask), gradients, DAMPING, pull)
    assert torch.equal(full, -weights)


def test_sketches_are_the_fisher_on_average_over_their_signs() -> None:
    work = class_work()
    weights = list(matrices(work.model).values())
    single = [{k: t[i : i + 1] for k, t in work.retain.items()} for i in range(24)]
    each = [mean_gradient(work.model, one, weights) for one in single]
    explicit = [torch.stack([g[i].flatten().double() for g in each]) for i in range(len(weights))]
    batch = {k: t[:24] for k, t in work.retain.items()}
    total = [torch.zeros(e.shape[1], e.shape[1], dtype=torch.float64) for e in explicit]
    draws = 400
    for seed in range(draws):
        found = sketches(work.model, batch, weights, count=4, samples=24, seed=seed)
        for sum_, g in zip(total, found, strict=True):
            flat = g.flatten(1).double()
            sum_ += flat.T @ flat / (4 * draws)
    for sum_, e in zip(total, explicit, strict=True):
        wanted = e.T @ e / 24
        assert float((sum_ - wanted).norm() / wanted.norm()) < 0.15
    alone = sketches(work.model, batch, weights, count=24, samples=24, seed=0)
    for g, e in zip(alone, explicit, strict=True):  # one sample each: the signs cancel
        flat = g.flatten(1).double()
        assert torch.allclose(flat.T @ flat, e.T @ e, rtol=1e-4, atol=1e-7)


def test_blocks_can_be_put_together_again() -> None:
    weight = torch.arange(35.0).reshape(5, 7)
    blocks = into_blocks(weight, 16)
    assert blocks.shape == (3, 16) and blocks[2, 3:].eq(0).all()
    assert torch.equal(from_blocks(blocks, weight.shape), weight)
    several = torch.stack([weight, 2 * weight])
    assert torch.equal(sketches_into_blocks(several, 16)[:, 1], into_blocks(2 * weight, 16))


def test_the_ratio_is_taken_with_a_floor_and_the_highest_are_masked() -> None:
    forget = [(torch.zeros(4), torch.tensor([1.0, 0.0, 2.0, 4.0]))]
    retain = [(torch.zeros(4), torch.tensor([1.0, 0.0, 1.0, 8.0]))]
    [found] = scores("fisher_ratio", [torch.ones(4)], forget, retain)
    floor = float(torch.quantile(retain[0][1].double(), 0.1))
    assert found.tolist() == pytest.approx([1 / (1 + floor), 0.0, 2 / (1 + floor), 4 / (8 + floor)])
    [mask] = global_mask([found], 0.5)
    assert mask.tolist() == [True, False, True, False]
    with pytest.raises(BadParameter):
        global_mask([found], 0.01)


def test_the_released_form_is_the_ratio_of_two_signed_sums() -> None:
    draw = torch.Generator().manual_seed(0)
    w, gf, gr = (torch.randn(6, generator=draw) for _ in range(3))
    ff, fr = (torch.rand(6, generator=draw) for _ in range(2))
    [found] = scores("signed", [w], [(gf, ff)], [(gr, fr)])
    top = gf * w - 0.4485 * ff * w**2
    under = 2.0 * (gr * w - 0.4485 * fr * w**2) + 1e-12
    assert torch.allclose(found, top / under)
    assert bool((found < 0).any())


def test_in_whole_numbers_the_residual_is_that_of_rounding_and_bounds_the_error() -> None:
    weights, mask, gradients, direction = drawn(5)
    bits = weight_bits(weights, room=2.0)
    w, g = whole_weights(weights, bits), whole_gradients(gradients, 0.03)
    pull = whole_gradients(direction, 0.03)
    terms = TensorTerms(
        name="w", shape=(80,), weight_bits=bits, gradient_step=0.03, damping=2000, pull=37
    )
    change = compensated(w, mask, g, terms, pull)
    left = residuals(w, change, mask, g, terms, pull)
    exact = compensate(w, mask, g, 2000 / N, 37 * pull / N)
    error = (change - exact) * ~mask
    assert bool((error.norm(dim=1) <= left.double().norm(dim=1) / 2000 + 1e-9).all())
    assert float(error.abs().max()) <= 0.5
    assert int(left.abs().max()) > 0 and int(left[mask].abs().max()) == 0
    moved = change.clone()
    kept = (~mask[0]).nonzero()[0]
    moved[0, kept] += 50
    assert int(residuals(w, moved, mask, g, terms, pull).abs().max()) >= 50 * 2000 - 10**5
    moved[0, 0] += 1
    with pytest.raises(BadData, match="not 0"):
        residuals(w, moved, mask, g, terms, pull)


def test_weights_keep_room_for_the_change_or_are_refused() -> None:
    weights = torch.tensor([0.25, -0.1])
    bits = weight_bits(weights, room=4.0, value_bytes=2)
    assert 1.0 * 2**bits < 2**15 <= 1.0 * 2 ** (bits + 1)
    assert weight_bits(weights, room=4.0) == bits + 8
    with pytest.raises(BadData, match="2 bytes"):
        whole_weights(weights, 18, 2)
    assert whole_weights(weights, 18).tolist() == [65536, -26214]
    with pytest.raises(BadData):
        weight_bits(torch.tensor([1e9]), 4.0)


def test_the_directed_step_forgets_more_and_the_mask_is_exact() -> None:
    work = class_work()
    start = mean_loss(work, work.forget)
    loss = []
    for alpha in (0.0, 0.01, 0.05):
        fresh = class_work()
        ZkApex(alpha=alpha, share=0.05).change(fresh)
        loss.append(mean_loss(fresh, fresh.forget))
        zeros = sum(int((w == 0).sum()) for w in matrices(fresh.model).values())
        total = sum(w.numel() for w in matrices(fresh.model).values())
        assert zeros >= round(0.05 * total)
    assert start < loss[1] and loss[0] < loss[1] < loss[2]


def test_the_pull_is_scaled_to_the_fisher() -> None:
    draw = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    pull = directed(draw, 0.5, 3.0)
    assert float((pull**2).mean().sqrt()) == pytest.approx(1.5)
    assert not bool(directed(torch.zeros(3), 0.5, 3.0).any())


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(BadParameter, match="run away"):
        ZkApex(damping=1e-3)
    assert replace(ZkApex(sketches=480), damping=1e-3).damping == 1e-3
    work = class_work()
    with pytest.raises(InsufficientEvidence):
        sketches(work.model, work.retain, list(matrices(work.model).values()), samples=10**6)
    with pytest.raises(BadParameter, match="named after"):
        matrices(work.model, ("attention",))
    weights, mask, gradients, _ = drawn()
    with pytest.raises(BadData):
        compensate(weights, mask, gradients[:, :, :3], DAMPING)
    with pytest.raises(BadParameter):
        compensate(weights, mask, gradients, 0.0)
