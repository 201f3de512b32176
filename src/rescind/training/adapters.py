"""LoRA on blocks addressed by integer, through PEFT (Hu et al., 2021, arXiv 2106.09685)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoConfig, AutoModel

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.run import Lora, Recipe
from rescind.training.blocks import Blocks, find_blocks
from rescind.training.pretrained import encoder_folder, encoder_name
from rescind.training.tasks import tokenizer

NAME = "default"  # PEFT's name for the one adapter a module has here


def adapt(
    module: nn.Module, blocks: Blocks, adapted: tuple[int, ...], lora: Lora
) -> dict[int, dict[str, nn.Parameter]]:
    """Put frozen adapters on the adapted blocks and return them as {block: {name: parameter}}.

    Names are canonical, as in "block.5.attention.self.query.lora_A". The projections are given to
    PEFT by their full path: a match by a part of the name would take block 10 for block 1.

    Raises:
        UnsupportedModel: a target is no linear projection of the blocks, or PEFT adapted others.
    """
    wanted = {i: _projections(blocks.modules[i], lora.targets) for i in adapted}
    chosen = {id(layer) for found in wanted.values() for layer in found.values()}
    paths = [name for name, layer in module.named_modules() if id(layer) in chosen]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="|".join(re.escape(path) for path in paths),
    )
    inject_adapter_in_model(config, module, adapter_name=NAME)
    module.requires_grad_(False)
    module.eval()
    parameters = {i: _parameters(blocks.modules[i], i) for i in adapted}
    _check(module, wanted, parameters)
    return parameters


def check_fits(recipe: Recipe) -> None:
    """Refuse targets and a length that the encoder does not have; its weights are not read.

    Raises:
        BadParameter: lists all problems at once.
        UnsupportedModel: the encoder's blocks cannot be found.
    """
    name = encoder_name(recipe.task)
    folder = encoder_folder(name)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        encoder = AutoModel.from_config(config)
    problems = [*_target_problems(find_blocks(encoder).modules[-1], recipe.adapter.targets)]
    length = getattr(recipe.task, "max_length", None)
    if isinstance(length, int):
        # the signs that it puts around a text, and one token of that
        least, most = int(tokenizer(name).num_special_tokens_to_add()) + 1, _most_length(encoder)
        if length < least:
            problems.append(f"max_length is {length}; the tokenizer needs at least {least}")
        if most is not None and length > most:
            problems.append(f"max_length is {length}; the encoder takes at most {most}")
    if problems:
        raise BadParameter(
            f"The recipe does not fit the encoder in {folder.name}: {'; '.join(problems)}.",
            "Nothing was begun.",
            "Correct adapter.targets and task.max_length in the recipe, or take another encoder.",
        )


def _most_length(encoder: nn.Module) -> int | None:
    """How many tokens have a position; None where the configuration sets no limit.

    Encoders like RoBERTa count positions from behind their padding index.
    """
    for name, table in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
            return table.num_embeddings - (
                0 if table.padding_idx is None else table.padding_idx + 1
            )
    found = getattr(encoder.config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def _target_problems(block: nn.Module, targets: tuple[str, ...]) -> Iterator[str]:
    linear = _linear(block)
    missing = [t for t in targets if not any(_named(name, t) for name in linear)]
    if missing:
        yield (
            f"its blocks have no linear projection named {', '.join(missing)} (they have:"
            f" {', '.join(linear)})"
        )


def _linear(block: nn.Module) -> dict[str, nn.Linear]:
    return {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}


def _projections(block: nn.Module, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    linear = _linear(block)
    missing = [t for t in targets if not any(_named(name, t) for name in linear)]
    if missing or not targets:
        raise UnsupportedModel(
            f"The blocks have no linear projection named {', '.join(missing) or '(none given)'}.",
            f"Their linear projections are {', '.join(linear)}.",
            "Set adapter.targets in the recipe to some of these.",
        )
    return {n: m for n, m in linear.items() if any(_named(n, t) for t in targets)}


def _named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _parameters(block: nn.Module, index: int) -> dict[str, nn.Parameter]:
    return {
        f"block.{index}.{name}.{matrix}": getattr(layer, matrix)[NAME].weight
        for name, layer in block.named_modules()
        if isinstance(layer, LoraLayer)
        for matrix in ("lora_A", "lora_B")
    }


def _check(
    module: nn.Module,
    wanted: dict[int, dict[str, nn.Linear]],
    parameters: dict[int, dict[str, nn.Parameter]],
) -> None:
    everywhere = sum(isinstance(layer, LoraLayer) for layer in module.modules())
    as_asked = all(len(parameters[i]) == 2 * len(found) for i, found in wanted.items())
    if not as_asked or everywhere != sum(len(found) for found in wanted.values()):
        raise UnsupportedModel(
            f"PEFT adapted {everywhere} projections, not those of blocks {sorted(wanted)} alone.",
            "A block adapted for one slice would learn from another.",
            "Report the encoder and the PEFT version as a bug of rescind.",
        )
