"""LoRA on blocks addressed by integer, through PEFT (Hu et al., 2021, arXiv 2106.09685)."""

from __future__ import annotations

import re

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from rescind.core.errors import UnsupportedModel
from rescind.core.run import Lora
from rescind.training.blocks import Blocks

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


def _projections(block: nn.Module, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    linear = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
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
