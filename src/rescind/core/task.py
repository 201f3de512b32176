"""All a user must say about a model. Nothing here may hold only for a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rescind.core.dataset import Row

if TYPE_CHECKING:
    from torch import Tensor, nn


Target = Literal["classes", "numbers", "tokens"]


class Task(Protocol):
    """A frozen dataclass that can build the model and score a batch; ``kind`` names its class."""

    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> Target:
        """What is answered: one of some classes, numbers, or the tokens of a text."""

    def outputs(self, module: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """What ``loss`` and all metrics look at, shape (n, ...); labels in the batch are unused."""

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``BadData`` listing every row problem; what is declared is never fitted."""

    def build(self) -> nn.Module:
        """The untrained model: pretrained base with a fresh head, in evaluation mode."""

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Tensors for these rows, padded to the declared length, first dimension the rows."""

    def loss(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """One number per example, shape (n,)."""

    def score(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """1.0 for each example answered rightly, else 0.0, shape (n,)."""

    def combine(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """What an ensemble answers: outputs of its members, shape (n, ...), by weight."""

    def answers(self, combined: Tensor) -> list[dict[str, Any]]:
        """What a caller is told, one plain dict a row."""
