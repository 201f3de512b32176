"""Low-rank adapters for the time of an edit (Hu et al., 2021, arXiv 2106.09685), then merged."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from rescind.core.errors import UnsupportedModel


@contextmanager
def low_rank(module: nn.Module, rank: int, seed: int) -> Iterator[None]:
    """Within, each projection W is W + B A with A and B of this rank, and only they may change.

    After, W + B A is the weight, and modules and names are as before. Adapted are all ``nn.Linear``
    and ``Conv1D`` whose weight may change and is used nowhere else: a tied one would change the
    layer that it is tied to. A is drawn from the seed, B is zero. Rank 0 changes nothing.

    Raises:
        UnsupportedModel: the module has adapters already, or no such projection.
    """
    if rank == 0:
        yield
        return
    paths = _projections(module)
    moving = [p for p in module.parameters() if p.requires_grad]
    _inject(module, paths, rank, seed)
    try:
        yield
    finally:
        for path in paths:
            _merge(module, path)
        for parameter in moving:
            parameter.requires_grad_(True)


def _projections(module: nn.Module) -> list[str]:
    layers = dict(module.named_modules())
    adapted = any(isinstance(layer, LoraLayer) for layer in layers.values())
    uses = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    found = [
        path
        for path, layer in layers.items()
        if type(layer) in (nn.Linear, Conv1D)
        and layer.weight.requires_grad
        and uses.count(id(layer.weight)) == 1
    ]
    if adapted or "" in found or not found:
        raise UnsupportedModel(
            "The model has low-rank adapters already."
            if adapted
            else "The model has no linear projection of its own that adapters could lie on.",
            "Not yet: adapters lie on linear layers inside a module, once.",
            "Use lora_rank 0: all that may change is changed.",
        )
    return found


def _inject(module: nn.Module, paths: list[str], rank: int, seed: int) -> None:
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules="|".join(re.escape(path) for path in paths)
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT finds out by itself that a Conv1D holds its weight transposed, and says so each time
        warnings.filterwarnings("ignore", message="fan_in_fan_out", category=UserWarning)
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module)
    module.eval()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(".lora_A." in name or ".lora_B." in name)


def _merge(module: nn.Module, path: str) -> None:
    layer = module.get_submodule(path)
    if not isinstance(layer, LoraLayer):
        raise UnsupportedModel(
            f"PEFT put no adapter on {path}.",
            "The edit would miss a projection that it was to change.",
            "Report the model and the PEFT version as a bug of rescind, and use lora_rank 0.",
        )
    layer.merge()
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer.get_base_layer())
