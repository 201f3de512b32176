"""A pretrained encoder that is trained in stages, some blocks at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rescind.core.dataset import Row
from rescind.core.errors import DamagedArtifact, UnsupportedModel
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.training.adapters import adapt
from rescind.training.batches import pieces
from rescind.training.blocks import find_blocks
from rescind.training.layout import adapted_blocks
from rescind.training.pretrained import encoder_digest, encoder_folder, encoder_name

__all__ = ["StagedModel", "count_blocks", "encoder_digest"]

ROWS = 64  # rows a forward without gradients takes at once; part of what fixes the bytes


class StagedModel:
    """The base is frozen in evaluation mode; adapters lie on the adapted blocks only.

    Adapters not loaded are zero and change nothing. ``first_block`` is the lowest adapted block:
    what enters it depends on no trained weight, so it is computed once and cached.

    Raises:
        BadParameter: the recipe needs more blocks than the encoder has.
        UnsupportedModel: the encoder's blocks cannot be found, adapted or entered.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.task = recipe.task
        self.module = self.task.build()
        self.head = _part(self.module, "head")
        self.blocks = find_blocks(_part(self.module, "encoder"))
        self.n_blocks = len(self.blocks.modules)
        self.adapted = adapted_blocks(recipe, self.n_blocks)
        self.first_block = self.adapted[0]
        self.adapters = adapt(self.module, self.blocks, self.adapted, recipe.adapter)
        self.load({})
        self._check_entry()

    def activations(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """``hidden`` (n, length, width), entering ``first_block``, and ``attention_mask``.

        Rows are taken in the given order, ``ROWS`` at a time: the same rows in the same order
        give the same bytes, a subset of them need not.
        """
        batches = [
            self.task.batch(rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)
        ]
        with torch.no_grad():
            hidden = [
                self.blocks.entering(self.first_block, partial(self.forward, batch))
                for batch in batches
            ]
        mask = torch.cat([batch["attention_mask"] for batch in batches])
        return {"hidden": torch.cat(hidden), "attention_mask": mask}

    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """``activations`` and ``labels`` (n,)."""
        return self.activations(rows) | {"labels": self.task.batch(rows)["labels"]}

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Outputs (n, ...) of ``inputs``."""
        return self.forward_from(batch)

    def lift(self, activations: Mapping[str, Tensor], block: int) -> dict[str, Tensor]:
        """The activations entering a higher block, with the adapters that are loaded now."""
        if block == self.first_block:
            return dict(activations)
        with torch.no_grad():
            hidden = [
                self.blocks.entering(block, partial(self.forward_from, piece))
                for piece in pieces(activations, ROWS)
            ]
        return {**activations, "hidden": torch.cat(hidden)}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Outputs (n, ...) of the whole model, from tokens."""
        return self.task.outputs(self.module, batch)

    def forward_from(self, activations: Mapping[str, Tensor], block: int | None = None) -> Tensor:
        """Outputs (n, ...) of the blocks from ``block`` (else ``first_block``) on and the head."""
        start = self.first_block if block is None else block
        mask = activations["attention_mask"]
        with self.blocks.starting_at(start, activations["hidden"]):
            # the embeddings of these ids are computed and dropped: a lookup, cheap beside a block
            outputs: Tensor = self.module(torch.zeros_like(mask), mask)
        return outputs

    def state(self, blocks: Iterable[int]) -> dict[str, Tensor]:
        """Copies of the adapters of these blocks and of the head, under canonical names."""
        return {name: p.detach().clone() for name, p in self._named(blocks).items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set every adapter and the head: as in ``state``, and zero where it has none.

        Raises:
            DamagedArtifact: a tensor that this model has no place for.
        """
        places = self._named(self.adapted)
        wrong = [n for n, t in state.items() if n not in places or places[n].shape != t.shape]
        if wrong:
            raise DamagedArtifact(
                f"The snapshot has {wrong[0]}, for which this model has no place.",
                "It was made with another encoder or recipe.",
                "Load it with the recipe of its run.",
            )
        with torch.no_grad():
            for name, parameter in places.items():
                parameter.copy_(state[name]) if name in state else parameter.zero_()

    def initialise(self, block: int, seed: int) -> None:
        """LoRA's start: A uniform within 1 / sqrt(width), B zero, so that nothing changes yet."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.adapters[block].items():
            bound = 0.0 if name.endswith("lora_B") else 1.0 / math.sqrt(parameter.shape[1])
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def initialise_head(self, seed: int) -> None:
        """Weights uniform within 1 / sqrt(width), bias zero."""
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.head.parameters():
            bound = 1.0 / math.sqrt(parameter.shape[1]) if parameter.dim() > 1 else 0.0
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def groups(self, blocks: Iterable[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The adapters of these blocks, and the head."""
        adapters = [p for i in sorted(blocks) for p in self.adapters[i].values()]
        return adapters, list(self.head.parameters())

    def set_training(self, blocks: Iterable[int], *, on: bool) -> None:
        """Gradients and dropout of these adapters and the head; the base stays in evaluation."""
        blocks = sorted(blocks)
        for parameter in (p for group in self.groups(blocks) for p in group):
            parameter.requires_grad_(on)
            parameter.grad = None
        for index in blocks:
            for name, layer in self.blocks.modules[index].named_modules():
                if name.endswith("lora_dropout"):
                    layer.train(on)

    def frozen(self, blocks: Iterable[int]) -> dict[str, Tensor]:
        """Copies of all tensors that a training of these blocks must not change."""
        moving = {id(p) for group in self.groups(blocks) for p in group}
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        return {name: t.detach().clone() for name, t in named if id(t) not in moving}

    def _named(self, blocks: Iterable[int]) -> dict[str, nn.Parameter]:
        found = {n: p for i in sorted(set(blocks)) for n, p in self.adapters[i].items()}
        return found | {f"head.{n}": p for n, p in self.head.named_parameters()}

    def _check_entry(self) -> None:
        ids = torch.ones(2, 3, dtype=torch.long)
        batch = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
        self.initialise_head(0)  # a zero head would give equal outputs whatever it is given
        with torch.no_grad():
            hidden = self.blocks.entering(self.first_block, partial(self.forward, batch))
            whole, again = self.forward(batch), self.forward_from({**batch, "hidden": hidden})
        self.load({})
        if not torch.equal(whole, again):
            raise UnsupportedModel(
                f"The encoder gives other values when it starts at block {self.first_block}.",
                "Not yet: its blocks depend on more than the hidden state before them.",
                "Use an encoder such as BERT, RoBERTa, DistilBERT, ELECTRA or ModernBERT.",
            )


def count_blocks(task: Task) -> int:
    """How many transformer blocks the task's encoder has, without reading its weights.

    Raises:
        UnsupportedModel: the blocks cannot be found.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(encoder_folder(encoder_name(task)), local_files_only=True)
    with torch.device("meta"):
        return len(find_blocks(AutoModel.from_config(config)).modules)


def _part(module: nn.Module, name: str) -> nn.Module:
    if name not in dict(module.named_children()):
        raise UnsupportedModel(
            f"The model of the task has no part {name!r}.",
            "Not yet: training in stages needs an encoder and a head.",
            f"Build a module with the attributes 'encoder' and 'head' (here: {name!r}).",
        )
    return module.get_submodule(name)
