"""Top class-wise forgetting on ImageNet, after "Are We Truly Forgetting?" (arXiv 2503.06991).

A recipe: it runs where the data are. All images are held in memory, see ``ImageNet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rescind.benchmarks.choosing import SALT, named, plain_recipe, whole_classes
from rescind.benchmarks.setting import Downstream, ForgetSet, Setting
from rescind.benchmarks.top_classes import published_list
from rescind.benchmarks.wordnet_names import names_by_folder
from rescind.core.canonical import keyed
from rescind.core.dataset import Record
from rescind.core.errors import BadData, BadParameter
from rescind.core.judgement import Margin
from rescind.core.run import Recipe
from rescind.data import image_folder
from rescind.training.modules import Classification

MARGINS = (
    Margin("forget accuracy", 0.04, "forgetting"),
    Margin("forget confidence", 0.05, "forgetting"),
    Margin("forget CKA to retrained", 0.04, "forgetting"),
    Margin("retain accuracy", 0.03, "utility"),
    Margin("test accuracy", 0.03, "utility"),
)
# those of the paper that are here, and DELETE, COLA
METHODS = (
    "finetune", "negative_gradient", "random_label", "salun", "scrub", "pseudo_label", "delete",
    "cola",
)  # fmt: skip
QUICK = ("finetune", "negative_gradient", "pseudo_label")
BATCH = 32  # 256 as published would take 20 GB for what a step must remember
LEAST = 64  # pixels
NO_NAMES = (
    "Likeness of names: classes go by their folders; if these are numbers of WordNet, their order"
    " by text means nothing.",
)


@dataclass(frozen=True, slots=True)
class ImageNet:
    """ImageNet-1k and ResNet-50; classes like a downstream task are forgotten, and random ones.

    ``folder`` holds ``train`` and ``val`` with one folder a class, and ``names``, lines of a folder
    and its name; an empty ``names`` leaves the folders' names. ``forget_list`` holds the classes to
    forget, one index a line; as many random ones, none of them in it, are the second forget set and
    another draw that of the search. The images of ``downstream``, one folder a class, are never
    trained on.

    As published: classes, crops, the 1,000 outputs of retrained models, CKA and k-NN on pooled
    features. Not as published: AdamW and not SGD, ``epochs``, no augmentation in training, unbiased
    CKA, eight retrained models and not one, random classes drawn here.

    All images lie in memory. Measured at side 224, a thousand take 0.2 GB to hold and 2.5 GB at the
    peak of training, beside 4 GB that a step of 32 images needs. The default, two images a class,
    is a laptop's share of about 10 GB and shows no more than that the recipe runs: from so few a
    network learns next to nothing, and verdicts on forgetting will be "no power". 100 images a
    class need 250 GB, so a large server; all 1.28 million would need 3.2 TB, and training that
    streams, which is not here. A smaller ``side`` takes less by its square. Training runs on one
    processor core.
    """

    folder: str = "imagenet"
    downstream: str = "office-home/Real World"
    forget_list: str = "top100_officehome_real.txt"
    names: str = "LOC_synset_mapping.txt"
    classes: int = 1_000
    per_class: int = 2
    validation_per_class: int = 1
    test_per_class: int = 1
    downstream_per_class: int = 8
    side: int = image_folder.SIDE
    epochs: int = 10
    lr: float = 1e-3
    sample: int = 500
    quick_per_class: int = 1
    quick_side: int = 64
    quick_epochs: int = 1

    def setting(self, quick: bool) -> Setting:
        """The benchmark; ``quick`` is one tiny image a class and one epoch, to see that it runs.

        Raises:
            MissingExtra: Pillow or a folder is missing.
            BadData: another number of classes than ``classes``, classes without images, a file that
                is no image, names or a list that cannot be read.
            BadParameter: too many classes in the list to draw as many random ones twice, or a side
                below 64.
        """
        if self._side(quick) < LEAST:
            raise BadParameter(
                f"The side is {self._side(quick)}.",
                "ResNet-50 halves it five times, and a batch of one needs more than one place.",
                f"Take {LEAST} or more.",
            )
        root = Path(self.folder)
        folders = image_folder.class_names(root / "train")
        if len(folders) != self.classes:
            raise BadData(
                f"{root / 'train'} holds {len(folders)} classes and not {self.classes}.",
                "The indices of a published list would mean other classes.",
                "Complete the folders, or set `classes` and take a list made for them.",
            )
        names = names_by_folder(root / self.names, folders) if self.names else folders
        top = [names[i] for i in published_list(Path(self.forget_list), self.classes)]
        each, split = self.quick_per_class if quick else self.per_class, self.validation_per_class
        train = self._images("train", folders, names, each, 0, quick)
        forget_sets, searched = _sets(train, names, top, decides=not quick)
        return Setting(
            name="imagenet",
            what=f"ImageNet, {len(train):,} images of {self.classes:,} classes",
            train=train,
            validation=self._images("val", folders, names, split, 0, quick),
            test=self._images("val", folders, names, self.test_per_class, split, quick),
            models={"resnet50": self._recipe(names, quick)},
            forget_sets=forget_sets,
            searched=searched,
            margins=MARGINS,
            methods=QUICK if quick else METHODS,
            downstream=(self._downstream(quick),),
            not_applicable=() if self.names else NO_NAMES,
            sample=self.sample,
            seeds=2 if quick else 3,
            trials=2 if quick else 8,
            quick=quick,
        )

    def _side(self, quick: bool) -> int:
        return self.quick_side if quick else self.side

    def _recipe(self, names: tuple[str, ...], quick: bool) -> Recipe:
        side = self._side(quick)
        sizes = {"classes": len(names)}
        task = Classification("rescind.training.zoo:resnet50", names, (3, side, side), sizes)
        return plain_recipe(task, self.quick_epochs if quick else self.epochs, self.lr, BATCH)

    def _images(
        self,
        part: str,
        folders: Sequence[str],
        names: Sequence[str],
        count: int,
        skip: int,
        quick: bool,
    ) -> tuple[Record, ...]:
        name_of = dict(zip(folders, names, strict=True))
        folder = Path(self.folder) / part
        rows = image_folder.load(folder, count, skip, self._side(quick), folders)
        return named({**row, "label": name_of[row["label"]]} for row in rows)

    def _downstream(self, quick: bool) -> Downstream:
        folder = Path(self.downstream)
        rows = image_folder.load(folder, self.downstream_per_class, side=self._side(quick))
        return Downstream(folder.name, named(rows))


def _sets(
    train: tuple[Record, ...], names: Sequence[str], top: Sequence[str], decides: bool
) -> tuple[tuple[ForgetSet, ForgetSet], ForgetSet]:
    """The classes of the list, as many random ones, and others to search on; no class in two."""
    count = len(top)
    others = sorted(set(names) - set(top), key=lambda name: keyed(SALT, "random classes", name))
    if len(others) < 2 * count + 1:
        raise BadParameter(
            f"The list holds {count} of {len(names)} classes.",
            "As many random ones are drawn twice, and some must stay that nobody forgets.",
            "Take a list of fewer classes.",
        )
    random, searched = tuple(others[:count]), tuple(others[count : 2 * count])
    return (
        whole_classes(train, f"top {count} classes", "top class", tuple(top), decides),
        whole_classes(train, f"random {count} classes", "class", random, decides),
    ), whole_classes(train, "searched classes", "class", searched)
