"""EU-k: train the last k layers from new on the retain set (Goel et al., 2022, 2201.06640)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rescind.core.search import Range
from rescind.methods.base import Work
from rescind.methods.last_layers import LastLayers, last_layers, reinitialise


@dataclass(frozen=True, slots=True, kw_only=True)
class EUk(LastLayers):
    """min over the weights of the last ``k`` layers of E_retain loss, from new draws of the seed.

    The paper's exact unlearning of the last k layers: what they learned is gone, what
    the layers below learned is not. A layer is a module that owns trainable parameters itself,
    counted in the order of the modules. Training starts anew, so it takes more epochs.
    """

    lr: float = 1e-2
    epochs: int = 10

    # ours: what is drawn anew needs larger and more steps than what is only moved
    searched: ClassVar[Mapping[str, Range]] = {
        **LastLayers.searched,
        "lr": Range(1e-3, 1e-1, "log"),
        "epochs": Range(5, 15, "whole"),
    }

    def change(self, work: Work) -> None:
        """Draw anew, then all epochs. Raises ``BadParameter`` for more layers than there are."""
        reinitialise(last_layers(work.model, self.k), self.seed)
        LastLayers.change(self, work)
