"""Factories for the tasks of ``modules``: small modules that train on a laptop in seconds, and the
two networks of published tables, which take hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(inputs: int, outputs: int, hidden: Sequence[int] = (64,)) -> nn.Module:
    """Linear layers with ReLU between them; (n, inputs) to (n, outputs)."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = [
        part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], outputs))


def resnet(classes: int, widths: Sequence[int] = (16, 32, 64)) -> nn.Module:
    """A residual network of one basic block a width (He et al., 2015, arXiv 1512.03385), grey
    images (n, 1, h, w) to logits; the stem halves each side twice, so that 28 x 28 is cheap.
    """
    stem = [nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    steps = zip((widths[0], *widths[:-1]), widths, strict=True)
    blocks = [_Residual(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(steps)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)]
    return nn.Sequential(*stem, nn.MaxPool2d(2), *blocks, *tail)


def resnet18(classes: int) -> nn.Module:
    """ResNet-18 (He et al., 2015, arXiv 1512.03385) for colour images of 32 x 32: (n, 3, h, w) to
    logits (n, classes), 11.2 M weights for ten classes.

    The stem is one convolution of 3 x 3 that keeps the size, as papers on CIFAR have it.
    """
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    blocks = [_Residual(a, b, 1 if a == b else 2, normed=True) for a, b in pairwise([64, *widths])]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    return nn.Sequential(*stem, *blocks, *tail)


def resnet50(classes: int) -> nn.Module:
    """ResNet-50 (He et al., 2015, arXiv 1512.03385) for colour images, untrained: (n, 3, h, w) to
    logits (n, classes), 25.6 M weights for a thousand classes. A block halves the size in its
    3 x 3 convolution, as torchvision's does.

    Raises ``ModuleNotFoundError`` where transformers is not installed.
    """
    from transformers import ResNetConfig, ResNetForImageClassification

    module: nn.Module = ResNetForImageClassification(ResNetConfig(num_labels=classes))
    return module


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, normed: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = inside == outside and stride == 1
        skip = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)
        self.skip = nn.Sequential(skip, nn.BatchNorm2d(outside)) if normed and not same else skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, outside, h / stride, w / stride)."""
        found: Tensor = torch.relu(self.body(x) + self.skip(x))
        return found


def vit(classes: int, width: int = 64, depth: int = 6, patch: int = 7, side: int = 28) -> nn.Module:
    """A vision transformer (Dosovitskiy et al., 2020, arXiv 2010.11929) on grey images."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        image_size=side,
        patch_size=patch,
        num_channels=1,
        num_labels=classes,
    )
    module: nn.Module = ViTForImageClassification(config)
    return module


def gpt(vocabulary: int = 256, width: int = 128, depth: int = 4, length: int = 128) -> nn.Module:
    """A decoder like GPT-2 (Radford et al., 2019) over ids (n, length)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=length,
        n_embd=width,
        n_layer=depth,
        n_head=max(1, width // 32),
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,  # bytes have no token that begins or ends a text
        eos_token_id=None,
        tie_word_embeddings=False,  # the last layer can be edited without touching the first
    )
    module: nn.Module = GPT2LMHeadModel(config)
    return module
