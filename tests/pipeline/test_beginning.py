"""A recipe that cannot work is refused before anything is written, and stands in nobody's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_concurrency import Running, wait_for
from tiny_workspace import ROWS, ask, kinds, new_workspace, some_key, usable, write_rows
from transformers import ModernBertConfig, ModernBertModel, RobertaConfig, RobertaModel

from rescind import state, trainer
from rescind.core.errors import BadParameter, Busy, RescindError
from rescind.core.run import Lora, Recipe
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.training import loop, stages
from rescind.training.adapters import check_fits
from rescind.workspace import Workspace, open_workspace

Make = Callable[..., Workspace]


@pytest.fixture
def recipe(encoder: Path) -> Recipe:
    return tiny_recipe(tiny_task(encoder))


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path / "ws")


def longer(recipe: Recipe, tokens: int) -> Recipe:
    return replace(recipe, task=replace(recipe.task, max_length=tokens))  # type: ignore[type-var]


# --- what the encoder cannot take


def test_what_does_not_fit_the_encoder_is_told_before_anything_is_written(
    recipe: Recipe, empty: Workspace, rows_file: Path
) -> None:
    before = empty.head()
    bad = replace(longer(recipe, 9999), adapter=Lora(targets=("nope", "query", "knows")))
    with pytest.raises(BadParameter) as told:
        empty.train(bad, str(rows_file))
    for part in (
        "max_length is 9999; the encoder takes at most 64",
        "no linear projection named nope, knows (they have: attention.self.query,",
    ):
        assert part in str(told.value)
    assert empty.head() == before
    assert empty.backends.artifacts.list() == ()
    empty.train(recipe, str(rows_file))
    assert usable(empty)


def test_the_longest_length_fits_and_one_more_does_not(recipe: Recipe) -> None:
    check_fits(longer(recipe, 64))
    with pytest.raises(BadParameter, match="at most 64"):
        check_fits(longer(recipe, 65))
    check_fits(longer(recipe, 3))
    with pytest.raises(BadParameter, match="the tokenizer needs at least 3"):
        check_fits(longer(recipe, 2))


SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any], tuple[str, ...], int]] = {
    # the first two positions of RoBERTa are for padding
    "roberta": (RobertaConfig, RobertaModel, {"max_position_embeddings": 34}, ("query",), 32),
    # rotary: the configuration alone sets the limit
    "modernbert": (
        ModernBertConfig,
        ModernBertModel,
        {"max_position_embeddings": 40},
        ("Wqkv",),
        40,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_counts_its_own_positions(
    family: str, recipe: Recipe, tmp_path: Path, encoder: Path
) -> None:
    config, model, more, targets, most = FAMILIES[family]
    made = config(**SMALL, **more, intermediate_size=16, vocab_size=31000, pad_token_id=1)
    model(made).save_pretrained(tmp_path / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (tmp_path / "encoder" / name).write_bytes((encoder / name).read_bytes())
    task = replace(recipe.task, encoder=str(tmp_path / "encoder"))  # type: ignore[type-var]
    there = replace(recipe, task=task, adapter=Lora(targets=targets))
    check_fits(longer(there, most))
    with pytest.raises(BadParameter, match=f"at most {most}"):
        check_fits(longer(there, most + 1))


def test_the_limit_is_where_the_encoder_fails(recipe: Recipe) -> None:
    """The refusal is right: this is what came out of torch instead."""
    model = recipe.task.build()
    ids = torch.ones(1, 65, dtype=torch.long)
    with pytest.raises((RuntimeError, IndexError)):
        model(ids, ids)
    model(ids[:, :64], ids[:, :64])


# --- runs that came to nothing


def interrupted(
    ws: Workspace, recipe: Recipe, data: object, fits: int, patch: pytest.MonkeyPatch
) -> None:
    """The training is begun and ends with an error before its stage number ``fits`` is stored."""
    real, calls = loop.fit, iter(range(100))

    def fit(*arguments: Any) -> None:
        if next(calls) == fits:
            raise RescindError("The power went.")
        real(*arguments)

    with patch.context() as local:
        local.setattr(stages, "fit", fit)
        with pytest.raises(RescindError, match="power"):
            ws.train(recipe, data, store=True)


def test_a_run_without_a_snapshot_makes_room_for_another_recipe(
    recipe: Recipe, empty: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(empty, recipe, ROWS, 0, monkeypatch)
    b = empty.backends
    begun = {a.name for a in b.artifacts.list()}
    addresses = {a.address for a in b.artifacts.list()}
    secrets = {name: b.keys.get(name) for name in b.keys.names("manifest/")}
    assert any(name.startswith("rows/") for name in begun)
    [old] = b.ledger.items("run")
    other = replace(recipe, seed=5)
    more = write_rows(tmp_path / "more.jsonl", ROWS[:30])

    empty.train(other, str(more))

    [now] = b.ledger.items("run")
    assert now != old
    assert kinds(empty)[2:5] == ["run.started", "run.discarded", "run.started"]
    assert not [a.name for a in b.artifacts.list() if a.name.startswith("rows/")]
    assert not addresses & {a.address for a in b.artifacts.list()}
    assert not any((empty.folder / "artifacts" / a[:2] / a).exists() for a in addresses)
    assert all(b.keys.get(name) != secret for name, secret in secrets.items())
    assert len(usable(empty)) == 30
    empty.verify()


def test_what_a_crash_left_of_a_discarded_run_goes_with_the_next(
    recipe: Recipe, empty: Workspace, monkeypatch: pytest.MonkeyPatch, rows_file: Path
) -> None:
    interrupted(empty, recipe, ROWS, 0, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(type(empty.backends.artifacts), "destroy", lambda *given: os._exit(9))
        child = Running(lambda: empty.train(replace(recipe, seed=5), str(rows_file)))
        assert not child.ended_well()
    assert empty.backends.ledger.items("run") == {}
    empty.train(replace(recipe, seed=5), str(rows_file))
    assert not [a for a in empty.backends.artifacts.list() if a.kind == "rows"]


def test_a_run_with_a_snapshot_is_not_thrown_away(
    recipe: Recipe, empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(empty, recipe, ROWS, 1, monkeypatch)
    before = empty.head()
    with pytest.raises(
        BadParameter, match=r"of other data, another recipe or other seeds.*keeps one run"
    ):
        empty.train(replace(recipe, seed=5), ROWS, store=True)
    assert empty.head() == before
    empty.train(recipe, ROWS, store=True)
    assert usable(empty)


def test_two_processes_do_not_train_in_one_workspace(
    recipe: Recipe, empty: Workspace, rows_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    inside, leave = tmp_path / "inside", tmp_path / "leave"
    real = trainer.train_orders

    def slow(*arguments: Any) -> Any:
        inside.touch()
        wait_for(leave)
        return real(*arguments)

    def work() -> None:
        monkeypatch.setattr(trainer, "train_orders", slow)
        open_workspace(empty.folder).train(recipe, str(rows_file))

    child = Running(work)
    wait_for(inside)
    with pytest.raises(Busy, match="Another process is training"):
        empty.train(replace(recipe, seed=5), str(rows_file))
    leave.touch()
    assert child.ended_well()
    assert empty.version().id == "v1"


# --- training again


def test_after_a_deletion_the_reason_is_the_deletion(
    recipe: Recipe, ws: Workspace, source: Path
) -> None:
    keys = some_key(ws, "0.0", "1.0")
    ws.process(ws.request(ask(*keys)).id)
    with pytest.raises(BadParameter, match=r"^2 records were forgotten since run .*rebuild"):
        ws.train(recipe, str(source))
    with pytest.raises(BadParameter, match="another recipe"):
        ws.train(replace(recipe, seed=5), str(source))
    write_rows(source, ROWS[:-1])
    with pytest.raises(BadParameter, match="of other data"):
        ws.train(recipe, str(source))


def test_after_the_deletion_of_a_whole_cell_too(make: Make, recipe: Recipe, source: Path) -> None:
    """The cell is empty, but that is not what stands in the way."""
    ws = make()
    keys = [e.key for e in state.allowed(ws.backends) if e.cell == "0.0"]
    ws.request(ask(*keys))
    with pytest.raises(BadParameter, match="records were forgotten since run"):
        ws.train(recipe, str(source))
