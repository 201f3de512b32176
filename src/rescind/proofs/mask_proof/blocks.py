"""Loops over blocks of whole numbers, compiled by numba; ``witness`` says what they give."""

from __future__ import annotations

from typing import Any

import numpy as np

from rescind.proofs.mask_proof.kernels import apart, compiled

TILE = 64  # blocks whose numbers are laid on their side together


@apart
def _dot(a: Any, b: Any) -> Any:
    total = np.int64(0)
    for i in range(a.shape[0]):
        total += np.int64(a[i]) * b[i]
    return total


@apart
def _add_times(total: Any, a: Any, factor: Any) -> None:
    for i in range(total.shape[0]):
        total[i] += np.int64(a[i]) * factor


@compiled
def meet(gradients: Any, change: Any, seen: Any, left: Any) -> None:
    """Seen (n, k) = <G_k, D>, and to left (n, block) is added sum over k of G_k times it."""
    for n in range(gradients.shape[0]):
        for k in range(gradients.shape[1]):
            seen[n, k] = _dot(gradients[n, k], change[n])
            _add_times(left[n], gradients[n, k], seen[n, k])


@compiled
def count(values: Any, bytes_: int, moved: int, found: Any) -> None:
    """Count the lowest bytes of values (n, places) from 0 in found (n, 256); if ``moved`` is not 0
    the highest of them once more, times 2^moved.
    """
    for n in range(values.shape[0]):
        for i in range(values.shape[1]):
            value = values[n, i]
            for _ in range(bytes_):
                byte = value & 255
                found[n, byte] += 1
                value >>= 8
            if moved:
                found[n, (byte << moved) & 255] += 1


@compiled
def count_signed(values: Any, found: Any) -> None:
    """Count small numbers (n, k, places), each + 128, in found (n, 256)."""
    for n in range(values.shape[0]):
        for k in range(values.shape[1]):
            for i in range(values.shape[2]):
                found[n, np.int64(values[n, k, i]) + 128] += 1


@compiled
def turn(values: Any, first: int, into: Any) -> None:
    """Into (places, r, n) = some places from ``first`` of values (n, r, block)."""
    places, rows, _ = into.shape
    for start in range(0, values.shape[0], TILE):
        end = min(start + TILE, values.shape[0])
        for r in range(rows):
            for i in range(places):
                for n in range(start, end):
                    into[i, r, n] = values[n, r, first + i]
