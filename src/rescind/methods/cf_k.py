"""CF-k: fine-tune the last k layers on the retain set (Goel et al., 2022, arXiv 2201.06640)."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.methods.last_layers import LastLayers


@dataclass(frozen=True, slots=True, kw_only=True)
class CFk(LastLayers):
    """min over the weights of the last ``k`` layers of E_retain loss, from the weights as they are.

    The paper's catastrophic forgetting of the last k layers. A layer is a module that
    owns trainable parameters itself, counted in the order of the modules.
    """
