"""A learned pull against the whole-number solve, finite differences, and its own start."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from edited_points import class_work
from language_task import LM, work_on
from torch import Tensor

from rescind.core.errors import BadData, BadParameter, Diverged
from rescind.core.mask_terms import TensorTerms
from rescind.methods.base import Work
from rescind.methods.zk_apex.affine import affine, movable
from rescind.methods.zk_apex.blocks import from_blocks, into_blocks, sketches_into_blocks
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.learned import Learning, in_units, learned_pull
from rescind.methods.zk_apex.quantise import compensated, whole_gradients, whole_weights
from rescind.methods.zk_apex.simulated import (
    SimulatedClient,
    preference,
    rehearsed,
    unlikelihood,
)

BLOCK = 16
Named = dict[str, Tensor]


def terms_of(name: str, weight: Tensor, seen: Tensor, pull: int = 200_000) -> TensorTerms:
    step = float(seen.abs().quantile(0.99)) / 64
    units = whole_gradients(seen, step).double()
    damping = max(1, round(0.1 * len(seen) * float((units**2).mean())))
    return TensorTerms(
        name=name,
        shape=tuple(weight.shape),
        weight_bits=18,
        gradient_step=step,
        damping=damping,
        pull=pull,
    )


def provider() -> tuple[Work, SimulatedClient, Named, Named, dict[str, TensorTerms]]:
    """A class of points to forget, one client, masks, forget gradients and terms."""
    work = class_work()
    named = matrices(work.model)
    weights = list(named.values())
    found = sketches(work.model, work.retain, weights, count=8, samples=40)
    seen = dict(zip(named, found, strict=True))
    draw = torch.Generator().manual_seed(3)
    masks = {n: torch.rand(w.shape, generator=draw) < 0.04 for n, w in named.items()}
    start = dict(zip(named, mean_gradient(work.model, work.forget, weights), strict=True))
    client = SimulatedClient(
        model=work.model, sketches=seen, forget=work.forget, retain=work.retain
    )
    terms = {n: terms_of(n, w.detach(), seen[n]) for n, w in named.items()}
    return work, client, masks, start, terms


def forgotten(
    client: SimulatedClient, masks: Named, terms: dict[str, TensorTerms], g: Named
) -> float:
    """The mean unlikelihood of the forget set after the edit in whole numbers, g rounded."""
    again = class_work().model
    for name, weight in matrices(again).items():
        t, shape = terms[name], weight.shape
        w = into_blocks(whole_weights(weight.detach(), t.weight_bits), BLOCK)
        seen = sketches_into_blocks(whole_gradients(client.sketches[name], t.gradient_step), BLOCK)
        rounded = into_blocks(g[name].round().clamp(-127, 127).long(), BLOCK)
        moved = compensated(w, into_blocks(masks[name], BLOCK), seen, t, rounded)
        with torch.no_grad():
            weight.copy_(from_blocks((w + moved).double() / 2**t.weight_bits, shape))
    with torch.no_grad():
        return float(unlikelihood(again, client.forget).mean())


def test_the_map_is_the_whole_number_solve_but_for_rounding() -> None:
    _, client, masks, start, terms = provider()
    for name, weight in matrices(client.model).items():
        t = terms[name]
        g = in_units(start[name]).round()
        w = into_blocks(whole_weights(weight.detach(), t.weight_bits), BLOCK)
        m = into_blocks(masks[name], BLOCK)
        seen = sketches_into_blocks(whole_gradients(client.sketches[name], t.gradient_step), BLOCK)
        moved = compensated(w, m, seen, t, into_blocks(g.long(), BLOCK))
        wanted = from_blocks((w + moved).double() / 2**t.weight_bits, weight.shape)
        found = affine(weight, masks[name], client.sketches[name], t, BLOCK).at(g)
        assert torch.allclose(found.double(), wanted, atol=2.0**-t.weight_bits)
        assert not bool(found[masks[name]].any())
        assert bool(masks[name].any())


@pytest.mark.parametrize("beta", [None, 3.0])
def test_slopes_are_finite_differences_of_what_is_learned(beta: float | None) -> None:
    _, client, masks, start, terms = provider()
    rehearsal = rehearsed(client, masks, terms, BLOCK, beta)
    rehearsal.model.module.double()
    edits = {
        n: replace(e, start=e.start.double(), inverse=e.inverse.double())
        for n, e in rehearsal.edits.items()
    }
    losses = None if rehearsal.losses is None else rehearsal.losses.double()
    exact = replace(rehearsal, edits=edits, before=rehearsal.before.double(), losses=losses)
    for batch in (client.forget, client.retain):
        batch["array"] = batch["array"].double()  # type: ignore[index]
    g = {n: in_units(v.double()) for n, v in start.items()}

    def loss(at: Named) -> float:
        with torch.no_grad():
            for name, weight in exact.weights.items():
                weight.copy_(exact.edits[name].at(at[name]))
            return float(exact._loss(0.7, 9, torch.Generator().manual_seed(1)))

    slopes = exact.slopes(g, 0.7, 9, torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(4)
    for name in masks:
        along = torch.randn(g[name].shape, generator=draw, dtype=torch.float64)
        ahead, behind = ({**g, name: g[name] + s * 1e-3 * along} for s in (1, -1))
        measured = (loss(ahead) - loss(behind)) / 2e-3
        assert float((slopes[name] * along).sum()) == pytest.approx(measured, rel=1e-4)
        assert measured != 0.0


def test_nothing_is_published_where_it_has_no_effect() -> None:
    _, client, masks, start, terms = provider()
    g = learned_pull([client], masks, start, terms, Learning(steps=3), BLOCK)
    for name, mask in masks.items():
        where = movable(mask, BLOCK)
        assert not bool(g[name][~where].any()) and bool(g[name][where].any())
        assert bool((~where).any())


def test_no_step_gives_the_direction_that_was_begun_with() -> None:
    _, client, masks, start, terms = provider()
    g = learned_pull([client], masks, start, terms, Learning(steps=0), BLOCK)
    for name, mask in masks.items():
        wanted = in_units(start[name] * movable(mask, BLOCK))
        assert torch.allclose(g[name], wanted, rtol=1e-5)


def test_it_forgets_more_than_it_began_with_and_is_the_same_again() -> None:
    work, client, masks, start, terms = provider()
    before = {n: p.clone() for n, p in work.model.module.named_parameters()}
    first, learned, again = (
        learned_pull([client], masks, start, terms, Learning(steps=s), BLOCK) for s in (0, 60, 60)
    )
    assert all(bool(learned[n].eq(again[n]).all()) for n in masks)
    assert all(float((g**2).mean().sqrt()) == pytest.approx(32.0) for g in learned.values())
    assert forgotten(client, masks, terms, learned) < 0.5 * forgotten(client, masks, terms, first)
    assert all(bool(before[n].eq(p).all()) for n, p in work.model.module.named_parameters())


def test_keeping_costs_forgetting() -> None:
    _, client, masks, start, terms = provider()
    left = [
        forgotten(
            client,
            masks,
            terms,
            learned_pull([client], masks, start, terms, Learning(steps=60, keep=k), BLOCK),
        )
        for k in (0.0, 100.0)
    ]
    assert left[0] < left[1]


def test_unlikelihood_is_minus_the_log_of_the_other_answers() -> None:
    work = class_work()
    found = unlikelihood(work.model, work.forget)
    p = work.model.outputs(work.forget).softmax(1).gather(1, work.forget["labels"][:, None])[:, 0]
    assert torch.allclose(found, -(1 - p).log(), atol=0.05)


def test_a_preference_is_against_what_was_before() -> None:
    work, client, masks, _, terms = provider()
    before = rehearsed(client, masks, terms, BLOCK, 2.0).losses
    assert before is not None
    own = preference(work.model, work.forget, before, 2.0)
    assert torch.allclose(own, torch.full_like(own, float(torch.tensor(2.0).log())), atol=1e-5)
    likely, gone = (preference(work.model, work.forget, before + s, 2.0) for s in (3.0, -3.0))
    assert bool((likely > 6.0).all()) and bool((gone < 0.01).all())  # 2 (l_before - l), and 0


def text_lost(beta: float | None, pull: int) -> float:
    """Nats of a text's loss more than before, with a pull that was learned with this beta."""
    work = work_on(LM)
    named = matrices(work.model, (".mlp.",))
    weights = list(named.values())
    found = sketches(work.model, work.retain, weights, count=8, samples=24)
    seen = dict(zip(named, found, strict=True))
    draw = torch.Generator().manual_seed(3)
    masks = {n: torch.rand(w.shape, generator=draw) < 0.02 for n, w in named.items()}
    start = dict(zip(named, mean_gradient(work.model, work.forget, weights), strict=True))
    terms = {n: terms_of(n, w.detach(), seen[n], pull) for n, w in named.items()}
    client = SimulatedClient(
        model=work.model, sketches=seen, forget=work.forget, retain=work.retain
    )
    g = learned_pull([client], masks, start, terms, Learning(steps=20, beta=beta), BLOCK)
    again = rehearsed(client, masks, terms, BLOCK, 1.0)
    with torch.no_grad():
        for name, weight in again.weights.items():
            weight.copy_(again.edits[name].at(g[name]))
        after = work.model.task.loss(again.model.outputs(work.forget), work.forget)
    assert again.losses is not None
    return float((after - again.losses).mean())


def test_a_text_is_forgotten_by_what_beta_allows() -> None:
    much, little = (text_lost(beta, 100_000) for beta in (1.0, 100.0))
    assert much > 2.0 * little > 0.0


def test_what_cannot_be_learned_is_refused() -> None:
    _, client, masks, start, terms = provider()
    zero = {n: torch.zeros_like(v) for n, v in start.items()}
    name = next(iter(masks))
    with pytest.raises(BadData, match="is 0 wherever"):
        learned_pull([client], masks, zero, terms, Learning(), BLOCK)
    with pytest.raises(BadParameter, match="0 simulated clients"):
        learned_pull([], masks, start, terms, Learning(), BLOCK)
    unpulled = {**terms, name: replace(terms[name], pull=0)}
    with pytest.raises(BadParameter, match=name):
        learned_pull([client], masks, start, unpulled, Learning(), BLOCK)
    bare = replace(client, sketches={})
    with pytest.raises(BadData, match=name):
        learned_pull([bare], masks, start, terms, Learning(), BLOCK)
    with pytest.raises(BadParameter, match="cannot be"):
        Learning(rate=0.0)
    with pytest.raises(BadParameter, match="beta above 0"):
        Learning(beta=0.0)
    far = {n: replace(t, pull=2**60) for n, t in terms.items()}
    with pytest.raises(Diverged):
        learned_pull([client], masks, start, far, Learning(steps=5, rate=1e30), BLOCK)
