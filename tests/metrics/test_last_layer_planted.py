"""The planted cheat: a retrained model's answers over the original model's features.

Three clouds, one of them forgotten. Output metrics admit the cheat, as they must: it gives the
answers of a retrained model. CKA does not, and relearning shows what is still there. Controls that
both must get right: retrained models that are no reference, and the original.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import pytest
import torch
from torch import Tensor, nn

from rescind.benchmarks.planted import planted
from rescind.core.errors import BadData, UnsupportedModel
from rescind.core.judgement import Judgement, Margin
from rescind.core.run import Recipe
from rescind.metrics.admissible import judge
from rescind.metrics.cka import LinearCka, normalised
from rescind.metrics.divergence import mean_kl
from rescind.metrics.features import PENULTIMATE, collect
from rescind.metrics.relearning import Budget, Curve, few, relearn, relearning_gap
from rescind.training.models import TrainedModel
from rescind.training.modules import Classification, Regression
from rescind.training.whole import WholeModel

Batch = dict[str, Tensor]
NAMES = ("left", "right", "above")
GONE = 2  # the label to forget
OUTPUTS = (
    Margin("forget accuracy", 0.05, "forgetting"),
    Margin("forget confidence", 0.1, "forgetting"),
    Margin("forget KL", 0.1, "forgetting"),
    Margin("test accuracy", 0.05, "utility"),
)
CKA = Margin("CKA", 0.05, "forgetting")


def clouds(n: int, seed: int) -> Batch:
    """Two clouds along the first axis, one far up the second, which the two never need."""
    labels = torch.arange(n) % 3
    array = torch.randn(n, 10, generator=torch.Generator().manual_seed(seed))
    array[:, :2] = 0.3 * array[:, :2] + torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 4.0]])[labels]
    return {"array": array, "labels": labels}


def part(batch: Batch, *, forget: bool) -> Batch:
    return {name: t[(batch["labels"] == GONE) == forget] for name, t in batch.items()}


def trained(batch: Batch, seed: int) -> TrainedModel:
    arguments = {"inputs": 10, "outputs": 3, "hidden": (64,)}
    task = Classification("rescind.training.zoo:mlp", NAMES, (10,), arguments)
    model = WholeModel(Recipe(task=task, method="finetune", seed=seed))
    model.module.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2, weight_decay=2.0)
    for _ in range(200):
        optimizer.zero_grad()
        model.task.loss(model.outputs(batch), batch).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.set_training((), on=False)
    return model


@dataclass(frozen=True)
class Models:
    train: Batch
    originals: Sequence[TrainedModel]
    references: Sequence[TrainedModel]
    others: Sequence[TrainedModel]  # retrained too, but no references
    cheats: Sequence[TrainedModel]  # each of an original, towards one of the others


@pytest.fixture(scope="module")
def models() -> Models:
    torch.set_num_threads(1)
    train = clouds(240, 1)
    originals = [trained(train, 100 + i) for i in range(5)]
    retrained = [trained(part(train, forget=False), i) for i in range(13)]
    others = retrained[8:]
    cheats = [planted(o, r, train, 0) for o, r in zip(originals, others, strict=True)]
    return Models(train, originals, retrained[:8], others, cheats)


TEST = clouds(600, 2)
FORGET, RETAIN = part(TEST, forget=True), part(TEST, forget=False)


def features(model: TrainedModel) -> Tensor:
    return collect(model.module, [PENULTIMATE], [TEST["array"]])[PENULTIMATE]


def cka(one: TrainedModel, other: TrainedModel) -> float:
    found = LinearCka()
    found.add(features(one), features(other))
    return found.value()


def values(
    of: Sequence[TrainedModel], references: Sequence[TrainedModel]
) -> dict[str, list[float]]:
    """One value a model; where it is to references, the mean over those that are another model."""
    found: dict[str, list[float]] = {margin.metric: [] for margin in (*OUTPUTS, CKA)}
    for model in of:
        logits = model.outputs(FORGET)
        right = model.task.score(logits, FORGET)
        others = [r for r in references if r is not model]
        found["forget accuracy"].append(float(right.mean()))
        found["forget confidence"].append(float(logits.softmax(1)[:, GONE].mean()))
        found["forget KL"].append(mean(mean_kl(r.outputs(FORGET), logits) for r in others))
        score = model.task.score(model.outputs(RETAIN), RETAIN)
        found["test accuracy"].append(float(score.mean()))
        found["CKA"].append(mean(cka(model, r) for r in others))
    return found


def verdict(models: Models, of: Sequence[TrainedModel], margins: Sequence[Margin]) -> Judgement:
    three = (of, models.originals, models.references)
    candidate, original, retrained = (values(each, models.references) for each in three)
    return judge(candidate, original, retrained, margins, "influence")


def test_outputs_admit_it_and_representations_do_not(models: Models) -> None:
    assert verdict(models, models.cheats, OUTPUTS).verdict == "admissible"
    found = verdict(models, models.cheats, (*OUTPUTS, CKA))
    assert found.verdict == "not_admissible"
    assert [gap.metric for gap in found.gaps if gap.counts and not gap.equivalent] == ["CKA"]
    assert all(gap.power for gap in found.gaps if gap.role == "forgetting")


def test_retrained_models_pass_both_and_the_original_neither(models: Models) -> None:
    for margins in (OUTPUTS, (*OUTPUTS, CKA)):
        honest = verdict(models, models.others, margins)
        assert honest.verdict == "admissible"
        assert honest.rejection_rate_of_retrained == 0.0
        assert verdict(models, models.originals, margins).verdict == "not_admissible"


def test_its_answers_are_nearer_than_those_of_another_retrained_model(models: Models) -> None:
    for cheat, target, original in zip(models.cheats, models.others, models.originals, strict=True):
        wanted = target.outputs(TEST)
        between = [mean_kl(wanted, r.outputs(TEST)) for r in models.references]
        assert mean_kl(wanted, cheat.outputs(TEST)) < min(0.005, *between)
        assert mean_kl(wanted, original.outputs(TEST)) > 0.5


def test_its_features_are_far_below_the_ceiling(models: Models) -> None:
    ceilings = [cka(a, b) for a, b in combinations(models.references, 2)]
    untrained = [
        WholeModel(Recipe(task=models.references[0].task, method="finetune", seed=50 + i))
        for i in range(4)
    ]
    floors = [cka(u, r) for u in untrained for r in models.references]
    for cheat, original in zip(models.cheats, models.originals, strict=True):
        value = mean(cka(cheat, r) for r in models.references)
        assert value == mean(cka(original, r) for r in models.references)
        assert value < min(ceilings) - 0.15
        scaled = normalised(value, floors, ceilings)
        assert scaled.value is not None and scaled.value < 0.6


def test_it_finds_the_forget_set_again_sooner(models: Models) -> None:
    shown, held_out = few(part(models.train, forget=True), 0.1, seed=0)
    task = models.references[0].task
    budget = Budget(steps=32, lr=3e-3, size=4)

    def curve(model: TrainedModel) -> Curve:
        return relearn(
            model.module,
            lambda module, batch: task.loss(task.outputs(module, batch), dict(batch)),
            lambda module, batch: float(
                task.score(task.outputs(module, batch), dict(batch)).mean()
            ),
            shown,
            held_out,
            budget,
        )

    retrained = [curve(model) for model in models.references]
    cheat = relearning_gap([curve(model) for model in models.cheats], retrained)
    honest = relearning_gap([curve(model) for model in models.others], retrained)
    original = relearning_gap([curve(model) for model in models.originals], retrained)
    assert cheat.interval[0] > 0 and abs(cheat.start) < 0.05
    assert honest.interval[0] < 0 < honest.interval[1]
    assert original.gap > cheat.gap and original.start > 0.9


def test_only_the_last_layer_changes(models: Models) -> None:
    original, target = models.originals[0], models.others[0]
    before = {name: t.clone() for name, t in original.module.state_dict().items()}
    cheat = planted(original, target, models.train, 0).module.state_dict()
    assert all(torch.equal(t, before[n]) for n, t in original.module.state_dict().items())
    changed = {name for name, t in cheat.items() if not torch.equal(t, before[name])}
    assert changed == {list(before)[-2], list(before)[-1]}


def test_the_fit_is_the_least_possible_divergence(models: Models) -> None:
    """KL in the layer's weights is convex: no step from the minimum leads down."""
    target = models.others[0].outputs(models.train).double()
    cheat = models.cheats[0]
    z = collect(cheat.module, [PENULTIMATE], [models.train["array"]])[PENULTIMATE].double()
    head = [m for m in cheat.module.modules() if isinstance(m, nn.Linear)][-1]
    weight, bias = (p.detach().double().requires_grad_(True) for p in head.parameters())
    loss = nn.functional.kl_div(
        (z @ weight.T + bias).log_softmax(1),
        target.log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    gradients = torch.autograd.grad(loss, [weight, bias])
    assert max(float(g.abs().max()) for g in gradients) < 1e-4


class Line(nn.Module):
    """A layer of its own and what is done with its outputs."""

    def __init__(self, body: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.body, self.tail = body, tail

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.tail(self.body(x))
        return found


def test_numbers_are_fitted_by_least_squares() -> None:
    arguments = {"inputs": 3, "outputs": 1, "hidden": (4,)}
    task = Regression("rescind.training.zoo:mlp", (3,), 0.1, arguments)
    original, target = (WholeModel(Recipe(task=task, method="finetune", seed=s)) for s in (0, 1))
    batch = {"array": torch.randn(50, 3, generator=torch.Generator().manual_seed(0))}
    cheat = planted(original, target, batch, 0)
    z = collect(original.module, [PENULTIMATE], [batch["array"]])[PENULTIMATE].double()
    z = torch.cat([z, torch.ones(50, 1, dtype=torch.float64)], 1)
    wanted = target.outputs(batch).double()
    best = z @ torch.linalg.pinv(z) @ wanted
    assert torch.allclose(cheat.outputs(batch).double(), best, atol=1e-4)


def test_the_seed_draws_where_there_are_too_many(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outputs(seed: int) -> Tensor:
        return planted(models.originals[0], models.others[0], models.train, seed).outputs(TEST)

    monkeypatch.setattr("rescind.benchmarks.planted.STEPS", 5)
    assert torch.equal(outputs(0), outputs(1))
    monkeypatch.setattr("rescind.benchmarks.planted.LIMIT", 100)
    assert torch.equal(outputs(0), outputs(0))
    assert not torch.equal(outputs(0), outputs(1))


def with_module(models: Models, module: nn.Module) -> TrainedModel:
    found = copy.deepcopy(models.originals[0])
    found.module = module.eval()
    return found


def test_what_cannot_be_planted(models: Models) -> None:
    target = models.others[0]
    first, last = nn.Linear(10, 10), nn.Linear(10, 10)
    tied = nn.Sequential(first, nn.ReLU(), last)
    last.weight = first.weight
    for module, why in (
        (tied, "shares its weights"),
        (Line(nn.Linear(10, 3), nn.Tanh()), "are not those"),
        (Line(nn.Flatten(), nn.Softmax(1)), "no nn.Linear"),
    ):
        with pytest.raises(UnsupportedModel, match=why):
            planted(with_module(models, module), target, models.train, 0)
    with pytest.raises(BadData, match="no examples"):
        planted(models.originals[0], target, {"array": torch.empty(0, 10)}, 0)
