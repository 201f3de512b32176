"""Tensors of files as blocks of whole numbers, and back; numpy alone."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import BadData, BadParameter, MissingExtra
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.mapped import let_go, mapped
from rescind.proofs.mask_proof.statement import Public
from rescind.zk.lazy import LazyTensors

Tensors = Mapping[str, NDArray[Any]]
Whole = NDArray[np.int64]
BadZip = zipfile.BadZipFile
DIRECTION = 32  # root mean square of g in units
LARGEST = 2**30  # weights that a mask is read for


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file.

    Raises:
        BadParameter: there is no such file.
        BadData: it is no safetensors file.
        MissingExtra: safetensors is not installed.
    """
    return dict(lazy_tensors(path))


def lazy_tensors(path: Path) -> Tensors:
    """The same, each read when it is asked for: gradients are many times the weights.

    Raises:
        BadParameter, BadData, MissingExtra: as ``load_tensors``; BadData also when a tensor is read
            that numpy does not know.
    """
    if find_spec("safetensors") is None:
        raise MissingExtra(
            "safetensors is not installed.",
            "Weights are read from safetensors files.",
            'Type: pip install "rescind[prove]"',
        )
    if not path.is_file():
        raise BadParameter(f"There is no file {path}.", do="Check the path.")
    return LazyTensors(path)


def blocks_of(tensor: NDArray[Any], size: int) -> NDArray[Any]:
    """(blocks, size) of a tensor, row by row, zeros at the end."""
    flat = tensor.reshape(-1)
    found = np.concatenate([flat, np.zeros(-len(flat) % size, dtype=flat.dtype)])
    return found.reshape(-1, size)


def whole(tensors: Tensors, terms: Sequence[TensorTerms], size: int) -> Whole:
    """All weights in units, (blocks, size), mapped.

    Raises:
        BadData: a tensor is missing, of another shape, or holds what is no finite number.
        StorageFailed: there is no room for them in the folder for temporary files.
    """
    found = mapped((sum(t.blocks(size) for t in terms), size), np.int64)
    for t, here in parts_of(terms, size):
        found[here] = blocks_of(_units(_checked(tensors, t, 0), 2.0**t.weight_bits), size)
    let_go(found)
    return found


def whole_gradients(tensors: Tensors, terms: Sequence[TensorTerms], size: int) -> NDArray[np.int8]:
    """All gradients in units, (blocks, n, size), cut off at 127, mapped; n is that of the first.

    Raises:
        BadData, StorageFailed: as ``whole``; a gradient has one dimension more than its weight, the
            first.
    """
    found = np.empty((0, 0, size), dtype=np.int8)
    for t, here in parts_of(terms, size):
        seen = _checked(tensors, t, 1)
        if not here.start:
            found = mapped((sum(t.blocks(size) for t in terms), len(seen), size), np.int8)
        if len(seen) != found.shape[1]:
            raise BadData(
                f"{t.name} has {len(seen)} gradients, and {terms[0].name} {found.shape[1]}.",
                do="Take as many of each tensor.",
            )
        for k, one in enumerate(seen):  # one by one: in units they are eight times as large
            units = np.clip(_units(one, 1 / t.gradient_step), -127, 127).astype(np.int8)
            found[here, k] = blocks_of(units, size)
        let_go(found)
    return found


def parts_of(terms: Sequence[TensorTerms], size: int) -> Iterator[tuple[TensorTerms, slice]]:
    """Each tensor with the places of its blocks."""
    start = 0
    for t in terms:
        yield t, slice(start, start + t.blocks(size))
        start += t.blocks(size)


def whole_direction(tensors: Tensors, terms: Sequence[TensorTerms], size: int) -> NDArray[np.int8]:
    """G in units of a 32nd of each tensor's root mean square, (blocks, size), cut off at 127."""
    found = []
    for t in terms:
        values = _checked(tensors, t, 0).astype(np.float64)
        rms = float(np.sqrt((values**2).mean()))
        units = np.rint(values * (DIRECTION / rms)) if rms > 0 else np.zeros_like(values)
        found.append(blocks_of(np.clip(units, -127, 127).astype(np.int8), size))
    return np.concatenate(found)


def masked(tensors: Tensors, terms: Sequence[TensorTerms], size: int) -> NDArray[np.bool_]:
    """The mask, (blocks, size)."""
    return np.concatenate([blocks_of(_checked(tensors, t, 0) != 0, size) for t in terms])


def floats(values: Whole, terms: Sequence[TensorTerms], size: int) -> dict[str, NDArray[Any]]:
    """The tensors of weights in units, as float32, which holds them exactly."""
    found = {}
    for t, here in parts_of(terms, size):
        flat = values[here].reshape(-1)[: prod(t.shape)]
        exact = flat.astype(np.float64) / 2.0**t.weight_bits
        found[t.name] = exact.astype(np.float32).reshape(t.shape)
    return found


def save_public(path: Path, public: Public) -> None:
    """Write mask and direction."""
    np.savez_compressed(path, mask=public.mask, direction=public.direction)


def load_public(path: Path) -> Public:
    """Mask and direction of a file, whose sizes are looked at before anything is unpacked.

    Raises:
        BadParameter: there is no such file.
        BadData: it holds something else, or more than a mask could.
    """
    if not path.is_file():
        raise BadParameter(f"There is no file {path}.", do="Name the provider's mask.npz.")
    try:
        with zipfile.ZipFile(path) as found:
            mask, direction = _array(found, "mask", "?"), _array(found, "direction", "b")
    except (ValueError, OSError, KeyError, EOFError, RuntimeError, zlib.error, BadZip) as error:
        raise BadData(f"{path} holds no mask: {str(error)[:80]}.") from error
    return Public(mask, direction)


def _array(found: zipfile.ZipFile, name: str, kind: str) -> NDArray[Any]:
    """One array of two dimensions; a hostile file of a few kilobytes could unpack to terabytes."""
    with found.open(f"{name}.npy") as source:
        version = np.lib.format.read_magic(source)
        if version != (1, 0):
            raise ValueError(f"{name} is of another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(source)
        if dtype.char != kind or len(shape) != 2 or fortran:
            raise ValueError(f"{name} is no array of blocks")
        count = prod(shape)
        if not 0 < count <= LARGEST:
            raise ValueError(f"{name} has {count} numbers, and a mask at most {LARGEST}")
        data = source.read(count)
        if len(data) != count or source.read(1):
            raise ValueError(f"{name} has not {count} numbers")
    values = np.frombuffer(data, dtype=np.uint8)
    if kind == "?" and bool((values > 1).any()):
        raise ValueError(f"{name} holds what is neither 0 nor 1")
    return values.view(dtype).reshape(shape)


def _units(values: NDArray[Any], scale: float) -> Whole:
    return np.rint(values.astype(np.float64) * scale).astype(np.int64)


def _checked(tensors: Tensors, terms: TensorTerms, more: int) -> NDArray[Any]:
    values = tensors.get(terms.name)
    if (
        values is None
        or values.shape[more:] != terms.shape
        or values.ndim != len(terms.shape) + more
    ):
        shape = "missing" if values is None else f"of shape {values.shape}"
        raise BadData(
            f"{terms.name} is {shape}; its weight has the shape {terms.shape}.",
            "The terms of the epoch are about this tensor.",
            "Use the model that the epoch is about.",
        )
    if not np.isfinite(values).all():
        raise BadData(
            f"{terms.name} holds what is no finite number.", do="Look for a model that diverged."
        )
    return values
