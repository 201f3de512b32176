"""Tensors as safetensors bytes and back: the only form in which tensors are kept."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rescind.core.errors import DamagedArtifact


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Safetensors bytes; equal tensors under equal names give equal bytes."""
    data: bytes = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    return data


def from_bytes(data: bytes) -> dict[str, Tensor]:
    """The tensors of ``to_bytes``.

    Raises:
        DamagedArtifact: the bytes are not safetensors.
    """
    try:
        tensors: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise DamagedArtifact(
            f"{len(data)} bytes are not a snapshot.",
            f"Safetensors cannot read them: {error}.",
            "Restore the artifact or train the order again.",
        ) from error
    return dict(sorted(tensors.items()))  # safetensors yields them in a random order
