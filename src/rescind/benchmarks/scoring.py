"""AGL, AGR and H-LR of a row: of the means over seeds, and of each seed by itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from rescind.benchmarks.result import Mean
from rescind.metrics.cka import normalised
from rescind.metrics.equivalence import mean_interval
from rescind.metrics.scores import Scores, score

Columns = Mapping[str, Sequence[float]]
CKA = "forget CKA to retrained"
NEIGHBOURS = "k-NN "
ACCURACIES = {
    "FA": "forget accuracy",
    "RA": "retain accuracy",
    "TFA": "test forget accuracy",
    "TRA": "test accuracy",
}


def of_means(values: Columns, retrained: Columns, random: Columns) -> Scores:
    """The scores of the mean over seeds of each measure: what the parts that are printed make.

    Args:
        values: the row's, by measure, one a seed.
        retrained: the same of the retrained models.
        random: the same of random weights, the floor of CKA.
    """
    return _score(_means(values), retrained, random)


def of_seeds(values: Columns, retrained: Columns, random: Columns) -> dict[str, Mean]:
    """Each seed's own scores, averaged, by name; without those that are undefined.

    They need not agree with ``of_means``: chance cancels in a mean and not in one seed. Ends of the
    intervals are cut at 0 and 1.
    """
    seeds = [
        _score({name: values[name][i] for name in _read(values)}, retrained, random)
        for i in range(len(values[ACCURACIES["FA"]]))
    ]
    columns = {
        "AGL": [s.agl for s in seeds],
        "AGR": [s.agr for s in seeds if s.agr is not None],
        "H-LR": [s.h_lr for s in seeds if s.h_lr is not None],
    }
    return {name: _mean(each) for name, each in columns.items() if each}


def _score(ours: Mapping[str, float], retrained: Columns, random: Columns) -> Scores:
    theirs = _means(retrained)
    near = [name for name in ours if name.startswith(NEIGHBOURS)]
    return score(
        {key: ours[measure] for key, measure in ACCURACIES.items()},
        {key: theirs[measure] for key, measure in ACCURACIES.items()},
        _on_scale(ours, retrained, random),
        {name: ours[name] for name in near},
        {name: theirs[name] for name in near},
    )


def _on_scale(ours: Mapping[str, float], retrained: Columns, random: Columns) -> float | None:
    """CKA from random weights (0) to retrained models (1), None where there is no scale."""
    if CKA not in ours:
        return None
    return normalised(ours[CKA], random[CKA], retrained[CKA]).value


def _read(values: Columns) -> list[str]:
    """The measures that scores are made of: others may have one figure for all seeds."""
    wanted = (*ACCURACIES.values(), CKA)
    return [name for name in values if name in wanted or name.startswith(NEIGHBOURS)]


def _means(values: Columns) -> dict[str, float]:
    return {name: statistics.fmean(each) for name, each in values.items()}


def _mean(values: Sequence[float]) -> Mean:
    found = mean_interval(values)
    return Mean(statistics.fmean(values), found and (max(found[0], 0.0), min(found[1], 1.0)))
