from __future__ import annotations

import pytest
import torch

from rescind.benchmarks.across import Columns, add_klom, enough
from rescind.benchmarks.readings import FORGET, TEST, Look, Looks
from rescind.metrics.klom import klom

EXAMPLES, CLASSES = 40, 3
LABELS = torch.arange(EXAMPLES) % CLASSES


def looks(seed: int, sure: float = 0.0) -> Looks:
    """A model whose logit of the label is ``sure`` higher."""
    return {FORGET: look(seed, sure), TEST: look(seed + 1_000, sure)}


def look(seed: int, sure: float) -> Look:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(EXAMPLES, CLASSES, generator=generator, dtype=torch.float64)
    logits[torch.arange(EXAMPLES), LABELS] += sure
    return Look({"logits": logits, "labels": LABELS}, {})


def added(seeds: int, references: int = 8) -> tuple[dict[str, Columns], Columns]:
    looked = {
        "sure": [looks(i, sure=6.0) for i in range(seeds)],
        "anew": [looks(100 + i) for i in range(seeds)],
    }
    values: dict[str, Columns] = {name: {} for name in looked}
    against: Columns = {}
    add_klom(values, against, looked, [looks(200 + i) for i in range(references)], "anew")
    return values, against


def slow_margins(at: str, seeds: range, sure: float = 0.0) -> torch.Tensor:
    rows = []
    for seed in seeds:
        logits = looks(seed, sure)[at].outputs["logits"]
        row = []
        for z, label in zip(logits, LABELS.tolist(), strict=True):
            others = torch.cat([z[:label], z[label + 1 :]])
            row.append(z[label] - others.exp().sum().log())
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("at", [FORGET, TEST])
def test_the_median_is_that_of_margins_by_hand(at: str) -> None:
    values, against = added(8)
    theirs = slow_margins(at, range(200, 208))
    for name, ours in (
        ("sure", slow_margins(at, range(8), 6.0)),
        ("anew", slow_margins(at, range(100, 108))),
    ):
        expected = klom(ours, theirs).quantiles[0]
        assert values[name][f"{at} KLOM, median"] == pytest.approx([expected])
    assert against[f"{at} KLOM, median"] == values["anew"][f"{at} KLOM, median"]


def test_models_that_are_surer_are_farther_than_other_seeds() -> None:
    values, against = added(8)
    assert values["sure"]["forget KLOM, median"][0] > against["forget KLOM, median"][0] + 0.1


@pytest.mark.parametrize(("seeds", "references"), [(7, 8), (8, 7)])
def test_with_fewer_than_eight_models_on_a_side_nothing_is_measured(
    seeds: int, references: int
) -> None:
    values, against = added(seeds, references)
    assert values == {"sure": {}, "anew": {}} and against == {}


def test_a_model_without_classes_has_no_margins() -> None:
    tokens = {FORGET: Look({"losses": torch.zeros(4)}, {})}
    assert not enough([tokens] * 8, [tokens] * 8)
