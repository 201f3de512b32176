"""What may be added to the loss of the one training loop, such as the codes of seeded records.

The loop knows no audit: whoever adds a term implements these protocols. A term is made for one
stage, of what belongs to the cells of that stage alone, so that the snapshot stays a function of
them. Without a term not one operation of the loop is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from rescind.core.partition import Cell


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of the loop, as a term sees it.

    ``step`` counts from 0 in its stage. ``index`` (k,) are the rows of the main batch among those
    of the stage, whose ``activations`` have them as first dimension. ``forward`` takes any of these
    through ``module``, with gradient and in training mode.
    """

    step: int
    index: Tensor
    activations: Mapping[str, Tensor]
    module: nn.Module
    forward: Callable[[Mapping[str, Tensor]], Tensor]


class ExtraTerm(Protocol):
    """A scalar for the loss of some steps of one stage.

    It is a function of its own fields, the moment and torch's generator, which the loop seeds:
    a training is replayed byte for byte.
    """

    def due(self, step: int) -> bool:
        """Whether it is added at this step; at others the loop asks nothing more."""
        ...

    def listen(
        self, module: nn.Module, batch: Mapping[str, Tensor]
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Within, what it needs of the pass of ``batch`` that the loop makes, with its gradient."""
        ...

    def loss(self, moment: Moment, heard: Mapping[str, Tensor]) -> Tensor:
        """What is added to the mean loss of the main batch, with ``heard`` of its pass."""
        ...


class ExtraTerms(Protocol):
    """A term for each stage of an order."""

    def of_stage(self, rows: Mapping[Cell, int], seed: int) -> ExtraTerm | None:
        """The term of a stage, or None where its cells have no part in it.

        Args:
            rows: how many rows each cell of the stage has, in the order in which they follow one
                another in the stage.
            seed: of this stage, for whatever is drawn.
        """
        ...
