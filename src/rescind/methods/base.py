"""The frame of methods that edit weights; most of them are only a loss.

Their guarantee is ``Empirical``: what is known is what is measured. They work on a model trained
as one part. Sharded models have exact methods that are cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.dataset import Record, Row, Split
from rescind.core.errors import BadParameter, Refused, UnsupportedModel
from rescind.core.guarantee import Empirical
from rescind.core.protocols import Editable, ModelHandle, Unlearned
from rescind.core.run import Order, Recipe, Run
from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.retrain import Retrain

if TYPE_CHECKING:
    from torch import Tensor

ANY: frozenset[Target] = frozenset({"classes", "numbers", "tokens"})
NOT_TRAINED = "nothing was edited: the model was not trained on the records"
CLASSES: frozenset[Target] = frozenset({"classes"})


@dataclass(frozen=True, slots=True)
class Work:
    """What an edit works on: ``model`` is changed in place, ``original`` is a frozen copy.

    ``forget`` and ``retain`` are the tensors of ``Editable.inputs``, first dimension the rows.
    """

    model: Editable
    original: Editable
    forget: dict[str, Tensor]
    retain: dict[str, Tensor]


def edit(
    model: ModelHandle,
    split: Split,
    run: Run,
    serves: frozenset[Target],
    change: Callable[[Work], None],
) -> Unlearned:
    """Load the one part, change it, renew the statistics of its normalisation, and save it.

    Raises:
        UnsupportedModel: the task answers with something else, or the model has several parts.
        Refused: nothing would be left to keep the model useful with.
    """
    from rescind.training.descent import frozen_copy, renew_statistics

    _check(model, split, run, serves)
    if not len(split.forget):  # only test records are to go: no weight has used them
        return Unlearned(model.parts, Empirical(NOT_TRAINED), from_scratch=False)
    part = model.parts[0]
    edited = model.load(part)
    forget, retain = (edited.inputs(_rows(half)) for half in (split.forget, split.retain))
    work = Work(edited, frozen_copy(edited), forget, retain)
    change(work)
    renew_statistics(edited, work.retain)
    claim = Empirical("the weights were edited; what is known is what was measured")
    return Unlearned((model.save(part, edited),), claim, from_scratch=False)


def _rows(records: Sequence[Record]) -> list[Row]:
    return [record.row for record in sorted(records, key=lambda r: r.key)]


def _check(model: ModelHandle, split: Split, run: Run, serves: frozenset[Target]) -> None:
    target = run.recipe.task.target
    if target not in serves:
        raise UnsupportedModel(
            f"The task answers with {target}; this method needs {', '.join(sorted(serves))}.",
            "Never: its loss has no meaning there.",
            "Use another method: `rescind list methods` shows them.",
        )
    if len(model.parts) != 1:
        raise UnsupportedModel(
            f"The model has {len(model.parts)} parts, and this method edits one.",
            "Not yet: each part would need a forget set of its own.",
            "Use the method of the run, which is exact, or train with one shard and one slice.",
        )
    if not len(split.retain):
        raise Refused(
            "The request leaves no record to keep the model useful with.",
            "An edit without a retain set only destroys the weights.",
            "Train a new model on other data.",
        )


class OnePart:
    """Lays a run out as plain training: what edits weights wants a model of one part."""

    __slots__ = ()

    def orders(self, recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
        """One cell, one stage: as plain training. Raises ``BadParameter`` for more cells."""
        return Retrain().orders(recipe, n_blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossUnlearner(OnePart):
    """A method that is a loss on a forget batch and a retain batch, minimised by Adam.

    ``over`` is the set that an epoch goes through. The seed fixes the batches and all draws.
    """

    lr: float = 1e-3
    epochs: int = 1
    batch_size: int = 32
    seed: int = 0

    serves: ClassVar[frozenset[Target]] = ANY
    over: ClassVar[str] = "retain"
    # github.com/OPTML-Group/Unlearn-WorstCase (issue 1) searches 1e-4 to 1e-1 with SGD over ten
    # epochs. Adam's steps do not shrink with the gradient, hence 1e-2; five epochs for the cost.
    searched: ClassVar[Mapping[str, Range]] = {
        "lr": Range(1e-4, 1e-2, "log"),
        "epochs": Range(1, 5, "whole"),
    }

    def __post_init__(self) -> None:
        if not self.lr > 0.0 or self.epochs < 1 or self.batch_size < 1 or self.seed < 0:
            raise BadParameter(
                f"lr is {self.lr}, epochs {self.epochs}, batch_size {self.batch_size}, seed"
                f" {self.seed}.",
                "lr must be above 0, epochs and batch_size at least 1, seed at least 0.",
                "Correct them with --set name=value.",
            )

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Minimise the loss from the weights as they are.

        Raises:
            UnsupportedModel: another kind of target, or a model of several parts.
            Refused: the retain set is empty.
            Diverged: a loss or a gradient was no finite number.
        """
        return edit(model, split, run, self.serves, self.change)

    def change(self, work: Work) -> None:
        """All epochs, in the order that the seed fixes."""
        from rescind.training.descent import descend, pairs

        for epoch in range(self.epochs):
            seed = 1_000 * self.seed + epoch
            steps = pairs(work.forget, work.retain, self.over, self.batch_size, seed)
            descend(work.model, steps, lambda f, r: self.loss(work, f, r), self.lr)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """One number to minimise."""
        raise NotImplementedError
