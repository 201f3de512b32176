from __future__ import annotations

from itertools import combinations

import pytest
import torch
from margin_worlds import normal, world

from rescind.audits.margin_difference import scores
from rescind.audits.strata import Strata, p_high, standardised, stratified
from rescind.audits.subsets import distinct
from rescind.core.errors import BadParameter, InsufficientEvidence


def made(asked: list[list[int]]) -> Strata:
    """Strata whose rows are counted through."""
    sizes = tuple(map(len, asked))
    return Strata(
        torch.arange(sum(sizes)), sizes, torch.tensor([x for each in asked for x in each]).bool()
    )


TWO = made([[1, 0, 0, 1, 0], [0, 0, 1, 0]])


def test_strata_are_cut_without_a_look_at_who_is_requested() -> None:
    """Whatever is requested, a record is in the stratum that it is in for another request."""
    values, kinds = normal(200, seed=1), torch.arange(200) % 2
    eligible, found = torch.arange(200) % 7 != 0, dict[int, tuple[int, ...]]()
    for seed in range(20):
        requested = torch.zeros(200, dtype=torch.bool)
        requested[eligible.nonzero().flatten()[torch.randperm(171)[: seed + 1]]] = True
        cut = stratified(values, kinds, requested, eligible, size=10)
        assert sum(cut.counts) == seed + 1 and 0 not in cut.counts
        assert torch.equal(cut.asked, requested[cut.rows])
        for rows in cut.parts(cut.rows):
            assert len({*kinds[rows].tolist()}) == 1 and bool(eligible[rows].all())
            assert values[rows].diff().min() >= 0 and 8 <= len(rows) <= 12
            for row in rows.tolist():
                assert found.setdefault(row, tuple(rows.tolist())) == tuple(rows.tolist())


def test_all_requests_with_the_same_numbers_are_counted() -> None:
    x = normal(2, 9, seed=3)
    sums = [
        x[:, [*pair, other]].sum(1) for pair in combinations(range(5), 2) for other in range(5, 9)
    ]
    null, seen = torch.stack(sums), x[:, [0, 3, 7]].sum(1)
    expected = (null >= seen - 1e-12).double().mean(0)
    assert p_high(x, TWO, 40, 0, 0.05) == pytest.approx(expected.tolist())
    many = made([[1, 0, 0, 1, 0]] * 4)
    x = normal(1, 20, seed=4)
    assert p_high(x, many, 9_999, 0, 0.05) == pytest.approx(
        p_high(x, many, 10_000, 0, 0.05), abs=0.02
    )


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_drawn_requests_are_all_alike(count: int) -> None:
    found = distinct(10, count, 20_000, torch.Generator().manual_seed(count))
    assert all(len({*row}) == count for row in found[:500].tolist())
    shares = torch.bincount(found.flatten(), minlength=10) / len(found)
    assert shares.tolist() == pytest.approx([count / 10] * 10, abs=0.02)
    if count == 2:
        pairs = found.sort(dim=1).values @ torch.tensor([10, 1])
        each = torch.bincount(pairs)
        assert int((each > 0).sum()) == 45 and float(each[each > 0].min()) > 20_000 / 45 * 0.8


def test_the_level_holds_for_records_that_vary_unequally() -> None:
    """The lowest margins vary most, which groups around each record do not allow for."""
    before, kinds, p = normal(400, seed=0), torch.zeros(400, dtype=torch.long), []
    for seed in range(400):
        requested = torch.zeros(400, dtype=torch.bool)
        order = torch.randperm(400, generator=torch.Generator().manual_seed(seed))
        requested[order[:3]] = True
        cut = stratified(before, kinds, requested, torch.ones(400, dtype=torch.bool))
        noise = normal(400, seed=seed + 1_000) * (-2 * before).exp()
        p += p_high(noise[cut.rows][None], cut, 199, seed, 0.05)
    rejected = float((torch.tensor(p) < 0.05).double().mean())
    assert rejected < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_stratum_is_put_to_its_own_middle_and_spread() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0, 7.0, 7.0, 7.0, 9.0])
    z = standardised(values, TWO)
    assert z[:5].tolist() == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.43], abs=0.01)
    assert z[5:8].tolist() == [0, 0, 0] and z[8] > 1e5  # where nothing else moved, 2 nats are much


def test_a_fall_of_hard_records_counts_and_a_rise_does_not() -> None:
    w = world(40, 7)
    fell, rose = scores(w.question(), w.after(4.0))
    asked = w.question().strata.asked
    assert float(fell[asked].mean()) > 3 * float(fell[~asked].mean())
    assert float(rose[asked].mean()) < float(rose[~asked].mean())


def test_what_could_not_be_significant_is_refused() -> None:
    x = normal(1, 9, seed=3)
    with pytest.raises(InsufficientEvidence, match="3 records among 9"):
        p_high(x, TWO, 99, 0, 0.02)
    with pytest.raises(InsufficientEvidence, match="19 draws"):
        p_high(x, TWO, 19, 0, 0.05)
    with pytest.raises(BadParameter, match="level is 1"):
        p_high(x, TWO, 99, 0, 1.0)
