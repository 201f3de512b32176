"""Any PyTorch module, all of whose weights are trained: one block, no stage within it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rescind.core.dataset import Row
from rescind.core.errors import DamagedArtifact
from rescind.core.run import Recipe
from rescind.training.device import beside


class WholeModel:
    """The module that the task builds; ``state`` is all its parameters and buffers."""

    n_blocks = 1
    first_block = 0
    adapted: tuple[int, ...] = (0,)

    def __init__(self, recipe: Recipe) -> None:
        self.task = recipe.task
        self.module = _built(self.task.build, recipe.seed)
        self.set_training((), on=False)

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The task's tensors, labels included, beside the module; first dimension the rows."""
        return beside(self.module, self.task.batch(rows))

    def activations(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The task's tensors without the labels: nothing of the module is frozen."""
        return {name: t for name, t in self.inputs(rows).items() if name != "labels"}

    def lift(self, activations: Mapping[str, Tensor], block: int) -> dict[str, Tensor]:
        """The same: there is no block below."""
        return dict(activations)

    def forward_from(self, activations: Mapping[str, Tensor], block: int | None = None) -> Tensor:
        """Outputs (n, ...) of the module."""
        return self.outputs(activations)

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Outputs (n, ...) of the module."""
        return self.task.outputs(self.module, beside(self.module, batch))

    def state(self, blocks: Iterable[int] = ()) -> dict[str, Tensor]:
        """Copies of all parameters and buffers."""
        return {name: t.detach().clone() for name, t in self.module.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set all parameters and buffers; an empty state leaves the module as it is.

        Raises:
            DamagedArtifact: the state is of another module.
        """
        if not state:
            return
        try:
            self.module.load_state_dict(dict(state))
        except RuntimeError as error:
            raise DamagedArtifact(
                "The snapshot does not fit the module.",
                "It was made with another task or recipe.",
                "Load it with the recipe of its run.",
            ) from error

    def initialise(self, block: int, seed: int) -> None:
        """The module as the task builds it when every draw follows from the seed."""
        self.module.load_state_dict(_built(self.task.build, seed).state_dict())

    def initialise_head(self, seed: int) -> None:
        """Nothing: the head was drawn with the rest."""

    def groups(self, blocks: Iterable[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All parameters, and no head with a rate of its own."""
        return list(self.module.parameters()), []

    def set_training(self, blocks: Iterable[int], *, on: bool) -> None:
        """Training or evaluation mode for the module, gradients only in the first."""
        self.module.train(on)
        self.module.requires_grad_(on)
        self.module.zero_grad(set_to_none=True)

    def frozen(self, blocks: Iterable[int]) -> dict[str, Tensor]:
        """No tensor: all may change in training."""
        return {}


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Built under a seed of its own; the generator of the process stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
