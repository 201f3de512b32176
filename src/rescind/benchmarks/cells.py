"""Trained and edited models by what they were made from: a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rescind
from rescind.benchmarks.cost import metered
from rescind.core.canonical import build, digest, plain
from rescind.core.dataset import Record
from rescind.core.errors import Diverged, RescindError, UnsupportedModel
from rescind.core.run import Recipe
from rescind.metrics.scores import Cost
from rescind.storage.files import write_durably

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel


@dataclass(frozen=True, slots=True)
class Made:
    """A model, the digest of its weights, and what making it took when it was made."""

    model: TrainedModel
    weights: str
    cost: Cost


@dataclass(frozen=True)
class Rows:
    """Records by the digest of all their content, worked out once."""

    records: Sequence[Record]

    @cached_property
    def digest(self) -> str:
        """Over keys and rows, in their order."""
        return digest([[r.key, plain(r.row)] for r in self.records])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


class Cells:
    """A folder of cells. What a cell is made from names it: recipe, rows, method, seed, version of
    this package and of torch, and another device than the processor. A cell without its ``.json``
    was interrupted and is made again.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        folder.mkdir(parents=True, exist_ok=True)

    def model(self, recipe: Recipe, key: object, make: Callable[[], TrainedModel]) -> Made:
        """The model of a cell, made if it is not there.

        Raises:
            RescindError: it could not be made; a refusal is remembered and raised again.
        """
        from rescind.training.models import trained_model
        from rescind.training.snapshots import from_bytes, to_bytes

        path = self._path(["model", plain(recipe), key])
        weights = path.with_suffix(".safetensors")
        if not path.exists():
            with metered() as meter:
                try:
                    made = make()
                except (Diverged, UnsupportedModel) as error:
                    self._refused(path, error)
                    raise
            data = to_bytes(made.state(made.adapted))
            write_durably(weights, data)
            cost = Cost(
                meter.cpu_seconds, meter.steps, meter.peak_bytes, meter.bytes_read, len(data)
            )
            write_durably(path, json.dumps({"cost": plain(cost)}).encode())
        stored = json.loads(path.read_bytes())
        _raise_again(stored)
        data = weights.read_bytes()
        model = trained_model(recipe)
        model.load(from_bytes(data))
        model.module.to(self.device)
        return Made(model, hashlib.sha256(data).hexdigest(), build(Cost, stored["cost"]))

    def value(self, key: object, make: Callable[[], Any]) -> Any:
        """A plain value, worked out if it is not there.

        Raises:
            RescindError: it could not be; a refusal is remembered and raised again.
        """
        path = self._path(["value", key])
        if not path.exists():
            try:
                found = {"value": make()}
            except (Diverged, UnsupportedModel) as error:
                self._refused(path, error)
                raise
            write_durably(path, json.dumps(found).encode())
        stored = json.loads(path.read_bytes())
        _raise_again(stored)
        return stored["value"]

    def _path(self, key: object) -> Path:
        import torch

        place = [] if self.device == "cpu" else [self.device]
        named = digest([rescind.__version__, torch.__version__, key, *place])
        return self.folder / f"{named}.json"

    def _refused(self, path: Path, error: RescindError) -> None:
        told = {"error": type(error).__name__, "what": error.what, "why": error.why}
        write_durably(path, json.dumps(told | {"do": error.do}).encode())


def _raise_again(stored: dict[str, Any]) -> None:
    kinds: dict[str, type[RescindError]] = {
        "Diverged": Diverged,
        "UnsupportedModel": UnsupportedModel,
    }
    if "error" in stored:
        raise kinds[stored["error"]](stored["what"], stored["why"], stored["do"])
