"""The gradient of each record by itself, many records in one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from rescind.core.protocols import Editable
from rescind.training.descent import Batch, parameters, rows

Loss = Callable[[Editable, Batch], Tensor]
HELD = 2**26  # bytes of single gradients at once; with more, the time goes into fresh memory
MOST = 256  # records at once: a small module's activations are larger than its gradients


def squared_gradients(model: Editable, batch: Batch, loss: Loss) -> list[Tensor]:
    """The sum over the records of the squared gradient, for each parameter that may change.

    ``loss`` gives one number for a batch of one row. A parameter that no loss depends on has zeros.
    """
    found = [torch.zeros_like(p) for p in parameters(model)]
    for piece in gradients(model, batch, loss):
        for total, each in zip(found, piece, strict=True):
            for one in each:  # a square of the whole chunk would be as large again
                total.addcmul_(one, one)
    return found


def gradients(model: Editable, batch: Batch, loss: Loss) -> Iterator[list[Tensor]]:
    """Chunks of records, in order: for each parameter that may change (records, *its shape).

    As many records are taken together as ``HELD`` and ``MOST`` allow. The sums run in another order
    than in a backward pass of one record, so that the last digits differ. Not to be changed in
    place: gradients that are equal by the way the module works may share their memory.
    """
    each = _Together(model, loss)
    size = _records_at_once(parameters(model))
    for start in range(0, rows(batch), size):
        piece = {name: tensor[start : start + size] for name, tensor in batch.items()}
        labels = piece.pop("labels")
        yield each(*piece.values(), names=tuple(piece), labels=labels)


def one_by_one(model: Editable, batch: Batch, loss: Loss) -> list[Tensor]:
    """As one chunk of ``gradients``, with a backward pass for each record."""
    moving = parameters(model)
    single: list[tuple[Tensor, ...]] = []
    for i in range(rows(batch)):
        value = loss(model, {name: tensor[i : i + 1] for name, tensor in batch.items()})
        single.append(torch.autograd.grad(value, moving, materialize_grads=True, allow_unused=True))
    return [torch.stack(each) for each in zip(*single, strict=True)]


def _records_at_once(moving: Sequence[Tensor]) -> int:
    bytes_each = sum(p.numel() * p.element_size() for p in moving)
    return max(1, min(MOST, HELD // max(1, bytes_each)))


class _Together(nn.Module):
    """A chunk in one pass, or record by record once the module has refused that.

    It is a module, and its inputs come by position, for the sake of hooks that count what enters
    the outermost one: inside ``vmap`` the batch looks like a single row.
    """

    def __init__(self, model: Editable, loss: Loss) -> None:
        super().__init__()
        self.alone, self.model, self.loss = _Alone(model, loss), model, loss
        self.refused = False

    def forward(self, *inputs: Tensor, names: tuple[str, ...], labels: Tensor) -> list[Tensor]:
        batch = dict(zip(names, inputs, strict=True)) | {"labels": labels}
        if not self.refused:
            try:
                return self._mapped(batch)
            # vmap raises this for what it cannot map: a branch on a value, as the encoders of
            # transformers have one on the mask of padded tokens, a backward pass written by hand,
            # normalisation by the batch. A fault of the module or the rows shows again below.
            except RuntimeError:
                self.refused = True
        return one_by_one(self.model, batch, self.loss)

    def _mapped(self, batch: Batch) -> list[Tensor]:
        named = self.alone.named_parameters()
        weights = {name: p.detach() for name, p in named if p.requires_grad}

        def value(weights: dict[str, Tensor], row: Batch) -> Tensor:
            found: Tensor = functional_call(self.alone, weights, (row,))
            return found

        # the fused attention of the processor has no rule for vmap, which would loop over records
        with _MatrixConvolution(), sdpa_kernel(SDPBackend.MATH):
            found = vmap(grad(value), in_dims=(None, 0))(weights, batch)
        return list(found.values())


class _Alone(nn.Module):
    """The loss of one row, so that the weights it depends on can be handed in from outside."""

    def __init__(self, model: Editable, loss: Loss) -> None:
        super().__init__()
        self.module, self.model, self.loss = model.module, model, loss

    def forward(self, row: Batch) -> Tensor:
        return self.loss(self.model, {name: t[None] for name, t in row.items()})


class _MatrixConvolution(TorchFunctionMode):
    """Convolutions as products of matrices: mapped, their weights' gradient is then one batched
    product, where torch makes a convolution of as many groups as there are records.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.conv2d:
            return _convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolve(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """As ``torch.nn.functional.conv2d``, (n, c, h, w) to (n, o, h', w')."""
    if groups != 1 or isinstance(padding, str) or images.dim() != 4:
        return functional.conv2d(images, weight, bias, stride, padding, dilation, groups)
    kernel = weight.shape[2:]
    steps, rim, gaps = _pair(stride), _pair(padding), _pair(dilation)
    found = weight.flatten(1) @ functional.unfold(images, kernel, gaps, rim, steps)
    if bias is not None:
        found = found + bias[:, None]
    sides = [
        (images.shape[2 + i] + 2 * rim[i] - gaps[i] * (kernel[i] - 1) - 1) // steps[i] + 1
        for i in (0, 1)
    ]
    return found.reshape(*found.shape[:2], *sides)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
