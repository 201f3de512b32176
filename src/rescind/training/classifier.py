"""The module behind ``TextClassification``: encoder, mean pooling over tokens, linear head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging

from rescind.core.errors import UnsupportedModel


class TextClassifier(nn.Module):
    """``encoder`` is the pretrained model in evaluation mode; ``head`` starts at zero."""

    def __init__(self, folder: Path, n_labels: int) -> None:
        super().__init__()
        self.encoder = load_encoder(folder)
        self.head = nn.Linear(self.encoder.config.hidden_size, n_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.requires_grad_(False)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (n, labels) of tokens (n, length)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        logits: Tensor = self.head(pooled)
        return logits


def load_encoder(folder: Path) -> Any:
    """A Hugging Face encoder in float32 from safetensors files.

    Raises:
        UnsupportedModel: weights are missing, so that some would be drawn at random.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, told = AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype="float32",
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise UnsupportedModel(
            f"The encoder in {folder.name} cannot be loaded.",
            str(error).splitlines()[0],
            "Use a folder written by save_pretrained with safetensors weights.",
        ) from error
    # the pooler is not used: the mean over tokens takes its place
    missing = sorted(name for name in told["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UnsupportedModel(
            f"The files in {folder.name} lack {len(missing)} weights, first {missing[0]}.",
            "They would be drawn at random, and a replay could not give the same bytes.",
            "Use a complete encoder.",
        )
    return model
