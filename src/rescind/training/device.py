"""Where a module lies: on the processor, or on a GPU. Its batches follow it there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rescind.core.errors import BadParameter

PROCESSOR = "cpu"


def checked(name: str) -> str:
    """The device of this name, as torch spells it ("cpu", "cuda", "cuda:1").

    Raises:
        BadParameter: torch does not know it, or this machine does not have it.
    """
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadParameter(
            f"There is no device {name!r} here.",
            f"torch says: {reason}",
            "Leave the device out, and the processor is used.",
        ) from error
    return name


def beside(module: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch on the device of the module; tensors that are there already are not copied."""
    device = next((p.device for p in module.parameters()), torch.device(PROCESSOR))
    return {name: tensor.to(device) for name, tensor in batch.items()}
