from __future__ import annotations

import importlib
import math
from collections import Counter, defaultdict

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics import knn_transfer as knn


def features(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(n: int, classes: int, seed: int) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def slow(references: Tensor, classes: Tensor, queries: Tensor, k: int) -> list[int]:
    """One query after the other, all similarities sorted."""
    found = []
    for q in queries:
        cosine = [float(q @ r) / math.sqrt(float(q @ q) * float(r @ r)) for r in references]
        # rounding must not tear exact ties apart
        order = sorted(range(len(cosine)), key=lambda i: (-round(cosine[i], 12), i))[:k]
        votes = Counter(int(classes[i]) for i in order)
        near: dict[int, float] = defaultdict(float)
        for i in order:
            near[int(classes[i])] += cosine[i]
        found.append(min(votes, key=lambda c: (-votes[c], -round(near[c], 12), c)))
    return found


@pytest.fixture(params=[(1024, 8192), (7, 11), (1, 1), (40, 3)], ids=str)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "QUERIES", request.param[0])
    monkeypatch.setattr(knn, "REFERENCES", request.param[1])


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 2, 5, 60])
def test_blocks_give_what_the_whole_matrix_gives(k: int) -> None:
    r, q, c = features(60, 6, 0), features(40, 6, 1), labels(60, 4, 2)
    r[:20] *= 100  # length does not matter
    expected = slow(r, c, q, k)
    assert knn.classify(r, c, q, k).tolist() == expected
    assert len(set(expected)) > 1 or k == 60
    truth = labels(40, 4, 3)
    hits = sum(e == t for e, t in zip(expected, truth.tolist(), strict=True))
    assert knn.accuracy(r, c, q, truth, k) == pytest.approx(hits / 40)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_ties_are_settled_as_promised_in_any_blocks(k: int) -> None:
    # few directions, many copies: whole numbers whose cosines are exact
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    r, c = axes[labels(60, 6, 0)] * 2, labels(60, 3, 1)
    q = axes[labels(40, 6, 2)] * 4
    assert knn.classify(r, c, q, k).tolist() == slow(r, c, q, k)
    index, best = knn.neighbours(r, q, k)
    for i, row in enumerate((q @ r.T / 8).tolist()):
        order = sorted(range(60), key=lambda j: (-row[j], j))[:k]
        assert index[i].tolist() == order
        assert best[i].tolist() == [row[j] for j in order]


def angle(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


VOTES = [
    # angles of the references from the query, their labels, the winner
    ([1, 2, 30, 40, 50], [7, 7, 4, 4, 4], 4),  # three votes beat two nearer ones
    ([1, 30, 31, 50, 51], [9, 4, 9, 4, 2], 9),  # two each: the nearer sum
    ([1, 40, 20, 21, 90], [4, 4, 9, 9, 2], 9),  # 9: 0.940 + 0.934 > 4: 1.000 + 0.766
    ([1, 20, 20, 1, 90], [9, 9, 4, 4, 2], 4),  # equal sums: the smaller label
    ([100, 110, 120, 130, 140], [5, 3, 3, 5, 1], 5),  # similarities below zero
]


@pytest.mark.parametrize(("angles", "classes", "winner"), VOTES)
def test_a_tie_goes_to_the_nearer_sum_and_then_to_the_smaller_label(
    angles: list[float], classes: list[int], winner: int
) -> None:
    r, c = torch.tensor([angle(a) for a in angles]), torch.tensor(classes)
    assert knn.classify(r, c, torch.tensor([[3.0, 0.0]])).tolist() == [winner]


def test_scikit_learn_agrees() -> None:
    r, q, c = features(300, 8, 0), features(200, 8, 1), labels(300, 3, 2)
    r[:, 0] += 1.5 * c
    q[:, 0] += 1.5 * labels(200, 3, 4)
    classifier = importlib.import_module("sklearn.neighbors").KNeighborsClassifier(
        n_neighbors=5, metric="cosine", algorithm="brute"
    )
    theirs = torch.tensor(classifier.fit(r.numpy(), c.numpy()).predict(q.numpy()))
    ours = knn.classify(r, c, q, 5)
    index, _ = knn.neighbours(r, q, 5)
    counts = torch.nn.functional.one_hot(c[index], 3).sum(1)
    clear = (counts == counts.amax(1, keepdim=True)).sum(1) == 1
    assert clear.sum() > 100
    # where two classes tie, scikit-learn takes the smaller label, whichever is nearer
    assert torch.equal(ours[clear], theirs[clear])
    assert not torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_other_precisions_are_taken(dtype: torch.dtype) -> None:
    r, q, c = (
        (features(60, 6, 0) * 8).to(dtype),
        (features(9, 6, 1) * 8).to(dtype),
        labels(60, 4, 2),
    )
    assert knn.classify(r, c, q, 5).tolist() == slow(r.double(), c, q.double(), 5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_features_may_be_large_and_small(size: float) -> None:
    r, q, c = features(60, 6, 0).float(), features(9, 6, 1).float(), labels(60, 4, 2)
    assert torch.equal(knn.classify(r * size, c, q), knn.classify(r, c, q))


def test_it_is_the_same_every_time_and_changes_nothing() -> None:
    r, q, c = features(500, 16, 0).float(), features(100, 16, 1).float(), labels(500, 9, 2)
    before = (r.clone(), q.clone())
    assert torch.equal(knn.classify(r, c, q), knn.classify(r, c, q))
    assert torch.equal(r, before[0])
    assert torch.equal(q, before[1])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32])
def test_labels_of_any_whole_type_are_taken(dtype: torch.dtype) -> None:
    r, q, c = features(60, 6, 0), features(9, 6, 1), labels(60, 2, 2)
    assert torch.equal(knn.classify(r, c.to(dtype), q), knn.classify(r, c, q))


def test_what_is_a_reference_itself_is_found() -> None:
    r, c = features(50, 4, 0), labels(50, 5, 1)
    assert knn.accuracy(r, c, r, c, 1) == 1.0
    assert knn.accuracy(r, c, r, (c + 1) % 5, 1) == 0.0


R, C = features(10, 3, 0), labels(10, 2, 1)
NAN = torch.where(torch.arange(10).unsqueeze(1) == 4, math.nan, R)
BAD = [
    (R[:0], C[:0], R, C, 1, "rows"),
    (R, C, R[:0], C[:0], 1, "rows"),
    (R, C, R[:, :2], C, 1, "same width"),
    (R, C, R[:, 0], C, 1, "same width"),
    (NAN, C, R, C, 1, "reference feature is NaN"),
    (R, C, NAN, C, 1, "query feature is NaN"),
    (R / 0, C, R, C, 1, "infinite"),
    (R * (torch.arange(10) != 6).unsqueeze(1), C, R, C, 1, "Row 6 of the reference"),
    (R, C, R * 0, C, 1, "Row 0 of the query"),
    (R, C[:9], R, C, 1, "10 reference features"),
    (R, C, R, C[:9], 1, "10 query features"),
    (R, C.unsqueeze(1), R, C, 1, "one label"),
    (R, C.double(), R, C, 1, "whole number"),
    (R, C, R, C.double(), 1, "whole number"),
]


@pytest.mark.parametrize(("r", "c", "q", "truth", "k", "said"), BAD)
def test_bad_features_and_labels_are_refused(
    r: Tensor, c: Tensor, q: Tensor, truth: Tensor, k: int, said: str
) -> None:
    with pytest.raises(BadData, match=said):
        knn.accuracy(r, c, q, truth, k)


def test_the_row_is_counted_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "REFERENCES", 4)
    with pytest.raises(BadData, match="Row 6 of the reference"):
        knn.classify(R * (torch.arange(10) != 6).unsqueeze(1), C, R, 1)


@pytest.mark.parametrize("k", [0, -1, 11])
def test_more_neighbours_than_references_are_refused(k: int) -> None:
    with pytest.raises(BadParameter, match="between 1 and 10"):
        knn.classify(R, C, R, k)
