"""What the benchmarks are made of: real data at quick size, and settings that are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from rescind.benchmarks import choosing, news, tried
from rescind.benchmarks.adult import Adult
from rescind.benchmarks.fashion import DOWNSTREAM, TRAINED, Fashion
from rescind.benchmarks.hours import Hours
from rescind.benchmarks.language import PERSON, Language
from rescind.benchmarks.news import News
from rescind.benchmarks.setting import Benchmark, Downstream, ForgetSet, Setting
from rescind.core.canonical import digest
from rescind.core.dataset import Record
from rescind.core.errors import BadData
from rescind.training.classifier import load_encoder
from rescind.training.modules import CausalLM
from rescind.training.pretrained import encoder_folder
from rescind.training.tasks import tokenizer

BENCHMARKS: dict[str, Benchmark] = {
    "fashion": Fashion(),
    "news": News(),
    "adult": Adult(),
    "hours": Hours(),
    "language": Language(),
}
# digests of the keys of all that is trained on and of all forget sets: another draw is another
# benchmark, and its stored figures no longer hold
DRAWN = {
    "fashion": "d37d5f613603e8d0",
    "news": "243ddbe12d5a0e08",
    "adult": "9e0b893577ff8f1b",
    "hours": "01208afa37338c22",
    "language": "8ea44df50f89d58d",
}


@lru_cache
def quick(name: str) -> Setting:
    """The features of articles, seconds of work, are left at zero: one test below has real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "_features", lambda found, tokens: torch.zeros(len(found), news.WIDTH))
        return BENCHMARKS[name].setting(quick=True)


def keys(records: Sequence[Record]) -> set[str]:
    return {r.key for r in records}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_setting_keeps_its_sets_apart(name: str) -> None:
    setting = quick(name)
    parts = [keys(s) for s in (setting.train, setting.validation, setting.test)]
    assert all(parts)
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert [len(p) for p in parts] == [len(setting.train), *map(len, parts[1:])]
    random = next(f for f in setting.forget_sets if f.kind == "random")
    assert not keys(random.records) & keys(setting.searched.records)
    assert len(random.records) == len(setting.searched.records) == len(setting.train) // 10


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_rows_suit_the_task_and_name_a_subgroup(name: str) -> None:
    setting = quick(name)
    records = (*setting.train, *setting.validation, *setting.test)
    for recipe in setting.models.values():
        recipe.task.check([r.row for r in records])
    assert setting.subgroup is not None
    assert len({r.row[setting.subgroup] for r in setting.test}) > 1


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_draw_is_the_one_whose_figures_are_stored(name: str) -> None:
    setting = quick(name)
    sets = [setting.train, *(f.records for f in setting.forget_sets), setting.searched.records]
    assert digest([sorted(keys(s)) for s in sets])[:16] == DRAWN[name]


@pytest.mark.parametrize("name", ["fashion", "news"])
def test_whole_classes_leave_nobody_behind(name: str) -> None:
    setting = quick(name)
    for forget in [f for f in setting.forget_sets if f.classes]:
        left = [r for r in setting.train if r.key not in keys(forget.records)]
        assert not [r for r in left if r.row.get("label") in forget.classes]
        assert {r.row["label"] for r in forget.records} == {*forget.classes}


def test_the_downstream_classes_are_never_trained_on() -> None:
    setting = quick("fashion")
    assert {r.row["label"] for r in setting.train} == set(TRAINED)
    (down,) = setting.downstream
    assert [sum(r.row["label"] == name for r in down.records) for name in DOWNSTREAM] == [50] * 3
    assert not keys(down.records) & keys((*setting.train, *setting.validation, *setting.test))


def test_every_passage_fills_the_model_and_the_subject_goes_as_a_whole() -> None:
    setting = quick("language")
    (recipe,) = setting.models.values()
    assert isinstance(recipe.task, CausalLM)
    assert min(len(r.row["text"].encode()) for r in setting.train) >= recipe.task.max_length
    (person,) = [f for f in setting.forget_sets if f.kind == "subgroup"]
    rest = [r for r in setting.train if r.key not in keys(person.records)]
    assert not [r for r in (*rest, *setting.test) if PERSON in r.row["text"]]


def test_the_features_of_an_article_are_the_mean_over_its_tokens() -> None:
    texts = ["A short one.", "A text of more than six tokens, which is cut behind the sixth."]
    records = choosing.named({"id": str(i), "text": text} for i, text in enumerate(texts))
    features = news._features(records, tokens=6, batch=2)
    assert features.shape == (2, news.WIDTH)
    encoder = load_encoder(encoder_folder(news.ENCODER)).eval()
    for text, found in zip(texts, features, strict=True):
        # alone and without padding: what stands beside an article must not matter
        alone = tokenizer(news.ENCODER)(text, truncation=True, max_length=6, return_tensors="pt")
        with torch.no_grad():
            states = encoder(**alone).last_hidden_state[0]
        torch.testing.assert_close(found, states.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_features_are_computed_once_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def features(records: Sequence[Record], tokens: int) -> torch.Tensor:
        calls.append(tokens)
        return torch.full((len(records), news.WIDTH), float(tokens))

    monkeypatch.setattr(news, "_features", features)
    records = made(3)
    first = news._cached(records, 7, str(tmp_path / "new"))
    assert torch.equal(first, news._cached(records, 7, str(tmp_path / "new")))
    assert calls == [7]
    news._cached(records, 8, str(tmp_path / "new"))
    news._cached(records[:2], 8, str(tmp_path / "new"))
    assert calls == [7, 8, 8]


def test_the_default_forgets_what_the_plan_names() -> None:
    assert Fashion().images == 12_000
    # fewer records are read faster; sets and models are the same
    full = Fashion(images=600, validation=50, test=50).setting(quick=False)
    assert [f.kind for f in full.forget_sets if f.decides] == ["random", "top class"]
    assert {f.kind for f in full.forget_sets} >= {"class", "subgroup", "record"}
    assert set(full.models) == {"resnet", "vit"}
    people = Adult(people=600, validation=50, test=50)
    assert len([f for f in people.setting(quick=False).forget_sets if f.decides]) == 2
    hours = Hours(people=600, validation=50, test=50).setting(quick=False)
    assert [f.kind for f in hours.forget_sets if f.decides] == ["random", "subgroup"]
    assert len([f for f in Language().setting(quick=False).forget_sets if f.decides]) == 1


def test_methods_that_cannot_serve_are_not_tried() -> None:
    tokens, classes = tried.editing("tokens"), tried.editing("classes")
    assert set(Hours(people=600).setting(quick=False).methods) < {*classes, *tokens} - {"npo"}
    assert {"npo", "rmu", "finetune"} <= set(tokens)
    assert not {"salun", "delete", "cola"} & set(tokens)
    assert {"salun", "ssd", "scrub"} <= set(classes)
    assert not {"retrain", "sisa", "s3t"} & {*classes, *tokens}


def made(count: int) -> tuple[Record, ...]:
    return choosing.named({"id": f"r{i}", "label": str(i % 2)} for i in range(count))


def test_a_draw_is_blind_to_order_and_differs_by_name() -> None:
    records = made(200)
    first = choosing.drawn(records, 20, "one")
    assert first == choosing.drawn(records[::-1], 20, "one")
    assert keys(first) != keys(choosing.drawn(records, 20, "other"))
    # by hash of each key alone: records that are not drawn play no part
    rest = choosing.without(records, first)
    assert first == choosing.drawn((*first, *rest[:50]), 20, "one")


def test_tenths_do_not_meet() -> None:
    first, second = choosing.tenths(made(50), decides=True)
    assert (len(first.records), len(second.records)) == (5, 5)
    assert not keys(first.records) & keys(second.records)


Change = Callable[[Setting], Setting]
BAD: dict[str, tuple[Change, str]] = {
    "empty": (
        lambda s: replace(s, searched=ForgetSet("none", "random", ())),
        "'none' is empty",
    ),
    "everything": (
        lambda s: replace(s, forget_sets=(ForgetSet("all", "random", s.train),)),
        "'all' is all there is",
    ),
    "downstream": (
        lambda s: replace(s, downstream=(Downstream("twin", s.forget_sets[0].records[:3]),)),
        "shares 3 records with 'twin'",
    ),
    "never trained on": (
        lambda s: replace(s, forget_sets=(ForgetSet("test", "random", s.test[:2]),)),
        "holds 2 records never trained on",
    ),
    "test in training": (
        lambda s: replace(s, test=(*s.test, s.train[0])),
        "the test set holds records that were trained on",
    ),
    "validation in training": (
        lambda s: replace(s, validation=s.train[:1]),
        "the validation set holds records that were trained on",
    ),
    "one name": (lambda s: replace(s, searched=s.forget_sets[0]), "two forget sets have one name"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_setting_that_cannot_be_run_is_refused(bad: str) -> None:
    change, told = BAD[bad]
    setting = quick("adult")
    with pytest.raises(BadData, match=told):
        change(setting)
