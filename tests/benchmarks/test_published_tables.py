"""The recipes for published tables, on small made files; the real data are in no package."""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from rescind.benchmarks.cifar10 import Cifar10
from rescind.benchmarks.imagenet import ImageNet
from rescind.benchmarks.setting import Benchmark, Setting
from rescind.benchmarks.wordnet_names import names_by_folder
from rescind.core.errors import BadData, BadParameter, MissingExtra
from rescind.data import cifar10
from rescind.metrics.features import PENULTIMATE, collect, layers_of
from rescind.training.plain import train_whole
from rescind.training.zoo import resnet, resnet18, resnet50

CLASSES = 9
LIST = (5, 2)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cifar10:
    """Made files of 40 records; one at a time has a byte of its own, so that none are equal."""
    monkeypatch.setattr(cifar10, "EACH", 40)
    for at, name in enumerate((*cifar10.FILES["train"], *cifar10.FILES["test"])):
        made = (bytes([i % 10, at, i]) + bytes(3070) for i in range(40))
        (tmp_path / name).write_bytes(b"".join(made))
    return Cifar10(str(tmp_path), images=160, validation=40, test=40, quick_images=50)


@pytest.fixture
def imagenet(tmp_path: Path) -> ImageNet:
    """Nine classes of tiny images, four to train on and two others, and three downstream."""
    for part, each in (("train", 4), ("val", 2)):
        for c in range(CLASSES):
            draw(tmp_path / "imagenet" / part / f"n{c:02}", each, c)
    for name in ("bed", "fan", "pen"):
        draw(tmp_path / "home" / name, 3, 90)
    names = ["tench", "crane, bird", "crane", "cock", "crane", "ox", "hen", "jay", "kite"]
    lines = (f"n{c:02} {name}\n" for c, name in enumerate(names))
    (tmp_path / "imagenet" / "LOC_synset_mapping.txt").write_text("".join(lines))
    (tmp_path / "top.txt").write_text("".join(f"{c}\n" for c in LIST))
    return ImageNet(
        folder=str(tmp_path / "imagenet"),
        downstream=str(tmp_path / "home"),
        forget_list=str(tmp_path / "top.txt"),
        classes=CLASSES,
        per_class=3,
        side=64,
    )


def draw(folder: Path, each: int, colour: int) -> None:
    folder.mkdir(parents=True)
    for i in range(each):
        Image.new("RGB", (8, 8), (colour, i, 0)).save(folder / f"{folder.parent.name}{i}.png")


def keys(setting: Setting) -> list[set[str]]:
    parts = (setting.train, setting.validation, setting.test)
    return [{record.key for record in records} for records in parts]


def test_cifar10_as_published(cifar: Cifar10) -> None:
    found = cifar.setting(quick=False)
    assert isinstance(cifar, Benchmark)
    train, validation, test = keys(found)
    assert train == {f"train-{i}" for i in range(160)}
    assert validation == {f"train-{i}" for i in range(160, 200)}
    assert test == {f"test-{i}" for i in range(40)}
    random, whole = found.forget_sets
    assert (random.kind, len(random.records), random.decides) == ("random", 16, True)
    assert (whole.kind, whole.classes, whole.decides) == ("class", ("airplane",), False)
    assert len(whole.records) == 16
    assert not {r.key for r in random.records} & {r.key for r in found.searched.records}
    recipe = found.models["resnet18"]
    assert (recipe.batch_size, recipe.epochs) == (256, 30)
    assert {"salun", "l1_sparse", "random_label", "influence"} <= set(found.methods)
    assert "no downstream task" in found.not_applicable[0]


def test_the_sizes_of_cifar10_are_the_published_ones() -> None:
    assert (Cifar10().images, Cifar10().validation, Cifar10().test) == (45_000, 5_000, 10_000)


def test_cifar10_for_a_look_trains(cifar: Cifar10) -> None:
    found = replace(cifar, quick_images=4).setting(quick=True)
    assert found.quick and not any(f.decides for f in found.forget_sets)
    recipe = replace(found.models["resnet18"], epochs=1)
    model = train_whole(recipe, [r.row for r in found.train])
    with torch.no_grad():
        logits = model.outputs(recipe.task.batch([r.row for r in found.test]))
    assert logits.shape == (4, 10)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("change", [{"images": 161}, {"forget_class": "plane"}])
def test_cifar10_refuses_what_it_has_not(cifar: Cifar10, change: dict[str, object]) -> None:
    with pytest.raises(BadParameter, match="CIFAR-10 has 200 images"):
        replace(cifar, **change).setting(quick=False)  # type: ignore[arg-type]


def test_without_data_the_recipes_say_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"cifar-10-binary\.tar\.gz"):
        Cifar10(str(tmp_path / "gone")).setting(quick=True)
    with pytest.raises(MissingExtra, match="There is no folder"):
        ImageNet(str(tmp_path / "gone")).setting(quick=True)


def test_imagenet_forgets_the_classes_of_the_list(imagenet: ImageNet) -> None:
    found = imagenet.setting(quick=False)
    assert isinstance(imagenet, Benchmark)
    top, random = found.forget_sets
    # the order of the list, not of the folders; two classes are called crane and told apart
    assert top.classes == ("ox", "crane (n02)")
    assert (top.name, top.kind, top.decides) == ("top 2 classes", "top class", True)
    assert (random.name, random.kind, random.decides) == ("random 2 classes", "class", True)
    assert {r.key.split("/")[1] for r in top.records} == {"n05", "n02"}
    assert [len(f.records) for f in (top, random, found.searched)] == [6, 6, 6]
    forgotten = [*top.classes, *random.classes, *found.searched.classes]
    assert len(set(forgotten)) == 6
    assert imagenet.setting(quick=False).forget_sets == found.forget_sets


def test_imagenet_keeps_its_sets_apart(imagenet: ImageNet) -> None:
    found = imagenet.setting(quick=False)
    train, validation, test = keys(found)
    assert (len(train), len(validation), len(test)) == (3 * CLASSES, CLASSES, CLASSES)
    assert validation.isdisjoint(test) and all(k.startswith("val/") for k in validation | test)
    (down,) = found.downstream
    assert (down.name, len(down.records)) == ("home", 9)
    task = found.models["resnet50"].task
    assert task.batch([r.row for r in found.train[:2]])["array"].shape == (2, 3, 64, 64)
    task.check([r.row for r in (*found.train, *found.validation, *found.test)])


def test_imagenet_without_names_says_so(imagenet: ImageNet) -> None:
    found = replace(imagenet, names="").setting(quick=True)
    assert found.forget_sets[0].classes == ("n05", "n02")
    assert len(found.train) == CLASSES
    assert "by text means nothing" in found.not_applicable[0]
    assert imagenet.setting(quick=True).not_applicable == ()


def test_imagenet_refuses_data_that_the_list_was_not_made_for(imagenet: ImageNet) -> None:
    with pytest.raises(BadData, match="holds 9 classes and not 1000"):
        replace(imagenet, classes=1_000).setting(quick=False)
    Path(imagenet.forget_list).write_text("9\n")
    with pytest.raises(BadData, match="9 is not below 9"):
        imagenet.setting(quick=False)
    Path(imagenet.forget_list).write_text("0\n1\n2\n")
    with pytest.raises(BadParameter, match="holds 3 of 9 classes"):
        imagenet.setting(quick=False)


def test_imagenet_refuses_sets_that_lack_classes(imagenet: ImageNet) -> None:
    with pytest.raises(BadData, match="no image for n00"):
        replace(imagenet, validation_per_class=2).setting(quick=False)
    with pytest.raises(BadParameter, match="Take 64 or more"):
        replace(imagenet, side=63).setting(quick=False)


def test_names_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read"):
        names_by_folder(tmp_path / "gone.txt", ["n1"])
    (tmp_path / "names.txt").write_text("n1 tench\nn2\n")
    with pytest.raises(BadData, match="no name for n2, n3"):
        names_by_folder(tmp_path / "names.txt", ["n1", "n2", "n3"])
    assert names_by_folder(tmp_path / "names.txt", ["n1"]) == ("tench",)


def test_resnet18_has_the_published_size_and_shapes() -> None:
    model = resnet18(10).eval()
    # kuangliu/pytorch-cifar counts as many
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    images = torch.rand(2, 3, 32, 32)
    assert model(images).shape == (2, 10)
    found = collect(model, layers_of(model), [images])
    assert [f.shape[1] for f in found.values()] == [64, 64, 128, 256, 512, 512]
    assert found[PENULTIMATE].shape == (2, 512)


def test_resnet50_has_the_published_size_and_shapes() -> None:
    model = resnet50(1_000).eval()
    # torchvision's has as many
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    found = collect(model, layers_of(model), [torch.rand(2, 3, 64, 64)])
    assert [f.shape[1] for f in found.values()] == [64, 256, 512, 1_024, 2_048, 2_048]
    assert resnet50(7)(torch.rand(2, 3, 64, 64)).logits.shape == (2, 7)


def test_the_small_network_is_as_it_was() -> None:
    """What stored benchmarks were trained with: names and number of its weights."""
    model = resnet(7)
    assert sum(p.numel() for p in model.parameters()) == 77_623
    assert [n for n in model.state_dict() if "skip" in n] == ["5.skip.weight", "6.skip.weight"]


def test_the_recipes_are_registered() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    found = tomllib.loads(text)["project"]["entry-points"]["rescind.benchmarks"]
    for name, expected in {"cifar10": Cifar10, "imagenet": ImageNet}.items():
        module, _, attribute = found[name].partition(":")
        assert getattr(importlib.import_module(module), attribute) is expected


@dataclass(frozen=True)
class Small(Cifar10):
    """As docs/how-to/published-tables.md tells to change a size."""

    images: int = 20


def test_a_size_is_changed_in_a_class_of_ones_own(cifar: Cifar10) -> None:
    found = Small(folder=cifar.folder, validation=40).setting(quick=False)
    assert len(found.train) == 20
