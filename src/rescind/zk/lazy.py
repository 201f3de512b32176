"""Tensors of a file that are read when they are asked for: gradients are many times the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rescind.core.errors import BadData


class LazyTensors(Mapping[str, NDArray[Any]]):
    """Of a safetensors file that exists; each is read again whenever it is asked for.

    Raises:
        BadData: it is no safetensors file, or holds a tensor that numpy does not know.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: tuple[str, ...] = self._read(lambda file: tuple(file.keys()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The tensor of that name."""
        if name not in self._names:
            raise KeyError(name)
        found: NDArray[Any] = self._read(lambda file: file.get_tensor(name))
        return found

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many."""
        return len(self._names)

    def _read(self, what: Callable[[Any], Any]) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="np") as file:
                return what(file)
        except (SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise BadData(
                f"{self._path} is no safetensors file that numpy reads: {error}."
            ) from error
