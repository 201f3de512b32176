"""Measures of classifiers that look at more models than one pair: ZRF, and KLOM over all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescind.benchmarks.readings import FORGET, TEST, Looks
from rescind.metrics.klom import MODELS, klom
from rescind.metrics.membership import margin
from rescind.metrics.zrf import zrf

if TYPE_CHECKING:
    from torch import Tensor

Columns = dict[str, list[float]]
TOO_FEW = f"KLOM is not measured: it needs {MODELS} models on each side."


def add_zrf(
    values: Mapping[str, Columns],
    against: Columns,
    looked: Mapping[str, Sequence[Looks]],
    references: Sequence[Looks],
    random: Looks,
) -> None:
    """ZRF on forget examples next to a randomly initialised model, of classifiers only.

    By itself it says nothing: the retrained models' own is what counts.
    """
    if not classifies(random):
        return

    def of(models: Sequence[Looks]) -> list[float]:
        logits = [looks[FORGET].outputs["logits"] for looks in models]
        return [zrf(each, random[FORGET].outputs["logits"]) for each in logits]

    for name, models in looked.items():
        values[name]["forget ZRF"] = of(models)
    against["forget ZRF"] = of(references)


def add_klom(
    values: Mapping[str, Columns],
    against: Columns,
    looked: Mapping[str, Sequence[Looks]],
    references: Sequence[Looks],
    anew: str,
) -> None:
    """Median KLOM to the retrained models on forget and test examples, one figure for all seeds.

    It is not 0 for equal distributions, so that of the row ``anew``, models retrained with other
    seeds, stands beside it. Nothing where a side has fewer than eight models.
    """
    if not enough(looked[anew], references):
        return
    for at in (FORGET, TEST):
        theirs = _margins(references, at)
        for name, models in looked.items():
            median = klom(_margins(models, at), theirs).quantiles[0]
            values[name][f"{at} KLOM, median"] = [median]
        against[f"{at} KLOM, median"] = values[anew][f"{at} KLOM, median"]


def enough(candidates: Sequence[Looks], references: Sequence[Looks]) -> bool:
    """Whether both sides have the models that KLOM needs; only classifiers have margins."""
    return classifies(references[0]) and min(len(candidates), len(references)) >= MODELS


def classifies(looks: Looks) -> bool:
    """Whether the model answers with one of some classes."""
    return "logits" in looks[FORGET].outputs


def _margins(models: Sequence[Looks], at: str) -> Tensor:
    """(models, examples): the label's logit minus the log-sum-exp of the others."""
    import torch

    outputs = [looks[at].outputs for looks in models]
    return torch.stack([margin(each["logits"], each["labels"]) for each in outputs])
