"""Any PyTorch module in a workspace: trained, replayed to the same bytes, and edited on request."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tiny_workspace import new_workspace

from rescind import state
from rescind.core.dataset import Split
from rescind.core.errors import DamagedArtifact, Diverged, NoOp, Refused, UnsupportedModel
from rescind.core.partition import Partition
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import AdamW, Recipe, Run
from rescind.core.task import Task
from rescind.methods.base import ANY, edit
from rescind.methods.finetune import FineTune
from rescind.methods.negative_gradient import NegativeGradient
from rescind.proofs.reading import read_statement
from rescind.resolve import Ask
from rescind.training.modules import CausalLM, Classification, Regression
from rescind.workspace import Workspace, open_workspace

WORDS = ("anna met boris", "the cup was won", "a chip was made", "rain fell all day")


def points(n: int = 60) -> list[dict[str, object]]:
    """Two clouds; ``value`` is a linear function of the point."""
    draw = random.Random(0)
    rows: list[dict[str, object]] = []
    for i in range(n):
        side = 1.0 if i % 2 else -1.0
        point = [side + draw.gauss(0, 0.3), draw.gauss(0, 0.3)]
        rows.append({"id": f"p{i}", "array": point, "label": "ab"[i % 2], "value": sum(point)})
    return rows


def texts(n: int = 30) -> list[dict[str, object]]:
    return [{"id": f"t{i}", "text": f"{WORDS[i % 4]} {i}"} for i in range(n)]


MLP = {"inputs": 2, "hidden": (8,)}
CASES: dict[str, tuple[Task, list[dict[str, object]]]] = {
    "classes": (
        Classification("rescind.training.zoo:mlp", ("a", "b"), (2,), MLP | {"outputs": 2}),
        points(),
    ),
    "numbers": (
        Regression("rescind.training.zoo:mlp", (2,), 0.5, MLP | {"outputs": 1}),
        points(),
    ),
    "tokens": (
        CausalLM("rescind.training.zoo:gpt", 24, {"width": 32, "depth": 2, "length": 24}),
        texts(),
    ),
}


@dataclass(frozen=True)
class Untouched:
    """A cheat: it loads the part and saves it as it was."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return edit(model, split, run, ANY, lambda work: None)


def trained(folder: Path, target: str, method: str = "finetune", shards: int = 1) -> Workspace:
    task, rows = CASES[target]
    recipe = Recipe(
        task=task,
        method=method,
        partition=Partition(shards, 1, 0.2),
        orders=1,
        epochs=4,
        batch_size=8,
        optimizer=AdamW(lr=1e-2),
    )
    workspace = new_workspace(folder)
    workspace.train(recipe, rows, key="id", store=True)
    return workspace


def trained_key(workspace: Workspace) -> str:
    return next(e.key for e in state.allowed(workspace.backends) if e.cell != "test")


@pytest.mark.parametrize("target", CASES)
def test_a_module_is_retrained_to_the_bytes_of_its_replay(tmp_path: Path, target: str) -> None:
    workspace = trained(tmp_path, target)
    request = workspace.request(Ask(keys=(trained_key(workspace),), near="keep", method="retrain"))
    said = read_statement(workspace.process(request.id).payload)
    assert said.guarantee.kind == "exact"
    assert (said.proof.outcome, said.proof.compared) == ("identical", 1)
    assert workspace.remaining() == {}


@pytest.mark.parametrize("target", CASES)
def test_an_edited_module_serves_and_claims_no_more_than_it_can_show(
    tmp_path: Path, target: str
) -> None:
    workspace = trained(tmp_path, target)
    key = trained_key(workspace)
    before = workspace.predict(CASES[target][1][:4])
    request = workspace.request(Ask(keys=(key,), near="keep"))
    said = read_statement(workspace.process(request.id).payload)
    assert said.guarantee.kind == "empirical"
    assert said.proof.outcome == "not_run"
    assert said.method == "finetune"
    assert said.original != said.unlearned
    listed = workspace.keys()
    assert key not in listed
    assert len(workspace.predict(CASES[target][1][:4])) == len(before)
    assert workspace.remaining() == {}


def test_after_an_edit_only_a_retraining_is_exact_again(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "classes")
    for method, kind in (("finetune", "empirical"), ("retrain", "exact")):
        ask = Ask(keys=(trained_key(workspace),), near="keep", method=method)
        said = read_statement(workspace.process(workspace.request(ask).id).payload)
        assert said.guarantee.kind == kind


def test_shards_of_a_module_are_cut_and_retrained_exactly(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "classes", "sisa", shards=2)
    request = workspace.request(Ask(keys=(trained_key(workspace),), near="keep"))
    said = read_statement(workspace.process(request.id).payload)
    assert said.guarantee.kind == "exact"


def test_a_sharded_model_is_not_edited(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "classes", "sisa", shards=2)
    ask = Ask(keys=(trained_key(workspace),), near="keep", method="finetune")
    request = workspace.request(ask)
    with pytest.raises(UnsupportedModel, match="Not yet"):
        workspace.process(request.id)
    assert len(state.parts(workspace.backends)) == 2


def test_an_edit_that_diverges_leaves_the_last_good_model(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "numbers", "negative_gradient")
    served = state.parts(workspace.backends)
    request = workspace.request(Ask(keys=(trained_key(workspace),), near="keep"))
    wild = NegativeGradient(alpha=0.0, lr=1e30, epochs=30)
    with pytest.raises(Diverged, match="serves on"):
        workspace.process(request.id, method=wild)
    assert state.parts(workspace.backends) == served
    assert state.request(workspace.backends, request.id).status == "failed"
    workspace.process(request.id, method=FineTune())
    assert state.request(workspace.backends, request.id).status == "closed"


@pytest.mark.parametrize("method", ["negative_gradient", "ssd", "influence"])
def test_a_test_record_goes_without_an_edit(tmp_path: Path, method: str) -> None:
    """The weights never used it; a forget set without a row must not send a loop round for ever."""
    workspace = trained(tmp_path, "classes", method)
    served = state.parts(workspace.backends)
    key = next(e.key for e in state.allowed(workspace.backends) if e.cell == "test")
    request = workspace.request(Ask(keys=(key,), near="keep"))
    said = read_statement(workspace.process(request.id).payload)
    assert (said.unchanged, said.guarantee.kind) == ("test_only", "empirical")
    assert state.parts(workspace.backends) == served
    assert workspace.remaining() == {}


def test_the_original_under_a_new_name_is_no_edit(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "classes")
    request = workspace.request(Ask(keys=(trained_key(workspace),), near="keep"))
    with pytest.raises(NoOp, match="copies of snapshots"):
        workspace.process(request.id, method=Untouched())


def test_forgetting_everything_is_no_edit(tmp_path: Path) -> None:
    workspace = trained(tmp_path, "classes")
    keys = tuple(e.key for e in state.allowed(workspace.backends) if e.cell != "test")
    request = workspace.request(Ask(keys=keys, near="keep"))
    with pytest.raises(Refused, match="no record"):
        workspace.process(request.id)


def test_code_of_the_module_that_changed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "my_module_for_rescind.py"
    source.write_text("from rescind.training.zoo import mlp\n\ndef make():\n    return mlp(2, 2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    task, rows = CASES["classes"]
    own = replace(task, factory="my_module_for_rescind:make", arguments={})  # type: ignore[type-var]
    workspace = new_workspace(tmp_path / "ws")
    recipe = Recipe(task=own, method="finetune", partition=Partition(1, 1, 0.2), orders=1)
    workspace.train(recipe, rows, key="id", store=True)
    assert workspace.predict(rows[:1])
    source.write_text("# other\n" + source.read_text())
    workspace.backends.ledger.close()
    with pytest.raises(DamagedArtifact, match="code of the module"):
        open_workspace(tmp_path / "ws").predict(rows[:1])
