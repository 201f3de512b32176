"""Places and savings by hand, a class behind a missing row, and records that nobody relearns."""

from __future__ import annotations

import copy
import functools
import math
import random
from collections.abc import Mapping

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.relearning import (
    half_way,
    place_of,
    relearning_finding,
    relearning_power,
    savings,
)
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.relearning import Budget, Curve, few, relearn

KINDS, WIDTH, EACH = 6, 16, 60
STEPS = Budget(steps=32, lr=1e-2)
Batch = Mapping[str, Tensor]


def curve(*scores: float, steps: int = 8, shown: int = 5) -> Curve:
    return Curve(Budget(steps=steps), scores, shown, 20)


@functools.cache
def records(asked: str, clusters: int) -> tuple[Tensor, Tensor, Tensor]:
    """Classes of some clusters each, and which records are requested: a class, or one in seven."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(KINDS * EACH) % KINDS
    which = torch.randint(clusters, (len(labels),), generator=generator)
    centres = torch.randn(KINDS, clusters, WIDTH, generator=generator)
    noise = torch.randn(len(labels), WIDTH, generator=generator)
    some = torch.rand(len(labels), generator=generator) < 1 / 7
    return centres[labels, which] + 0.7 * noise, labels, labels == 0 if asked == "class" else some


@functools.cache
def trained(asked: str, seed: int, without: bool, clusters: int = 4) -> nn.Sequential:
    x, y, forget = records(asked, clusters)
    if without:
        x, y = x[~forget], y[~forget]
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, KINDS))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval()


def hidden(module: nn.Sequential) -> nn.Sequential:
    """The class is answered no more; the features of its records are all there."""
    found = copy.deepcopy(module)
    last = found[2]
    if isinstance(last, nn.Linear):
        with torch.no_grad():
            last.weight[0] = 0
            last.bias[0] = -10
    return found


def losses(module: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(module(batch["x"]), batch["labels"], reduction="none")


def minus_loss(module: nn.Module, batch: Batch) -> float:
    return -float(losses(module, batch).mean())


def accuracy(module: nn.Module, batch: Batch) -> float:
    return float((module(batch["x"]).argmax(1) == batch["labels"]).float().mean())


def relearned(
    module: nn.Module, asked: str = "class", by: str = "accuracy", clusters: int = 4
) -> Curve:
    x, y, forget = records(asked, clusters)
    shown, held_out = few({"x": x[forget], "labels": y[forget]}, 0.3, 0)
    score = accuracy if by == "accuracy" else minus_loss
    return relearn(module, losses, score, shown, held_out, STEPS)


@functools.cache
def retrained(asked: str = "class", by: str = "accuracy", clusters: int = 4) -> tuple[Curve, ...]:
    models = [trained(asked, seed, True, clusters) for seed in range(10)]
    return tuple(relearned(m, asked, by, clusters) for m in models)


@functools.cache
def hiding(clusters: int = 4) -> tuple[Curve, ...]:
    models = [hidden(trained("class", seed, False, clusters)) for seed in range(20, 26)]
    return tuple(relearned(m, clusters=clusters) for m in models)


def test_places_by_hand() -> None:
    """Scores at 0, 1, 2, 4, 8 steps lie at -1, 0, 1, 2, 3."""
    rising = curve(0.0, 0.1, 0.3, 0.7, 0.9)
    assert place_of(rising, 0.5) == pytest.approx(1.5)
    assert place_of(rising, 0.3) == pytest.approx(1.0)
    assert place_of(rising, 0.025) == pytest.approx(-0.75)
    assert place_of(rising, 0.0) == place_of(rising, -1.0) == -1.0
    assert place_of(rising, 0.95) is None
    assert place_of(curve(0.0, 0.6, 0.2, 0.6, 0.6), 0.5) == pytest.approx(-1 + 0.5 / 0.6)
    assert half_way([rising, curve(0.2, 0.2, 0.2, 0.2, 0.5)]) == pytest.approx(1.6 / 4)


def test_savings_by_hand() -> None:
    controls = [curve(0, 0, 0, a, 1) for a in (0.2, 0.4, 0.6)]  # places 1 + 1 / a, or 2 and more
    places = [2 + 0.3 / 0.8, 2 + 0.1 / 0.6, 1 + 0.5 / 0.6]
    mean = sum(places) / 3
    found = savings(curve(0, 0, 0.5, 1, 1), controls)
    assert found.level == 0.5 and not found.open
    assert found.doublings == pytest.approx(mean - 1)
    assert found.share == pytest.approx(1 - 2 / 2**mean)
    error = math.sqrt(sum((p - mean) ** 2 for p in places) / 2 * (1 + 1 / 3))
    assert found.p == pytest.approx(stats.t.sf((mean - 1) / error, 2))
    half = stats.t.ppf(0.975, 2) * error
    assert found.interval == pytest.approx((mean - 1 - half, mean - 1 + half))
    slow = savings(curve(0, 0, 0, 0, 0.1), controls)
    assert slow.doublings == pytest.approx(mean - 4) and slow.p > 0.9
    late = savings(curve(0, 0, 0.5, 1, 1), [*controls[:2], curve(0, 0, 0, 0, 0.4)], level=0.5)
    assert late.doublings == pytest.approx((places[0] + places[1] + 3) / 3 - 1)
    assert late.p == 1 / 4  # a rank: the spread of places that are not known is too small


def test_the_level_holds_where_retrained_models_run_out_of_steps() -> None:
    """Places are normal, and what lies beyond the budget is not seen: the t-test would fire too
    often."""
    draw, fired, asked = random.Random(0), 0, 0
    for _ in range(400):
        places = [draw.gauss(2.4, 0.5) for _ in range(11)]  # the budget ends at 3
        curves = [curve(*reaching(place)) for place in places]
        try:
            found = savings(curves[0], curves[1:], level=0.5)
        except InsufficientEvidence:
            continue
        asked, fired = asked + 1, fired + (found.p < 0.05)
    assert asked > 300 and fired / asked < 0.05 + 3 * math.sqrt(0.05 * 0.95 / asked)


def reaching(place: float) -> list[float]:
    """Scores at -1, 0, 1, 2, 3 that cross a half just at the place, or never within them."""
    right = math.ceil(place)
    high = 0.5 / (place - (right - 1))
    return [0.0] * (right + 1) + [high] * (4 - right) if right <= 3 else [0.0] * 5


def test_a_class_behind_a_missing_row_is_found() -> None:
    assert all(c.start == 0.0 for c in (*hiding(), *retrained()))
    assert relearning_power(hiding(), retrained()) == 1.0
    assert all(0.3 < savings(c, retrained()).doublings < 1.1 for c in hiding())
    finding = relearning_finding(hiding()[0], retrained())
    assert finding.outcome == "residue_found" and finding.interval[0] > 0
    assert finding.n == EACH


def test_retrained_models_do_not_fire() -> None:
    curves = retrained()
    found = [relearning_finding(curves[i], curves[:i] + curves[i + 1 :]) for i in range(10)]
    assert sum(f.p < f.level for f in found) <= 1
    assert {f.outcome for f in found if f.p >= f.level} == {"no_power"}
    known = relearning_power(hiding(), retrained())
    passed = max(range(10), key=lambda i: found[i].p)
    others = curves[:passed] + curves[passed + 1 :]
    judged = relearning_finding(curves[passed], others, power=known)
    assert judged.outcome == "removed_supported"


def test_an_easy_class_is_relearned_almost_as_fast_by_models_that_never_saw_it() -> None:
    power = relearning_power(hiding(2), retrained(clusters=2))
    assert power == pytest.approx(4 / 6)
    missed = [c for c in hiding(2) if savings(c, retrained(clusters=2)).p > 0.05]
    finding = relearning_finding(missed[0], retrained(clusters=2), power=power)
    assert finding.effect > 0 and finding.outcome == "no_power"


def test_what_was_never_hidden_is_told_apart() -> None:
    found = savings(relearned(trained("class", 20, False)), retrained())
    assert found.open and found.p < 0.001
    assert not savings(hiding()[0], retrained()).open


@pytest.mark.parametrize("by", ["accuracy", "loss"])
def test_records_of_known_classes_are_refused(by: str) -> None:
    """Retrained models know others of the kind from the start, and learn nothing from a few."""
    kept = relearned(trained("records", 20, False), "records", by)
    with pytest.raises(InsufficientEvidence, match="there is no power"):
        relearning_finding(kept, retrained("records", by))


def test_what_cannot_be_compared_is_refused() -> None:
    rising, other = curve(0, 0, 0, 0.5, 1), curve(0, 0, 0, 0.7, 1)
    with pytest.raises(InsufficientEvidence, match="2 retrained"):
        savings(rising, [rising, other])
    with pytest.raises(BadData, match="different budgets"):
        savings(curve(0, 0, 0, 0.5, 1, shown=6), [rising, other, other])
    with pytest.raises(InsufficientEvidence, match="4 of 4 retrained models do not reach"):
        savings(rising, [other] * 4, level=2)
    with pytest.raises(InsufficientEvidence, match="4 of 4 retrained models score 0 before"):
        savings(rising, [other] * 4, level=0)
    with pytest.raises(InsufficientEvidence, match="at the same place"):
        savings(rising, [other] * 4)
    with pytest.raises(BadParameter, match="No model is known"):
        relearning_power([], [rising, other, other])
