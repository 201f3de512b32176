"""Measures that take long: relearning, probes on features, how firm a CKA is. Reported apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescind.benchmarks.cells import Made
from rescind.benchmarks.class_measures import flat
from rescind.benchmarks.readings import DOWN_LABELS, DOWNSTREAM, FORGET, Look, Looks, Values
from rescind.benchmarks.sets import Sets
from rescind.metrics import cka_bootstrap
from rescind.metrics.features import PENULTIMATE
from rescind.metrics.linear_probe import probe
from rescind.metrics.relearning import Budget, few, relearn

if TYPE_CHECKING:
    from torch import Tensor, nn

SHARE = 0.1  # of the forget examples is shown again
BUDGET = Budget(steps=32, lr=1e-3)
KNOWN = 4  # of five downstream examples train the probe


def deep_columns(
    sets: Sets, models: Sequence[Made], looks: Sequence[Looks], retrained: Sequence[Looks]
) -> dict[str, list[float]]:
    """The deep measures of each model; CKA's interval is half its width, beside one other model."""
    rows = []
    for made, look in zip(models, looks, strict=True):
        other = next(r for r in retrained if r is not look)
        rows.append(
            {
                **_relearned(sets, made),
                **_probed(look),
                **_firmness(look[FORGET], other[FORGET]),
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0] if all(name in r for r in rows)}


def _relearned(sets: Sets, made: Made) -> Values:
    """Mean score on unseen forget examples while a tenth of them is learned again, and at step 0.

    Nothing where fewer than ten are to be forgotten.
    """
    from rescind.training.device import beside

    forget = sets.batches[FORGET]
    if len(next(iter(forget.values()))) < 1 / SHARE:
        return {}
    shown, held_out = few(forget, SHARE, seed=0)
    task = sets.task

    def loss(module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return task.loss(task.outputs(module, batch), dict(batch))

    def score(module: nn.Module, batch: Mapping[str, Tensor]) -> float:
        if task.target == "tokens":
            return -float(loss(module, batch).mean())
        return float(task.score(task.outputs(module, batch), dict(batch)).mean())

    module = made.model.module
    curve = relearn(module, loss, score, beside(module, shown), beside(module, held_out), BUDGET)
    return {"relearning: mean score": curve.area, "relearning: score before": curve.start}


def _probed(looks: Looks) -> Values:
    """Accuracy of a linear probe on each downstream set, every fifth example held out."""
    found = {}
    for name, seen in looks.items():
        if name.startswith(DOWNSTREAM):
            features, labels = seen.features[PENULTIMATE], seen.outputs[DOWN_LABELS]
            held = [i for i in range(len(labels)) if i % (KNOWN + 1) == 0]
            known = [i for i in range(len(labels)) if i % (KNOWN + 1)]
            result = probe(features[known], labels[known], features[held], labels[held])
            found[f"linear probe {name.removeprefix(DOWNSTREAM)}"] = result.accuracy
    return found


def _firmness(one: Look, other: Look) -> Values:
    """Half the width of CKA's interval; nothing where the examples are too few to tell."""
    features = one.features[PENULTIMATE], other.features[PENULTIMATE]
    if len(features[0]) < cka_bootstrap.FEWEST or any(map(flat, features)):
        return {}
    found = cka_bootstrap.interval(*features)
    return {"half-width of CKA's interval": (found.high - found.low) / 2}
