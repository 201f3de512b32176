"""What follows from the numbers of some blocks: sums over gradients, and how often bytes occur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.layout import BYTES
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.turned import blocks

Whole = NDArray[np.int64]
Small = NDArray[np.signedinteger]


def met(gradients: Small, change: Whole, left: Whole) -> Whole:
    """<G_k, D> (lanes, k); G_k times it is added to left (lanes, block), in place."""
    seen = np.empty(gradients.shape[:2], dtype=np.int64)
    if blocks is not None and gradients.dtype == np.int8:
        blocks.meet(gradients, change, seen, left)
        return seen
    wide = gradients.astype(np.int64)
    seen[:] = np.einsum("lki,li->lk", wide, change)
    left += np.einsum("lki,lk->li", wide, seen)
    return seen


def add_bytes(found: Whole, values: Whole, count: int, moved: int = 0) -> None:
    """Count the lowest bytes of values (lanes, r); the highest of them once more if it is moved."""
    if blocks is not None:
        blocks.count(values, count, moved, found)
        return
    bytes_ = [values >> 8 * place & 255 for place in range(count)]
    _add(found, np.concatenate([*bytes_, bytes_[-1] << moved & 255] if moved else bytes_, 1))


def add_signed(found: Whole, values: Small) -> None:
    """Count small numbers (lanes, k, places), each + 128."""
    if blocks is not None and values.dtype == np.int8:
        blocks.count_signed(values, found)
    else:
        _add(found, (values.astype(np.int64) + BYTE_OFFSET).reshape(len(values), -1) & 255)


def _add(found: Whole, bytes_: Whole) -> None:
    for counts, own in zip(found, bytes_, strict=True):
        counts += np.bincount(own, minlength=BYTES)
