"""What the training loop asks of a model, and which of the two kinds a recipe trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from rescind.core.dataset import Row
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.training import encoder
from rescind.training.encoder import StagedModel
from rescind.training.pretrained import is_adapted
from rescind.training.whole import WholeModel


class TrainedModel(Protocol):
    """A module whose weights come and go as named tensors, block by block.

    ``activations`` are what enters the lowest trained block: computed once, first dimension the
    rows. ``inputs`` are the same with the labels; ``outputs`` takes either.
    """

    task: Task
    module: nn.Module
    n_blocks: int
    first_block: int
    adapted: tuple[int, ...]

    def activations(self, rows: Sequence[Row]) -> dict[str, Tensor]: ...
    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]: ...
    def lift(self, activations: Mapping[str, Tensor], block: int) -> dict[str, Tensor]: ...
    def forward_from(
        self, activations: Mapping[str, Tensor], block: int | None = None
    ) -> Tensor: ...
    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor: ...
    def state(self, blocks: Iterable[int]) -> dict[str, Tensor]: ...
    def load(self, state: Mapping[str, Tensor]) -> None: ...
    def initialise(self, block: int, seed: int) -> None: ...
    def initialise_head(self, seed: int) -> None: ...
    def groups(self, blocks: Iterable[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]: ...
    def set_training(self, blocks: Iterable[int], *, on: bool) -> None: ...
    def frozen(self, blocks: Iterable[int]) -> dict[str, Tensor]: ...


def trained_model(recipe: Recipe) -> TrainedModel:
    """Adapters on a pretrained encoder where the task names one, else all weights of a module.

    Raises:
        BadParameter: the recipe needs more blocks than the encoder has.
        UnsupportedModel: the encoder's blocks cannot be found, adapted or entered.
    """
    return StagedModel(recipe) if is_adapted(recipe.task) else WholeModel(recipe)


def count_blocks(task: Task) -> int:
    """How many blocks can be trained apart: those of the encoder, or the one whole module."""
    return encoder.count_blocks(task) if is_adapted(task) else 1
