"""Images of clothes: seven classes are trained on, three others say what the features are worth."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescind.benchmarks.choosing import (
    CLASS_METRICS,
    margins,
    named,
    one_record,
    plain_recipe,
    tenths,
    whole_classes,
)
from rescind.benchmarks.setting import Downstream, ForgetSet, Setting
from rescind.benchmarks.tried import editing
from rescind.core.dataset import Record, Row
from rescind.core.run import Recipe
from rescind.data import fashion_mnist
from rescind.training.modules import Classification

DOWNSTREAM = ("sandal", "shirt", "coat")
TRAINED = tuple(name for name in fashion_mnist.CLASSES if name not in DOWNSTREAM)
SHAPE = (1, fashion_mnist.SIDE, fashion_mnist.SIDE)
VIT_DEPTH = 3  # with six epochs it trains in the time of the ResNet
BRIGHT = 73.0  # mean grey value from which a picture counts as bright: the mean of Fashion-MNIST
# `python benchmarks/margins.py fashion`, ResNet, and the ViT is judged by them too; the largest
# standard deviations: .003 of accuracy, .002 of
# confidence, .028 of CKA (pullovers, four retrained models; else eight)
MARGINS = margins(CLASS_METRICS, (0.02, 0.02, 0.12, 0.02, 0.02))
QUICK_MARGINS = margins(CLASS_METRICS, (0.04, 0.04, 0.14, 0.05, 0.05))
QUICK = ("finetune", "eu_k", "negative_gradient", "ssd", "salun")


@dataclass(frozen=True, slots=True)
class Fashion:
    """Fashion-MNIST, a small ResNet and a small ViT; sandal, shirt and coat are never trained on.

    ``top`` are the trained classes by likeness to the three others, the likest first. It is
    declared, since the forget sets must be known before a model is trained; a run measures the
    order again and reports it. Each class but the first is also forgotten by itself, for show.
    """

    images: int = 12_000
    validation: int = 2_000
    test: int = 2_000
    downstream: int = 200
    resnet_epochs: int = 8
    vit_epochs: int = 6
    quick_images: int = 1_500
    quick_epochs: int = 3
    # mean softmax mass of 1,800 images of the three classes, ResNet of 12,000 images, seed 0:
    # .45 .21 .12 .10 .08 .04 .00
    top: tuple[str, ...] = ("pullover", "sneaker", "t-shirt", "boot", "dress", "bag", "trouser")

    def setting(self, quick: bool) -> Setting:
        """The benchmark; ``quick`` is one small ResNet and two forget sets.

        Raises:
            MissingExtra: Debian's dataset-fashion-mnist is not installed.
        """
        share = 4 if quick else 1
        train, others = _pictures("train", self.quick_images if quick else self.images)
        test, _ = _pictures("test", (self.validation + self.test) // share)
        middle = self.validation // share
        random, searched = tenths(train, decides=not quick)
        return Setting(
            name="fashion",
            what=f"Fashion-MNIST, {len(train):,} images of seven classes",
            train=train,
            validation=test[:middle],
            test=test[middle:],
            models=self._models(quick),
            forget_sets=self._forget_sets(random, train, quick),
            searched=searched,
            margins=QUICK_MARGINS if quick else MARGINS,
            methods=QUICK if quick else editing("classes"),
            downstream=(_downstream(others, self.downstream // share),),
            subgroup="subgroup",
            seeds=2 if quick else 3,
            trials=2 if quick else 8,
            quick=quick,
        )

    def _models(self, quick: bool) -> dict[str, Recipe]:
        if quick:
            return {"resnet": plain_recipe(_task("resnet", {}), self.quick_epochs, 4e-3)}
        return {
            "resnet": plain_recipe(_task("resnet", {}), self.resnet_epochs, 4e-3),
            "vit": plain_recipe(_task("vit", {"depth": VIT_DEPTH}), self.vit_epochs, 2e-3),
        }

    def _forget_sets(
        self, random: ForgetSet, train: tuple[Record, ...], quick: bool
    ) -> tuple[ForgetSet, ...]:
        top = whole_classes(train, "top 1 class", "top class", self.top[:1], decides=not quick)
        if quick:
            return random, top
        others = [name for name in dict.fromkeys((*self.top, *TRAINED)) if name != self.top[0]]
        bright = tuple(r for r in train if r.row["subgroup"] == "t-shirt, bright")
        return (
            random,
            top,
            whole_classes(train, "top 2 classes", "top class", self.top[:2]),
            *(whole_classes(train, f"class {name}", "class", (name,)) for name in others),
            ForgetSet("bright t-shirts", "subgroup", bright),
            one_record(train),
        )


def _task(model: str, sizes: Mapping[str, int]) -> Classification:
    factory = f"rescind.training.zoo:{model}"
    return Classification(factory, TRAINED, SHAPE, {"classes": len(TRAINED), **sizes})


def _pictures(part: str, count: int) -> tuple[tuple[Record, ...], list[dict[str, Any]]]:
    """The first ``count`` pictures of trained classes, and all of the other ones."""
    rows = fashion_mnist.load(part)
    ours = [row for row in rows if row["label"] in TRAINED][:count]
    others = [row for row in rows if row["label"] in DOWNSTREAM]
    return named({**row, "subgroup": _subgroup(row)} for row in ours), others


def _subgroup(row: Row) -> str:
    pixels = base64.b64decode(row["array"])
    bright = sum(pixels) >= BRIGHT * len(pixels)
    return f"{row['label']}, {'bright' if bright else 'dark'}"


def _downstream(others: Sequence[Row], each: int) -> Downstream:
    chosen = [
        row for name in DOWNSTREAM for row in [r for r in others if r["label"] == name][:each]
    ]
    return Downstream("sandal, shirt, coat", named(chosen))
