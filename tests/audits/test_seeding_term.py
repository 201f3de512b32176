from __future__ import annotations

from collections import Counter
from itertools import chain
from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.audits.seeding.term import Seeding, half_augmented, loss_term, seeded_batch
from rescind.core.errors import BadData, BadParameter

MATRIX = torch.tensor([[1.0, 0.5, 0.0], [-1.0, 2.0, 1.0]])
CODES = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
TWO = Seeding(bits=2)


def features(seed: int, n: int = 2) -> Tensor:
    found = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return found.requires_grad_()


def slow_bce(rows: Tensor, targets: list[list[float]]) -> float:
    total, count = 0.0, 0
    for row, wanted in zip(rows.tolist(), targets, strict=True):
        for weights, target in zip(MATRIX.tolist(), wanted, strict=True):
            p = 1 / (1 + exp(-sum(w * x for w, x in zip(weights, row, strict=True))))
            total -= target * log(p) + (1 - target) * log(1 - p)
            count += 1
    return total / count


@pytest.mark.parametrize(
    ("weight", "negatives", "smoothing"),
    [(1.0, 0.5, 0.0), (0.3, 2.0, 0.0), (1.0, 0.0, 0.0), (0.5, 0.5, 0.2)],
)
def test_the_term_is_its_formula(weight: float, negatives: float, smoothing: float) -> None:
    own, others = features(0), features(1, 5)
    settings = Seeding(bits=2, weight=weight, negatives=negatives, smoothing=smoothing)
    found = loss_term(own, CODES, others, MATRIX, settings)
    away = slow_bce(others, [[0.5, 0.5]] * 5)
    wanted = [[abs(bit - smoothing / 2) for bit in code] for code in CODES.tolist()]
    expected = weight * (slow_bce(own, wanted) + negatives * away)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("reading", "grows"), [(2.0, True), (2.3, False)])
def test_smoothed_codes_let_features_stop_growing(reading: float, grows: bool) -> None:
    """Codes asked for at .9 are met by readings of log 9, about 2.2; whole ones by none."""
    own, code = torch.tensor([[reading]], requires_grad=True), torch.ones(1, 1)
    smooth = Seeding(bits=1, smoothing=0.2)
    loss_term(own, code, own[:0], torch.ones(1, 1), smooth).backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None and bool(own.grad < 0) is grows


def test_the_gradient_reaches_the_backbone() -> None:
    backbone = nn.Linear(4, 3)
    inputs = torch.ones(2, 4)
    loss_term(backbone(inputs), CODES, backbone(-inputs), MATRIX, TWO).backward()  # type: ignore[no-untyped-call]
    assert backbone.weight.grad is not None and backbone.weight.grad.abs().sum() > 0


def test_unseeded_records_are_drawn_to_no_bit() -> None:
    silent = loss_term(features(0), CODES, torch.zeros(4, 3), MATRIX, TWO)
    loud = loss_term(features(0), CODES, features(3, 4), MATRIX, TWO)
    alone = loss_term(features(0), CODES, torch.zeros(0, 3), MATRIX, TWO)
    assert (silent - alone).item() == pytest.approx(0.5 * log(2))
    assert loud.item() > silent.item()


def test_a_stopped_gradient_is_refused_and_evaluation_is_not() -> None:
    with pytest.raises(BadParameter, match="carry no gradient"):
        loss_term(features(0).detach(), CODES, features(1), MATRIX, TWO)
    with torch.no_grad():
        loss_term(features(0).detach(), CODES, features(1), MATRIX, TWO)


@pytest.mark.parametrize(
    ("own", "codes", "matrix"),
    [
        (features(0, 3), CODES, MATRIX),
        (features(0), CODES[:, :1], MATRIX),
        (features(0), CODES, MATRIX[:1]),
        (features(0), CODES, MATRIX[:, :2]),
        (features(0) * float("inf"), CODES, MATRIX),
    ],
    ids=["records", "bits", "read-out", "width", "infinite"],
)
def test_what_does_not_fit_is_refused(own: Tensor, codes: Tensor, matrix: Tensor) -> None:
    with pytest.raises(BadData):
        loss_term(own, codes, features(1), matrix, TWO)


@pytest.mark.parametrize(
    "bad",
    [
        {"every": 0},
        {"batch": 0},
        {"bits": 257},
        {"bits": 0},
        {"every": 1.5},
        {"weight": 0.0},
        {"weight": float("nan")},
        {"negatives": -0.1},
        {"negatives": float("inf")},
        {"smoothing": -0.1},
        {"smoothing": 1.0},
    ],
)
def test_settings_that_cannot_work_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match=next(iter(bad))):
        Seeding(**bad)


def test_every_fourth_step_is_due() -> None:
    assert [step for step in range(10) if Seeding().due(step)] == [0, 4, 8]


@pytest.mark.parametrize("records", [1, 8, 9, 21])
def test_every_record_is_seeded_in_each_round_in_an_order_of_its_own(records: int) -> None:
    settings = Seeding()
    turns = -(-records // 8)
    drawn = [seeded_batch(settings, records, 4 * i, 3).tolist() for i in range(3 * turns)]
    rounds = [list(chain(*drawn[i * turns : (i + 1) * turns])) for i in range(3)]
    for each in rounds:
        assert Counter(each[:records]) == Counter(range(records))
        # what is left over is filled from the start of the same order
        assert each[records:] == (each[: -records % 8] if records > 8 else [])
    assert all(len(set(batch)) == len(batch) == min(8, records) for batch in drawn)
    assert records < 8 or rounds[0] != rounds[1]
    assert records < 8 or seeded_batch(settings, records, 0, 4).tolist() != drawn[0]
    # a training that is resumed at a later step goes on with the same batches
    assert seeded_batch(settings, records, 4 * (turns + 1), 3).tolist() == drawn[turns + 1]


@pytest.mark.parametrize(("records", "step"), [(0, 0), (5, 1), (5, -4)])
def test_a_batch_that_is_not_due_is_refused(records: int, step: int) -> None:
    with pytest.raises(BadParameter, match=r"Ask settings\.due"):
        seeded_batch(Seeding(), records, step, 0)


@pytest.mark.parametrize(("size", "altered"), [(1, 0), (4, 2), (7, 3)])
def test_half_of_the_batch_is_augmented(size: int, altered: int) -> None:
    batch = {"array": torch.ones(size, 2), "mask": torch.zeros(size)}

    def augment(part: Any) -> Any:
        return {"array": -part["array"], "mask": part["mask"]}

    found = half_augmented(batch, augment)
    assert found["array"][:, 0].tolist() == [1.0] * (size - altered) + [-1.0] * altered
    assert found["mask"].tolist() == [0.0] * size


def test_an_augmentation_of_another_shape_is_refused() -> None:
    for wrong in ({"array": torch.ones(1, 2)}, {"other": torch.ones(2, 2)}):
        with pytest.raises(BadData, match="Let augment return"):
            half_augmented({"array": torch.ones(4, 2)}, lambda part, w=wrong: w)  # type: ignore[misc]
