"""What audits of margins check of rows, classes and masks before they compare anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadData

if TYPE_CHECKING:
    from torch import Tensor


def checked_mask(mask: Tensor, n: int, name: str) -> Tensor:
    """A bool for each of n records, on the processor.

    Raises:
        BadData: another shape or type.
    """
    import torch

    if tuple(mask.shape) != (n,) or mask.dtype != torch.bool:
        raise BadData(
            f"{name} has the shape {tuple(mask.shape)} and the type {mask.dtype}.",
            f"It says yes or no of each of {n} records.",
            f"Pass a bool tensor of shape ({n},).",
        )
    return mask.detach().cpu()


def checked_kinds(labels: Tensor, n: int) -> Tensor:
    """One whole number for each of n records, on the processor.

    Raises:
        BadData: another shape, or no whole numbers.
    """
    if tuple(labels.shape) != (n,) or labels.is_floating_point() or labels.is_complex():
        raise BadData(
            f"The labels have the shape {tuple(labels.shape)} and the type {labels.dtype}.",
            f"Each of the {n} records needs one whole number.",
            "Pass the class numbers of the same records, in the same order.",
        )
    return labels.detach().long().cpu()


def checked_rows(rows: Tensor, n: int, name: str) -> Tensor:
    """Row numbers (q,), at least one, each in 0..n-1.

    Raises:
        BadData: anything else; a mask too, whose values would be taken for the rows 0 and 1.
    """
    import torch

    whole = rows.dim() == 1 and len(rows) > 0 and not rows.is_floating_point()
    whole &= rows.dtype != torch.bool
    if not whole or int(rows.min()) < 0 or int(rows.max()) >= n:
        raise BadData(
            f"The {name} have the shape {tuple(rows.shape)} and the type {rows.dtype}.",
            f"They must be row numbers from 0 to {n - 1}, at least one.",
            "Pass mask.nonzero().flatten() of a mask that holds a record.",
        )
    return rows.detach().long()
