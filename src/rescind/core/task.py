"""All a user must say about a model. Nothing here may hold only for a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rescind.core.dataset import Row

if TYPE_CHECKING:
    from torch import Tensor, nn


class Task(Protocol):
    """A frozen dataclass that can build the model and score a batch; ``kind`` names its class."""

    @property
    def kind(self) -> str: ...

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
