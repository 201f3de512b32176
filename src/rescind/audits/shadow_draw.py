"""Which records each shadow model is trained on: keyed draws of halves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rescind.core.canonical import digest
from rescind.core.errors import BadParameter
from rescind.core.run import Recipe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ShadowDraw:
    """Which of ``records`` rows each of ``models`` shadow models is trained on: a random half.

    The half of model i follows from ``seed`` and i alone, so that more models later change none of
    the earlier ones. Halves are independent: a record is inside in half of the models on average.
    Pairs of complementary halves would make that exact, and they would be wrong: the partner of a
    model that is held out tells what it saw. The rows of ``group`` stay together: models 0, 2, 4
    and so on see all of them and the others none, which are at least ``without``.

    Where half as many records as the audited model saw move margins, more records are needed.

    Raises:
        BadParameter: too few records or models, or a group that is half of the records or names a
            row twice.
    """

    records: int
    models: int
    seed: int = 0
    group: tuple[int, ...] = ()
    without: int = 0

    def __post_init__(self) -> None:
        problems, never = [], self.models // 2 if self.group else 0
        if self.models < 1:
            problems.append(f"models is {self.models}; there must be one")
        if self.records < 4:
            problems.append(f"records is {self.records}; two halves need four or more")
        known = set(self.group) <= set(range(self.records))
        if len(set(self.group)) < len(self.group) or not known:
            problems.append("group must name rows, each once")
        if 2 * len(self.group) >= max(1, self.records - 1):
            problems.append(f"group has {len(self.group)} rows; it must be less than half")
        if self.without > never:
            problems.append(f"without is {self.without}, and {never} models see none of the group")
        if problems:
            raise BadParameter(
                f"No shadow models can be drawn: {'; '.join(problems)}.",
                do="Use more records, and twice as many models as must not see the group.",
            )

    def rows(self, model: int) -> Tensor:
        """Sorted row numbers (records // 2,) of one model."""
        import torch

        generator = torch.Generator().manual_seed(_key("half", self.seed, model))
        order = torch.randperm(self.records, generator=generator)
        group = torch.tensor(self.group, dtype=torch.long)
        others, own = order[~torch.isin(order, group)], group[: 0 if model % 2 else None]
        return torch.cat([own, others[: self.records // 2 - len(own)]]).sort().values

    def seen(self) -> Tensor:
        """Which model is trained on which record, boolean (models, records)."""
        import torch

        found = torch.zeros(self.models, self.records, dtype=torch.bool)
        for model in range(self.models):
            found[model, self.rows(model)] = True
        return found

    def recipe(self, recipe: Recipe, model: int) -> Recipe:
        """The recipe with a training seed of that model's own."""
        return replace(recipe, seed=_key("training", self.seed, model))


def _key(what: str, seed: int, number: int) -> int:
    """A seed below 2**60 for one draw, as ``training.determinism.stage_seed``."""
    return int(digest(["rescind shadows", what, seed, number])[:15], 16)
