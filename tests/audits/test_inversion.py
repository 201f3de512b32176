"""A record read off a linear layer, gradients matched, and pairs that give nothing away."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate

from rescind.audits.finding import Finding
from rescind.audits.inversion import (
    Matching,
    change,
    from_first_layer,
    inversion_finding,
    likeness,
    match_gradient,
)
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence, NoOp

SIDE, RECORDS, TRAINED = 8, 360, 240


def pictures() -> tuple[Tensor, Tensor]:
    """Smooth pictures of three classes, each with a good deal of its own; 120 were never seen."""
    generator = torch.Generator().manual_seed(0)

    def smooth(n: int, side: int) -> Tensor:
        return interpolate(torch.randn(n, 1, side, side, generator=generator), (SIDE, SIDE))

    labels = torch.arange(RECORDS) % 3
    noise = torch.randn(RECORDS, 1, SIDE, SIDE, generator=generator)
    return smooth(3, 2)[labels] + 0.7 * smooth(RECORDS, 4) + 0.1 * noise, labels


def softmax() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3))


def conv() -> nn.Module:
    body = [nn.Conv2d(1, 8, 3, 1, 1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1), nn.Tanh()]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 3))


def loss(module: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(module(x), labels)


def trained(build: Callable[[], nn.Module], seed: int, rows: Tensor) -> nn.Module:
    x, y = pictures()
    torch.manual_seed(seed)
    module = build()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss(module, x[rows], y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    module.zero_grad(set_to_none=True)
    return module.eval()


def ascended(module: nn.Module, row: int, steps: int = 1) -> nn.Module:
    x, y = pictures()
    found = copy.deepcopy(module)
    for _ in range(steps):
        value = loss(found, x[row : row + 1], y[row : row + 1])
        gradients = torch.autograd.grad(value, list(found.parameters()))
        with torch.no_grad():
            for p, gradient in zip(found.parameters(), gradients, strict=True):
                p.add_(0.2 * gradient)
    return found


def without(row: int) -> Tensor:
    rows = torch.arange(TRAINED)
    return rows[rows != row]


def read_off(before: nn.Module, after: nn.Module) -> Tensor:
    moved = change(before, after)
    return from_first_layer(moved["1.weight"], moved["1.bias"])[None]


def matched(before: nn.Module, after: nn.Module, row: int, steps: int = 150) -> Tensor:
    label = pictures()[1][row : row + 1]
    search = Matching(steps=steps, starts=1)
    return match_gradient(before, loss, change(before, after), label, (1, SIDE, SIDE), search)


def judged(inverted: Tensor, row: int, asked: int | None = None) -> Finding:
    """Of an inversion for ``row``, with that record requested or another one."""
    x, y = pictures()
    requested = torch.zeros(RECORDS, dtype=torch.bool)
    requested[row if asked is None else asked] = True
    return inversion_finding(inverted, y[row : row + 1], x, y, requested)


def test_one_record_is_read_off_a_softmax_model_whatever_the_steps() -> None:
    before = trained(softmax, 0, torch.arange(TRAINED))
    for row, steps in ((4, 1), (5, 20)):
        found = read_off(before, ascended(before, row, steps))
        assert torch.allclose(found[0].float(), pictures()[0][row].flatten(), atol=2e-3)
        finding = judged(found, row)
        assert finding.outcome == "residue_found" and finding.p == pytest.approx(1 / 41)
        assert finding.effect > 0.3 and finding.interval[0] > 0 and finding.n == 1


def test_of_several_records_it_is_the_weighted_mean() -> None:
    """By hand: gradients of the bias (1, -1) and (2, 0), their records (1, 0) and (0, 1)."""
    weight = torch.tensor([[1.0, 2.0], [-1.0, 0.0]])
    found = from_first_layer(weight, torch.tensor([3.0, -1.0]))
    assert found.tolist() == pytest.approx([4 / 10, 6 / 10])


def test_a_gradient_is_matched_where_no_layer_can_be_read() -> None:
    before = trained(conv, 1, torch.arange(TRAINED))
    x, y = pictures()
    row = 7
    after = ascended(before, row)
    found = matched(before, after, row)
    wanted = torch.autograd.grad(
        loss(before, x[row : row + 1], y[row : row + 1]), list(before.parameters())
    )
    own = torch.autograd.grad(loss(before, found, y[row : row + 1]), list(before.parameters()))
    flat = [torch.cat([g.flatten() for g in gradients]) for gradients in (own, wanted)]
    assert float(cosine_similarity(flat[0], flat[1], dim=0)) > 0.99
    assert float(likeness(found, y[row : row + 1], x, y)[row]) > 0.8
    assert judged(found, row).outcome == "residue_found"
    assert judged(found, row, asked=row + 3).p > 0.05
    assert not any(p.grad is not None for p in before.parameters())


def test_more_steps_come_no_farther_from_the_gradient() -> None:
    before = trained(conv, 1, torch.arange(TRAINED))
    after = ascended(before, 7)
    x = pictures()[0][7:8]
    few, many = (matched(before, after, 7, steps) for steps in (5, 100))
    assert float((many - x).norm()) < float((few - x).norm())


def test_a_pair_without_the_record_gives_nothing_away() -> None:
    """Another record of the class was removed between the two models."""
    before = trained(softmax, 0, torch.arange(TRAINED))
    found = [
        judged(read_off(before, ascended(before, 3 * i)), 3 * i, 3 * i + 120) for i in range(20)
    ]
    assert sum(f.p < f.level for f in found) <= 3
    assert abs(sum(f.effect for f in found) / 20) < 0.1


def test_retraining_with_another_seed_gives_nothing_away() -> None:
    found = []
    for row in range(12):
        before = trained(softmax, row, torch.arange(TRAINED))
        after = trained(softmax, row + 100, without(row))
        found.append(judged(read_off(before, after), row))
    assert sum(f.p < f.level for f in found) <= 2
    assert {f.outcome for f in found if f.p >= f.level} == {"no_power"}


def test_the_same_model_twice_has_nothing_to_invert() -> None:
    before = trained(softmax, 0, torch.arange(TRAINED))
    with pytest.raises(NoOp, match="nothing to invert"):
        change(before, copy.deepcopy(before))


def test_inversions_at_random_do_not_fire() -> None:
    x, y = pictures()
    generator = torch.Generator().manual_seed(3)
    found = []
    for draw in range(60):
        requested = torch.zeros(RECORDS, dtype=torch.bool)
        requested[torch.randperm(RECORDS, generator=generator)[:6]] = True
        kinds = y[requested].unique()  # type: ignore[no-untyped-call]
        inverted = torch.randn(len(kinds), 1, SIDE, SIDE, generator=generator)
        found.append(inversion_finding(inverted, kinds, x, y, requested, seed=draw))
    assert sum(f.p < 0.05 for f in found) <= 8


def test_who_guesses_the_neighbourhood_has_not_got_the_record() -> None:
    """Tight groups of eight in one class: the middle of a record's group tells of no record."""
    generator = torch.Generator().manual_seed(5)
    middles = torch.randn(60, 16, generator=generator).repeat_interleave(8, 0)
    x = middles + 0.3 * torch.randn(480, 16, generator=generator)
    y, found = torch.zeros(480, dtype=torch.long), []
    for row in range(0, 480, 24):
        requested = torch.arange(480) == row
        like = likeness(middles[row][None], y[:1], x, y)
        assert int((like >= like[row]).sum()) <= 8  # beside others of the class it stands out
        found.append(inversion_finding(middles[row][None], y[:1], x, y, requested))
    assert sum(f.p < f.level for f in found) <= 4
    assert abs(sum(f.effect for f in found) / len(found)) < 0.05


def test_likeness_by_hand() -> None:
    records = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0], [5.0, 5.0]])
    kinds = torch.tensor([0, 0, 0, 1])
    found = likeness(torch.tensor([[1.0, 1.0]]), kinds[:1], records, kinds)
    assert found.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, -1, 0])
    both = likeness(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), kinds[:2], records, kinds)
    assert both.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0])


def test_what_cannot_be_inverted_is_refused() -> None:
    before, other = trained(softmax, 0, torch.arange(TRAINED)), nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(BadData, match="other weights"):
        change(before, other)
    with pytest.raises(BadData, match=r"has no bias \(2,\)"):
        from_first_layer(torch.ones(3, 4), torch.ones(2))
    with pytest.raises(BadData, match="did not change"):
        from_first_layer(torch.ones(3, 4), torch.zeros(3))
    with pytest.raises(BadParameter, match="lr above 0"):
        Matching(lr=0)
    with pytest.raises(BadParameter, match="requires a gradient"):
        matched(copy.deepcopy(before).requires_grad_(False), ascended(before, 1), 1)
    x, y = pictures()
    asked = torch.arange(RECORDS) == 4
    with pytest.raises(InsufficientEvidence, match="Class 1 is requested"):
        inversion_finding(x[:1], y[:1], x, y, asked)
    with pytest.raises(BadData, match="Invert to the shape"):
        inversion_finding(x[4:5, :, :4], y[4:5], x, y, asked)
    with pytest.raises(InsufficientEvidence, match="no p below"):
        few = torch.arange(0, 60)
        inversion_finding(x[4:5], y[4:5], x[few], y[few], asked[few])
