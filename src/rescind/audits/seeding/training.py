"""Codes in a training: what ``train_whole`` and ``train_order`` take to have a model hold them.

After SMS (arXiv 2509.25613), in the form of ``term``. A training gets indices, codes and the
matrix, never the user's key, and each stage those of its own cells alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rescind.audits.seeding.cells import SeededRows
from rescind.audits.seeding.term import Batch, Seeding, half_augmented, loss_term, seeded_batch
from rescind.core.errors import BadData, BadParameter
from rescind.core.partition import Cell
from rescind.metrics.features import MASK, PENULTIMATE, pool

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.training.extra_term import Moment


@dataclass(frozen=True, slots=True, eq=False)
class SeededCells:
    """What ``train_whole`` and ``train_order`` take: codes by cell, and how they are learned.

    ``matrix`` is the user's read-out (bits, width) on ``layer``, which names a submodule or is
    "penultimate"; what it gives is pooled as ``metrics.features`` does, over all tokens where the
    task has no attention mask. ``augment`` alters half of each seeded batch; it draws from torch's
    generator alone.
    """

    cells: Mapping[Cell, SeededRows]
    matrix: Tensor
    settings: Seeding = field(default_factory=Seeding)
    layer: str = PENULTIMATE
    augment: Callable[[Batch], Batch] | None = None

    def without(self, cut: Collection[Cell]) -> SeededCells:
        """Those that are left when cells are cut."""
        return replace(self, cells={c: rows for c, rows in self.cells.items() if c not in cut})

    def of_stage(self, rows: Mapping[Cell, int], seed: int) -> SeedingTerm | None:
        """The term of a stage on these cells, each with its number of rows, one after another.

        Raises:
            BadData: a seeded row that its cell has not.
        """
        import torch

        index, codes, start = list["Tensor"](), list["Tensor"](), 0
        for cell, count in rows.items():
            if (own := self.cells.get(cell)) is not None:
                _refuse_beyond(cell, own, count)
                index.append(own.index + start)
                codes.append(own.codes)
            start += count
        if not index:
            return None
        joined = torch.cat(index), torch.cat(codes)
        return SeedingTerm(*joined, self.matrix, self.settings, seed, self.layer, self.augment)


@dataclass(frozen=True, slots=True, eq=False)
class SeedingTerm:
    """``loss_term`` for the loop: an ``ExtraTerm`` of the seeded rows ``index`` of one stage."""

    index: Tensor
    codes: Tensor
    matrix: Tensor
    settings: Seeding
    seed: int
    layer: str = PENULTIMATE
    augment: Callable[[Batch], Batch] | None = None

    def due(self, step: int) -> bool:
        """As the settings have it."""
        return self.settings.due(step)

    @contextmanager
    def listen(self, module: nn.Module, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """Within, the pooled features (n, width) of a pass of ``batch``, with their gradient.

        ``metrics.features.listen`` is for models in evaluation mode, and its features have none.

        Raises:
            BadParameter: the module has no such layer, or did not run it.
        """
        part, is_input = _find(module, self.layer)
        found, mask = dict[str, "Tensor"](), batch.get(MASK)

        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            # a copy: a later layer may write into it
            found[self.layer] = pool(inputs if is_input else output, mask).clone()

        handle = part.register_forward_hook(hook)
        try:
            yield found
        finally:
            handle.remove()
        if not found:
            raise _no_such_layer(self.layer, "did not run")

    def loss(self, moment: Moment, heard: Mapping[str, Tensor]) -> Tensor:
        """The term of a step: a second pass for the seeded rows that are due, and the main batch
        less all seeded rows as negatives.

        It runs as the main one does, in training mode: batch norm counts it in its statistics.

        Raises:
            BadData: one seeded record, and a module that normalises over the batch.
        """
        import torch

        _refuse_alone(self.index, moment.module)
        at = seeded_batch(self.settings, len(self.index), moment.step, self.seed)
        batch: Batch = {name: t[self.index[at]] for name, t in moment.activations.items()}
        if self.augment is not None:
            batch = half_augmented(batch, self.augment)
        with self.listen(moment.module, batch) as second:
            moment.forward(batch)
        unseeded = heard[self.layer][~torch.isin(moment.index, self.index)]
        seeded = second[self.layer]
        return loss_term(seeded, self.codes[at], unseeded, self.matrix, self.settings)


def _refuse_alone(index: Tensor, module: nn.Module) -> None:
    from torch import nn

    normed = any(isinstance(m, nn.BatchNorm1d) and m.training for m in module.modules())
    if len(index) == 1 and normed:  # a picture has many places to take a variance over
        raise BadData(
            "A single seeded record goes through a module that normalises over the batch.",
            "One row has no variance.",
            "Seed decoys beside it, with another key: choose_decoys(...).",
        )


def _find(module: nn.Module, layer: str) -> tuple[nn.Module, bool]:
    """The submodule, and whether its input is meant."""
    from torch import nn

    if layer != PENULTIMATE:
        known = dict(module.named_modules())
        if layer not in known:
            raise _no_such_layer(layer, "is unknown")
        return known[layer], False
    found = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not found:
        raise _no_such_layer(layer, "means the input of the last nn.Linear, and there is none")
    return found[-1], True


def _no_such_layer(layer: str, why: str) -> BadParameter:
    return BadParameter(
        f"Codes are to be read from the layer {layer!r}, which {why}.",
        "Its features are what holds them.",
        "Name a submodule that the forward pass calls, as named_modules() does.",
    )


def _refuse_beyond(cell: Cell, own: SeededRows, count: int) -> None:
    if int(own.index.max()) >= count:
        raise BadData(
            f"The seeded rows of cell {cell} go up to {int(own.index.max()) + 1}, and it has"
            f" {count} rows.",
            "They were counted in other rows than those that are trained on.",
            "Make them again with seed_cells(...) from the rows that the cell has now.",
        )
