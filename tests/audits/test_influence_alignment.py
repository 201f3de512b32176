from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from margin_worlds import normal
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.influence_alignment import alignment, scores
from rescind.audits.influence_directions import difference, layers, towards
from rescind.audits.matched import Groups, match
from rescind.core.errors import BadData, BadParameter, NoOp

N, CLASSES = 90, 3
Batch = Mapping[str, Tensor]


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [nn.Linear(40, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, CLASSES)]
        return nn.Sequential(*parts).double().eval()


A = small()
DATA = {"x": normal(N, 40, seed=1), "labels": torch.arange(N) % CLASSES}
REQUESTED = torch.arange(N) < 9
GROUPS: Groups = match(normal(N, seed=2), DATA["labels"], REQUESTED, ~REQUESTED, 5)


def outputs(model: nn.Module, batch: Batch) -> Tensor:
    found: Tensor = model(batch["x"])
    return found


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(outputs(model, batch), batch["labels"], reduction="none")


def halves(data: Batch = DATA) -> list[dict[str, Tensor]]:
    return [{name: t[part] for name, t in data.items()} for part in (slice(0, 50), slice(50, N))]


def gradient(i: int) -> dict[str, Tensor]:
    """Of one record's loss at A, by name of the parameter."""
    weights = dict(A.named_parameters())
    one = {name: t[i : i + 1] for name, t in DATA.items()}
    parts = torch.autograd.grad(loss(A, one).sum(), list(weights.values()))
    return dict(zip(weights, parts, strict=True))


def moved(step: Mapping[str, Tensor], rate: float) -> nn.Module:
    """A after a step."""
    model = copy.deepcopy(A)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(step[name], alpha=rate)
    return model


def removed(rows: Tensor, noise: float = 0.0, rate: float = 0.05) -> nn.Module:
    """TAPE's own picture of unlearning: up the loss of some records, and somewhere else too."""
    each = [gradient(i) for i in rows.tolist()]
    draw = {n: noise * normal(*p.shape, seed=len(n)) for n, p in A.named_parameters()}
    return moved({name: sum(g[name] for g in each) + draw[name] for name in each[0]}, rate)


# --- scores, against one gradient after the other ---


def test_scores_are_products_with_single_gradients() -> None:
    direction = {n: normal(*p.shape, seed=len(n)) for n, p in A.named_parameters()}
    found = scores(A, loss, halves(), direction)
    for i in (0, 49, 50, 89):
        by_hand = sum(float((direction[n] * g).sum()) for n, g in gradient(i).items())
        assert float(found[i]) == pytest.approx(by_hand)
    part = {"3.weight": direction["3.weight"]}
    by_hand = float((part["3.weight"] * gradient(7)["3.weight"]).sum())
    assert float(scores(A, loss, halves(), part)[7]) == pytest.approx(by_hand)


def test_layers_have_length_one_and_those_that_stood_still_drop_out() -> None:
    step = {n: normal(*p.shape, seed=len(n)) for n, p in A.named_parameters()}
    step["1.weight"].zero_()
    step["1.bias"].zero_()
    found = layers(step)
    assert {layer: set(parts) for layer, parts in found.items()} == {
        "0": {"0.weight", "0.bias"},
        "3": {"3.weight", "3.bias"},
    }
    for parts in found.values():
        assert sum(float((p**2).sum()) for p in parts.values()) == pytest.approx(1.0)
    torch.testing.assert_close(
        found["3"]["3.bias"] / found["3"]["3.bias"][0], step["3.bias"] / step["3.bias"][0]
    )


def test_the_logit_direction_leads_outputs_towards_the_model_after() -> None:
    after = removed(torch.arange(9), noise=1.0)
    held = [p.requires_grad for p in A.parameters()]
    found = towards(A, outputs, halves(), [outputs(after, b) for b in halves()])
    assert [p.requires_grad for p in A.parameters()] == held
    wanted = outputs(after, DATA) - outputs(A, DATA)
    wanted = (wanted - wanted.mean(1, keepdim=True)).detach()
    total = (outputs(A, DATA) * wanted).sum()
    expected = torch.autograd.grad(total, list(A.parameters()))
    for part, value in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(part, value)


# --- the test ---


def aligned(after: nn.Module, kind: str) -> Any:
    direction = difference(A, after)
    if kind == "outputs":
        direction = towards(A, outputs, halves(), [outputs(after, b) for b in halves()])
    parts = layers(direction) if kind == "layers" else {"all": direction}
    found = {name: scores(A, loss, halves(), part)[GROUPS.rows] for name, part in parts.items()}
    return alignment(found, draws=499)


@pytest.mark.parametrize("kind", ["all", "layers", "outputs"])
def test_a_first_order_step_is_found_and_one_for_others_is_not(kind: str) -> None:
    found = aligned(removed(GROUPS.records), kind)
    assert found.p < 0.02 and found.z > 2 and found.n == 9
    others = aligned(removed(GROUPS.rows[:, 1]), kind)
    assert others.p > 0.1
    trained = aligned(removed(GROUPS.records, rate=-0.05), kind)
    assert trained.p > 0.95 and trained.z < -2


def test_layers_have_the_same_say() -> None:
    found = {"loud": 1e6 * normal(9, 6, seed=3), "told": normal(9, 6, seed=4)}
    found["told"][:, 0] += 8
    assert alignment(found, draws=499).p < 0.01
    assert alignment(found, draws=499).by_layer["told"] < 0.01
    assert alignment(found, draws=499).by_layer["loud"] > 0.05
    silent = {**found, "silent": torch.zeros(9, 6)}
    assert alignment(silent, draws=499) == alignment(found, draws=499)


def test_where_the_weights_moved_anywhere_p_is_uniform() -> None:
    p = torch.tensor([alignment({"all": normal(9, 6, seed=s)}, draws=199).p for s in range(100)])
    for level in (0.1, 0.5, 0.75):
        assert float((p <= level).double().mean()) == pytest.approx(level, abs=0.15)


# --- bad input ---


def test_bad_input_is_told() -> None:
    step = {n: torch.ones_like(p) for n, p in A.named_parameters()}
    with pytest.raises(BadData, match="6 and 2 parameters"):
        difference(A, nn.Linear(2, 2))
    with pytest.raises(NoOp, match="same weights"):
        difference(A, small())
    with pytest.raises(BadData, match=r"differences of 0\.weight are NaN"):
        difference(A, moved(step, float("nan")))
    with pytest.raises(BadParameter, match="unknown: head"):
        scores(A, loss, halves(), {"head": torch.zeros(1)})
    with pytest.raises(BadParameter, match="training mode"):
        scores(small().train(), loss, halves(), step)
    with pytest.raises(BadParameter, match="training mode"):
        towards(small().train(), outputs, halves(), [])
    with pytest.raises(BadData, match="no batches"):
        scores(A, loss, [], step)
    with pytest.raises(BadData, match="scores have the shape"):
        scores(A, lambda m, b: loss(m, b).mean(), halves(), step)
    with pytest.raises(BadData, match="not all of one shape"):
        alignment({"a": torch.zeros(9, 6), "b": torch.zeros(9, 5)})
    with pytest.raises(BadData, match="No score varies"):
        alignment({"a": torch.zeros(9, 6)})


def test_queries_and_answers_must_fit() -> None:
    answers = [outputs(A, b).detach() for b in halves()]
    with pytest.raises(BadData, match="0 batches of queries and outputs of 2"):
        towards(A, outputs, [], answers)
    with pytest.raises(BadData, match="Batch 2 has outputs"):
        towards(A, outputs, halves(), answers[:1])
    with pytest.raises(BadData, match="Batch 1 has outputs"):
        towards(A, outputs, halves(), answers[::-1])
