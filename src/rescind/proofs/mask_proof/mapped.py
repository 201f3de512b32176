"""Arrays in files without a name, for the secret numbers of whole models.

The kernel may write their pages out and take the memory back, and ``let_go`` hands them back at
once. What is in such a file is gone with the process, also where that is killed.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rescind.core.errors import StorageFailed


def mapped(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of that shape, in the folder for temporary files (``TMPDIR``).

    Raises:
        StorageFailed: the folder has no room for them. Room is taken before anything is written,
            since a process that writes to a map without room is killed.
    """
    length = prod(shape) * np.dtype(dtype).itemsize
    if not length:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, length)
            else:
                file.truncate(length)
            return np.ndarray(shape, dtype, buffer=mmap.mmap(file.fileno(), length))
    except OSError as error:
        raise StorageFailed(
            f"There is no room for {length:,} bytes in {tempfile.gettempdir()}: {error}.",
            "The numbers of a proof are kept in files without a name while it is made.",
            "Make room there, or name a folder on another disk: TMPDIR=FOLDER rescind zk ...",
        ) from error


def let_go(values: NDArray[Any]) -> None:
    """Hand the pages of a mapped array, or of one that it is a part of, back to the kernel; they
    are read again when they are asked for. Nothing happens to other arrays.
    """
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def copied(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, mapped. Raises as ``mapped``."""
    found = mapped(values.shape, values.dtype)
    found[:] = values
    return found
