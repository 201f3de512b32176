from __future__ import annotations

from typing import Any

import pytest
import torch
from margin_worlds import normal
from torch import Tensor

from rescind.audits import neighbours
from rescind.audits.neighbours import _lowest, centred, nearest_retained
from rescind.core.errors import BadData, BadParameter

N, K = 60, 3
FEATURES = normal(N, 4, seed=0)
LABELS = torch.arange(N) % 3
RETAINED = torch.arange(N) % 5 != 0
QUERIES = torch.tensor([0, 1, 7, 30, 59])


def slow(features: Tensor, k: int = K) -> list[list[int]]:
    """One query after the other, all distances sorted."""
    found = []
    for q in QUERIES.tolist():
        pool = [i for i in range(N) if RETAINED[i] and LABELS[i] == LABELS[q] and i != q]
        far = {i: float(((features[i] - features[q]) ** 2).sum()) for i in pool}
        found.append(sorted(pool, key=lambda i: (far[i], i))[:k])
    return found


@pytest.fixture(params=[(256, 4096), (2, 3), (1, 1)], ids=str, autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "QUERIES", request.param[0])
    monkeypatch.setattr(neighbours, "REFERENCES", request.param[1])


def test_blocks_give_what_sorting_all_distances_gives() -> None:
    assert nearest_retained(FEATURES, LABELS, QUERIES, RETAINED, K).tolist() == slow(FEATURES)


def test_of_equally_near_records_the_first_are_taken() -> None:
    few = torch.randint(2, (N, 2), generator=torch.Generator().manual_seed(1)).double() * 0.1
    assert nearest_retained(few, LABELS, QUERIES, RETAINED, 6).tolist() == slow(few, 6)


def test_a_query_is_compared_with_the_mean_of_its_neighbours() -> None:
    nearest = nearest_retained(FEATURES, LABELS, QUERIES, RETAINED, K)
    values = normal(2, N, seed=2)
    found = centred(values, QUERIES, nearest)
    for model in range(2):
        for i, q in enumerate(QUERIES.tolist()):
            near = [float(values[model, j]) for j in nearest[i].tolist()]
            assert float(found[model, i]) == pytest.approx(float(values[model, q]) - sum(near) / K)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"features": FEATURES[:, 0]}, "shape"),
        ({"features": FEATURES.clone().fill_(float("nan"))}, "NaN"),
        ({"labels": LABELS[1:]}, "labels"),
        ({"labels": LABELS.double()}, "float64"),
        ({"retained": RETAINED.long()}, "retained"),
        ({"queries": torch.tensor([N])}, "queries"),
        ({"queries": torch.tensor([], dtype=torch.long)}, "queries"),
        ({"queries": RETAINED}, r"queries have the shape \(60,\) and the type torch.bool"),
        ({"retained": LABELS != 1}, "Class 1 has 0 retained"),
    ],
)
def test_bad_input_is_told(change: dict[str, Any], match: str) -> None:
    good = {"features": FEATURES, "labels": LABELS, "queries": QUERIES, "retained": RETAINED}
    with pytest.raises(BadData, match=match):
        nearest_retained(**{**good, **change})


def test_a_record_is_no_neighbour_of_its_own() -> None:
    alone = torch.zeros(N, dtype=torch.bool)
    alone[[0, 3, 6]] = True  # of class 0, as the query
    nearest_retained(FEATURES, LABELS, torch.tensor([9]), alone, 3)
    with pytest.raises(BadData, match="has 2 retained records"):
        nearest_retained(FEATURES, LABELS, torch.tensor([3]), alone, 3)


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(BadParameter, match="0 neighbours"):
        nearest_retained(FEATURES, LABELS, QUERIES, RETAINED, 0)


def test_the_lowest_are_those_of_a_stable_sort_ties_included() -> None:
    draw = torch.Generator().manual_seed(0)
    for high in (3, 40, 10_000):  # many ties, some, hardly any
        values = torch.randint(high, (200, 60), generator=draw).double()
        values[torch.rand(values.shape, generator=draw) < 0.05] = torch.inf
        slow = values.sort(dim=1, stable=True).indices[:, :7]
        assert torch.equal(_lowest(values, 7), slow)
