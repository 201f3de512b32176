"""The bound against the true minimum, the noise against its theorem, releases against an audit."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from rescind.core.dataset import Record, Split
from rescind.core.errors import (
    BadParameter,
    Diverged,
    InsufficientEvidence,
    Refused,
    UnsupportedModel,
)
from rescind.core.guarantee import Certified
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.methods.base import Work
from rescind.methods.certified_removal import CertifiedRemoval, certify, limit, removal_bound
from rescind.methods.gaussian_mechanism import delta_of, largest_ratio
from rescind.methods.linear_problem import (
    LinearProblem,
    conjugate_gradients,
    linear_layer,
    minimise,
    problem_of,
    set_weights,
    weights,
)
from rescind.testing.epsilon_audit import epsilon_at_least
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.descent import frozen_copy
from rescind.training.modules import CausalLM, Classification, Regression
from rescind.training.whole import WholeModel

L2, SIGMA = 0.02, 0.01
ZOO = "rescind.training.zoo:mlp"
GONE = 12  # the first rows; of classes, all of one
CASES: dict[str, Task] = {
    "classes": Classification(
        ZOO, ("a", "b", "c"), (5,), {"inputs": 5, "outputs": 3, "hidden": ()}
    ),
    "numbers": Regression(ZOO, (5,), 0.5, {"inputs": 5, "outputs": 1, "hidden": ()}),
}


def rows_of(target: str) -> list[dict[str, object]]:
    """Overlapping clouds; what is to be forgotten is all of class a, its numbers too large."""
    draw = torch.Generator().manual_seed(4)
    points = torch.randn(90, 5, generator=draw)
    noise = torch.randn(90, 3, generator=draw)
    label = (points[:, :3] + noise).argmax(dim=1)
    label[:GONE] = 0
    value = points.sum(dim=1) + noise[:, 0]
    value[:GONE] += 3.0
    return [
        {"array": p.tolist(), "label": "abc"[int(c)], "value": float(v)}
        for p, c, v in zip(points, label, value, strict=True)
    ]


def model_of(target: str) -> WholeModel:
    recipe = Recipe(task=CASES[target], method="retrain", partition=Partition(1, 1, 0.1), seed=1)
    model = WholeModel(recipe)
    model.module.requires_grad_(True)
    return model


def brute(model: WholeModel, batch: dict[str, Tensor], l2: float = L2) -> Tensor:
    """The minimum by L-BFGS through the task's own loss in double precision."""
    model = deepcopy(model)
    model.module.double().requires_grad_(True)
    wide = {n: t.double() if t.is_floating_point() else t for n, t in batch.items()}
    found = list(model.module.parameters())
    optimizer = torch.optim.LBFGS(
        found, max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = model.task.loss(model.outputs(wide), wide).mean()
        value = value + l2 / 2 * sum(((p**2).sum() for p in found), start=torch.zeros(()).double())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights(linear_layer(model))


@functools.cache
def _trained(target: str) -> WholeModel:
    """At the minimum on all rows, so that only the forget set keeps it from that on the others."""
    model = model_of(target)
    set_weights(linear_layer(model), brute(model, model.inputs(rows_of(target))))
    return model


def work_on(target: str) -> Work:
    model, rows = deepcopy(_trained(target)), rows_of(target)
    forget, retain = model.inputs(rows[:GONE]), model.inputs(rows[GONE:])
    return Work(model, frozen_copy(model), forget, retain)


@functools.cache
def retrained(target: str) -> Tensor:
    return brute(model_of(target), work_on(target).retain)


# --- the problem, its minimum and the bound ---


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("target", CASES)
def test_gradient_and_hessian_are_those_of_autograd(target: str, bias: bool) -> None:
    model = model_of(target)
    if not bias:
        outputs = 3 if target == "classes" else 1
        model.module = nn.Sequential(nn.Flatten(), nn.Linear(5, outputs, bias=False))
    problem, w = problem_of(model, work_on(target).retain, L2)
    v = torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(0))
    at = w.clone().requires_grad_(True)
    value = problem.losses(at).mean() + L2 / 2 * (at**2).sum()
    [gradient] = torch.autograd.grad(value, at, create_graph=True)
    [moved] = torch.autograd.grad((gradient * v).sum(), at)
    assert torch.allclose(problem.gradient(w), gradient, atol=1e-12)
    assert torch.allclose(problem.hessian(w)(v), moved, atol=1e-12)


@pytest.mark.parametrize("start", ["trained", "far"])
@pytest.mark.parametrize("target", CASES)
def test_the_steps_end_at_the_brute_force_minimum(target: str, start: str) -> None:
    problem, w = problem_of(work_on(target).model, work_on(target).retain, L2)
    w = w + (30.0 if start == "far" else 0.0)
    found = minimise(problem, w, 1e-9, 50)
    assert problem.bound(found) <= 1e-9
    assert float((found - retrained(target)).norm()) < 1e-6


@pytest.mark.parametrize("target", CASES)
@pytest.mark.parametrize("l2", [0.5, 0.02, 0.001])
def test_no_minimum_is_further_away_than_the_bound(target: str, l2: float) -> None:
    work = work_on(target)
    least = brute(model_of(target), work.retain, l2)
    draw = torch.Generator().manual_seed(6)
    for size in (0.0, 1e-4, 1e-2, 1.0, 20.0):
        away = size * torch.randn(least.shape, dtype=least.dtype, generator=draw)
        problem, _ = problem_of(work.model, work.retain, l2)
        bound, distance = problem.bound(least + away), float(away.norm())
        assert distance <= bound + 1e-7, (size, distance, bound)


def test_along_a_direction_without_data_the_bound_is_met_exactly() -> None:
    """So no smaller bound is true."""
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    problem = LinearProblem(x, torch.tensor([0.0, 0.0], dtype=torch.float64), 0.1)
    w = torch.tensor([[0.0, 7.0]], dtype=torch.float64)
    assert problem.bound(w) == pytest.approx(7.0, rel=1e-12)


def test_conjugate_gradients_solve() -> None:
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64, generator=draw)
    matrix, wanted = root @ root.T + torch.eye(6), torch.randn(6, generator=draw).double()
    found = conjugate_gradients(lambda v: matrix @ v, wanted)
    assert float((matrix @ found - wanted).norm()) <= 1e-3 * float(wanted.norm())
    assert not conjugate_gradients(lambda v: matrix @ v, torch.zeros(6)).any()


# --- what is refused ---


@pytest.mark.parametrize("target", CASES)
def test_the_untouched_original_and_a_random_model_are_refused(target: str) -> None:
    work = work_on(target)
    whole = {n: torch.cat([work.forget[n], t]) for n, t in work.retain.items()}
    assert removal_bound(work.original, whole, L2) < 1e-5  # it really is at its own minimum
    allowed = limit(SIGMA, 1.0, 1e-5)
    for model in (work.original, model_of(target)):
        bound = removal_bound(model, work.retain, L2)
        assert bound > 10 * allowed
        with pytest.raises(InsufficientEvidence, match=f"{bound:.3g} from the minimum"):
            certify(model, work.retain, L2, SIGMA, 1.0, 1e-5)
    set_weights(linear_layer(work.model), retrained(target))
    claim = certify(work.model, work.retain, L2, SIGMA, 1.0, 1e-5)
    assert (claim.epsilon, claim.delta) == (1.0, 1e-5)
    assert f"{allowed:.3g}" in claim.assumption


def test_the_claim_does_not_depend_on_the_weights() -> None:
    """A bound that is read beside the release would tell of the weights before the noise."""
    claims = set()
    for steps in (3, 30):
        work = work_on("classes")
        problem, w = problem_of(work.model, work.retain, L2)
        set_weights(linear_layer(work.model), minimise(problem, w, 0.0, steps))
        claims.add(certify(work.model, work.retain, L2, SIGMA, 1.0, 1e-5))
    assert len(claims) == 1


def test_too_few_steps_release_nothing() -> None:
    work = work_on("classes")
    with pytest.raises(InsufficientEvidence, match="more steps"):
        CertifiedRemoval(steps=1, l2=L2, sigma=1e-7).change(work)
    assert weights_equal(work)
    CertifiedRemoval(steps=5, l2=L2, sigma=1e-7).change(work)
    assert not weights_equal(work)


def weights_equal(work: Work) -> bool:
    one, other = (weights(linear_layer(m)) for m in (work.model, work.original))
    return torch.equal(one, other)


class Doubled(nn.Linear):
    """Looks like a linear layer and is none."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


LINEAR = nn.Linear(5, 3)
SQUARE = nn.Linear(5, 5)
MODULES: dict[str, nn.Module] = {
    "two layers": nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)),
    "a bend after it": nn.Sequential(LINEAR, nn.ReLU()),
    "a norm before it": nn.Sequential(nn.LayerNorm(5), LINEAR),
    "a layer of another class": nn.Sequential(Doubled(5, 3)),
    "a container of another class": nn.ModuleList([LINEAR]),
    "weights made from others": nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, 3))),
    "no layer": nn.Sequential(nn.Flatten()),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_not_one_linear_layer_is_refused(name: str) -> None:
    model = model_of("classes")
    model.module = MODULES[name]
    with pytest.raises(UnsupportedModel, match="Never"):
        linear_layer(model)


@pytest.mark.parametrize("module", [LINEAR, nn.Sequential(nn.Identity(), nn.Flatten(), LINEAR)])
def test_one_linear_layer_is_found(module: nn.Module) -> None:
    model = model_of("classes")
    model.module = module
    assert linear_layer(model) is LINEAR


def test_another_loss_and_a_layer_used_twice_are_refused() -> None:
    model, work = model_of("classes"), work_on("classes")
    model.module = nn.Sequential(SQUARE, SQUARE)
    with pytest.raises(UnsupportedModel, match="Not yet"):
        removal_bound(model, work.retain, L2)

    class Smoothed(Classification):
        def loss(self, outputs: Tensor, batch: Any) -> Tensor:
            return nn.functional.cross_entropy(
                outputs, batch["labels"], reduction="none", label_smoothing=0.1
            )

    task = CASES["classes"]
    smooth = Smoothed(task.factory, task.classes, task.shape, task.arguments)  # type: ignore[attr-defined]
    other = WholeModel(Recipe(task=smooth, method="retrain", partition=Partition(1, 1, 0.1)))
    with pytest.raises(UnsupportedModel, match="not the cross entropy"):
        removal_bound(other, work.retain, L2)


def test_texts_are_refused() -> None:
    model, split = handle("classes")
    run = run_of(Recipe(task=CausalLM("rescind.training.zoo:gpt", 16), method="npo"))
    with pytest.raises(UnsupportedModel, match="Never"):
        CertifiedRemoval().unlearn(model, split, run)


def test_inputs_that_are_not_finite_are_refused() -> None:
    work = work_on("numbers")
    work.retain["array"][0, 0] = float("nan")
    with pytest.raises(Diverged):
        CertifiedRemoval().change(work)
    assert weights_equal(work)


WRONG: list[dict[str, Any]] = [
    {"sigma": 0.0},
    {"sigma": math.nan},
    {"l2": 0.0},
    {"steps": 0},
    {"seed": -1},
    {"epsilon": -0.1},
    {"epsilon": 101.0},
    {"epsilon": math.nan},
    {"delta": 0.0},
    {"delta": 1e-11},
    {"delta": 1.0},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_without_a_claim_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        CertifiedRemoval(**wrong)


def test_functions_refuse_the_same() -> None:
    work = work_on("classes")
    with pytest.raises(BadParameter):
        removal_bound(work.model, work.retain, 0.0)
    with pytest.raises(BadParameter):
        limit(0.0, 1.0, 1e-5)


# --- the noise ---


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 2.0, 6.0])
def test_the_delta_is_that_of_the_privacy_loss(ratio: float, epsilon: float) -> None:
    """The integral of max(0, p - e^epsilon q) over two normal densities ``ratio`` apart."""

    def excess(x: float) -> float:
        p, q = stats.norm.pdf(x, ratio), stats.norm.pdf(x)
        return float(max(0.0, p - math.exp(epsilon) * q))

    edge = epsilon / ratio + ratio / 2  # p = e^epsilon q
    wanted, _ = integrate.quad(excess, edge, edge + 40, epsabs=1e-13, epsrel=1e-11, limit=400)
    assert delta_of(ratio, epsilon) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-3), (0.1, 1e-5), (1.0, 1e-5), (8.0, 1e-9), (100.0, 1e-10)]
)
def test_the_largest_ratio_is_allowed_and_no_larger_one(epsilon: float, delta: float) -> None:
    ratio = largest_ratio(epsilon, delta)
    assert delta_of(ratio, epsilon) <= delta < delta_of(ratio * (1 + 1e-6), epsilon)


def test_the_classical_formula_is_worse_below_one_and_false_above() -> None:
    def classical(epsilon: float) -> float:
        return epsilon / math.sqrt(2 * math.log(1.25 / 1e-5))

    assert classical(0.5) < largest_ratio(0.5, 1e-5)
    assert classical(50.0) > largest_ratio(50.0, 1e-5)


@pytest.mark.parametrize("seed", [None, 3])
def test_the_noise_is_normal_of_the_size_that_was_set(seed: int | None) -> None:
    method = CertifiedRemoval(l2=L2, sigma=SIGMA, seed=seed)
    found = []
    for i in range(60):
        work = work_on("classes")
        replace(method, seed=None if seed is None else seed + i).change(work)
        found.append(weights(linear_layer(work.model)) - retrained("classes"))
    every = torch.stack(found).reshape(-1).numpy() / SIGMA
    assert stats.kstest(every, "norm").pvalue > 1e-6
    assert abs(float(every.std()) - 1) < 0.1


def test_a_seed_fixes_the_release_and_none_does_not() -> None:
    def release(seed: int | None) -> Tensor:
        work = work_on("classes")
        CertifiedRemoval(l2=L2, seed=seed).change(work)
        return weights(linear_layer(work.model))

    assert torch.equal(release(0), release(0))
    assert not torch.equal(release(0), release(1))
    assert not torch.equal(release(None), release(None))


# --- the claim, and what releases show ---


def handle(target: str) -> tuple[MemoryModel, Split]:
    records = [Record(str(i), row, "") for i, row in enumerate(rows_of(target))]
    return MemoryModel(deepcopy(_trained(target))), Split(records[:GONE], records[GONE:])


@pytest.mark.parametrize("target", CASES)
def test_what_is_claimed(target: str) -> None:
    model, split = handle(target)
    run = run_of(Recipe(task=CASES[target], method="certified_removal"))
    found = CertifiedRemoval(epsilon=0.5, delta=1e-6, l2=L2).unlearn(model, split, run)
    assert isinstance(found.guarantee, Certified)
    assert (found.guarantee.epsilon, found.guarantee.delta) == (0.5, 1e-6)
    assert found.from_scratch
    seeded = CertifiedRemoval(l2=L2, seed=0).unlearn(model, split, run)
    assert seeded.guarantee.kind == "empirical"
    assert not seeded.from_scratch
    nothing = CertifiedRemoval(l2=L2).unlearn(model, Split((), split.retain), run)
    assert (nothing.guarantee.kind, nothing.parts) == ("empirical", model.parts)
    with pytest.raises(Refused):
        CertifiedRemoval(l2=L2).unlearn(model, Split(split.forget, ()), run)


DRAWS = 300
EPSILON, DELTA = 1.0, 1e-5


def world(release: Callable[[np.random.Generator], Tensor], seed: int) -> Tensor:
    draw = np.random.default_rng(seed)
    return torch.stack([release(draw).reshape(-1) for _ in range(DRAWS)])


def with_noise(w: Tensor, sigma: float = SIGMA) -> Callable[[np.random.Generator], Tensor]:
    return lambda draw: w + sigma * torch.from_numpy(draw.standard_normal(w.shape))


def released(seed: int) -> Tensor:
    work = work_on("classes")
    CertifiedRemoval(l2=L2, sigma=SIGMA, seed=seed, epsilon=EPSILON, delta=DELTA).change(work)
    return weights(linear_layer(work.model)).reshape(-1)


def shown(one: Tensor, other: Tensor) -> float:
    """The claim holds in both directions."""
    return max(epsilon_at_least(one, other, DELTA), epsilon_at_least(other, one, DELTA))


def test_releases_survive_the_audit_and_cheats_do_not() -> None:
    """Each is compared with the brute-force minimum under the same noise."""
    least, original = retrained("classes"), weights(linear_layer(_trained("classes")))
    reference = world(with_noise(least), 1)
    assert shown(torch.stack([released(i) for i in range(DRAWS)]), reference) <= EPSILON
    cheats = {
        "noise, and the bound never looked at": with_noise(original),
        "neither noise nor a step": lambda _: original,
        "the minimum without noise": lambda _: least,
        "ten times the distance that is allowed": with_noise(
            least
            + 10 * limit(SIGMA, EPSILON, DELTA) * (original - least) / (original - least).norm()
        ),
    }
    for name, cheat in cheats.items():
        assert shown(world(cheat, 2), reference) > EPSILON, name


def test_the_audit_never_shows_more_than_there_is() -> None:
    """Of two normal worlds whose epsilon is known; one audit in twenty may, by design."""
    ratio, delta = 1.5, 1e-3
    true = next(e / 100 for e in range(2000) if delta_of(ratio, e / 100) <= delta)
    draw = np.random.default_rng(0)
    found = []
    for _ in range(20):
        one, other = (torch.from_numpy(draw.normal(m, 1, (200, 1))) for m in (ratio, 0.0))
        found.append(epsilon_at_least(one, other, delta))
    assert sum(one > true for one in found) <= 3
    assert np.median(found) > 0.5  # and it shows something


def test_an_audit_of_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadParameter):
        epsilon_at_least(torch.zeros(4, 2), torch.zeros(4, 3), 0.0)
    with pytest.raises(BadParameter):
        epsilon_at_least(torch.zeros(3, 2), torch.zeros(3, 2), 0.0)
