"""What is measured of a regressor: errors and their distributions, features, agreement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.benchmarks.class_measures import likeness
from rescind.benchmarks.groups import GROUP, by_group
from rescind.benchmarks.readings import FORGET, RETAIN, TEST, Batch, Look, Looks, Values
from rescind.core.task import Task
from rescind.metrics import membership, regression

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class NumberMeasures:
    """For tasks that answer with a number; all errors are in the units of the target.

    ``groups`` are the subgroups of the test set that have an error of their own.
    """

    groups: tuple[str, ...] = ()

    def reduce(self, task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Predictions and targets (n,), which answers are within the tolerance, subgroups."""
        more = {GROUP: batch[GROUP]} if GROUP in batch else {}
        right = task.score(outputs, batch)
        return {"numbers": outputs, "targets": batch["labels"], "right": right, **more}

    def alone(self, looks: Looks) -> Values:
        """Error, bias, quantiles of the error, right answers, membership by error; by subgroup."""
        found: Values = {}
        for name in (FORGET, RETAIN, TEST):
            found |= _outputs(name, looks[name])
        inside, outside = (-(_errors(looks[name]) ** 2) for name in (FORGET, TEST))
        found["membership by error"] = membership.auc(inside, outside)
        return found | self._paid(looks[TEST])

    def beside(self, looks: Looks, retrained: Looks) -> Values:
        """Distances of the distributions of errors, of the predictions, and CKA."""
        found: Values = {}
        for name in (FORGET, TEST):
            ours, theirs = looks[name], retrained[name]
            pair = _errors(ours), _errors(theirs)
            found[f"{name} errors, Kolmogorov-Smirnov"] = regression.kolmogorov_smirnov(*pair)
            found[f"{name} errors, Wasserstein"] = regression.wasserstein(*pair)
            numbers = ours.outputs["numbers"], theirs.outputs["numbers"]
            found[f"{name} rms difference to retrained"] = regression.rmse(*numbers)
        return found | likeness(looks, retrained)

    def _paid(self, test: Look) -> Values:
        if not self.groups:
            return {}
        squares, place = _errors(test) ** 2, test.outputs[GROUP]
        return by_group(
            f"{TEST} rmse", squares, place, self.groups, lambda each: float(each.mean().sqrt())
        )


def _errors(seen: Look) -> Tensor:
    return regression.errors(seen.outputs["numbers"], seen.outputs["targets"])


def _outputs(name: str, seen: Look) -> Values:
    pair = seen.outputs["numbers"], seen.outputs["targets"]
    quantiles = regression.absolute_error_quantiles(*pair)
    return {
        f"{name} rmse": regression.rmse(*pair),
        f"{name} mean error": regression.bias(*pair),
        **{
            f"{name} absolute error, {100 * level:g} %": value
            for level, value in zip(regression.LEVELS, quantiles, strict=True)
        },
        f"{name} within tolerance": float(seen.outputs["right"].mean()),
    }
