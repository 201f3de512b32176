"""The controls beside an edited model: read in the same job, judged by the same rule, certified."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judged_workspace import MARGINS, ask_for, judged_workspace, keys_of, named
from test_auto import dies_after, in_child, searches
from tiny_workspace import checked, new_workspace, statement

from rescind import controls, judging, rows, state
from rescind.core.canonical import plain
from rescind.core.control import CONTROLS, Control
from rescind.core.dataset import Examples, Split
from rescind.core.errors import BadData, Diverged, RescindError, VerificationFailed
from rescind.core.judgement import Margin
from rescind.core.partition import Partition
from rescind.core.version import selection
from rescind.methods.auto import Auto
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.metrics.equivalence import DECIDES
from rescind.proofs.reading import read_statement
from rescind.render import to_html, to_markdown
from rescind.testing.memory import MemoryModel, run_of
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.models import TrainedModel, trained_model
from rescind.training.snapshots import from_bytes
from rescind.workspace import Workspace, open_workspace

NO_OP = FineTune(lr=1e-6)
WIDE = tuple(replace(m, width=0.9 if m.role == "forgetting" else 5.0) for m in MARGINS)
PASSES = "A control passes"


def of_kind(found: tuple[Control, ...]) -> dict[str, Control]:
    assert [c.kind for c in found if c.kind == "retrained"] == ["retrained"]
    return {c.kind: c for c in found}


def gaps(one: Control) -> dict[str, float]:
    return {g.metric: g.gap for g in one.gaps}


def processed(workspace: Workspace) -> tuple[str, dict[str, Control]]:
    request = ask_for(workspace, keys_of(workspace))
    workspace.process(request.id, method=NO_OP)
    return request.id, of_kind(workspace.evaluation(request.id).controls)


def at_step_five(monkeypatch: pytest.MonkeyPatch, look: Callable[..., None]) -> None:
    """Look once the models were read, while original and forget set are still there."""
    real = judging.judged

    def judged(b: Any, request: Any, run: Any, parts: Any, models: Any, *rest: Any) -> Any:
        found = real(b, request, run, parts, models, *rest)
        look(b, request, run, models.models, found)
        return found

    monkeypatch.setattr(judging, "judged", judged)


def test_controls_stand_wherever_the_verdict_does(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    certificate = workspace.process(request.id, method=NO_OP)
    said, report = statement(certificate), workspace.report(request.id)
    found = of_kind(said.controls)
    assert set(found) == set(CONTROLS)
    assert said.controls == workspace.evaluation(request.id).controls == report.controls
    assert found["original"].verdict == found["random_weights"].verdict == "not_admissible"
    # a class that goes as a whole is forgotten by the last layer alone, as far as outputs tell
    assert found["last_layer"].verdict == found["retrained"].verdict == "admissible"
    assert gaps(found["original"])["forget accuracy"] == 1.0
    assert gaps(found["random_weights"])["retain accuracy"] < -0.2
    for text in (to_html(report), to_markdown(report)):
        assert all(name in text for name in CONTROLS.values())
        assert "0 % rejected" in text
    attested = checked(certificate).attested
    assert sum(line.startswith("Control, ") for line in attested) == 4
    assert any(line.startswith(PASSES) for line in attested)
    assert len(json.dumps(plain(said.controls))) < len(certificate.payload) / 3


@pytest.mark.parametrize(("margins", "passing"), [(MARGINS, False), (WIDE, True)])
def test_random_weights_that_pass_are_a_warning_in_the_report(
    margins: Any, passing: bool, tmp_path: Path
) -> None:
    workspace = judged_workspace(tmp_path, margins)
    request, found = processed(workspace)
    assert (found["random_weights"].verdict == "admissible") == passing
    assert found["original"].verdict == "not_admissible"
    report = workspace.report(request)
    for text in (to_html(report), to_markdown(report)):
        [start] = [i for i in range(len(text)) if text.startswith(PASSES, i)]
        sentence = text[start:].partition(")")[0]
        assert ("random weights" in sentence) == passing
        assert text[start:].count("the margins are too wide") == 1


def test_where_no_metric_has_power_no_control_passes(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace)[:5])
    workspace.process(request.id, method=NO_OP)
    found = workspace.evaluation(request.id)
    assert {c.verdict for c in found.controls} == {"no_power"}
    assert PASSES not in to_markdown(workspace.report(request.id))


def test_controls_are_the_models_made_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: each control made outside the workspace, and asked without it."""
    seen: list[str] = []

    def look(b: Any, request: Any, run: Any, models: Any, found: Any) -> None:
        recipe = run.recipe
        kept = {e.key for e in state.allowed(b)}
        records = rows.read(b, [e for e in state.manifest_entries(b) if e.cell != "test"])
        forget = [r for r in records if r.key not in kept]
        retain = [r for r in records if r.key in kept]

        def numbers(model: TrainedModel) -> dict[str, float]:
            answers = {}
            for name, some in (("forget", forget), ("retain", retain)):
                batch = recipe.task.batch([r.row for r in some])
                with torch.no_grad():
                    logits = model.module(batch["array"])
                right = (logits.argmax(1) == batch["labels"]).double().mean()
                answers[f"{name} accuracy"] = float(right)
                shares = logits.softmax(1)[range(len(logits)), batch["labels"]]
                answers[f"{name} confidence"] = float(shares.double().mean())
            return answers

        def stored(part: Any) -> TrainedModel:
            model = trained_model(recipe)
            model.load(from_bytes(state.weights(b, part)))
            return model

        [original] = selection(state.original(b, request.id))
        handle = MemoryModel(stored(original))
        halves = (
            Examples([r.key for r in forget], lambda: tuple(forget)),
            Examples([r.key for r in retain], lambda: tuple(retain)),
        )
        EUk(k=1, seed=0).unlearn(handle, Split(*halves), run_of(recipe))
        assert handle.edited is not None
        means = [numbers(stored(m)) for m in models]
        by_kind = of_kind(found.controls)
        for kind, model in (("original", stored(original)), ("last_layer", handle.edited)):
            told, ours = gaps(by_kind[kind]), numbers(model)
            for name in ("forget accuracy", "forget confidence", "retain accuracy"):
                mean = sum(m[name] for m in means) / DECIDES
                assert told[name] == pytest.approx(ours[name] - mean, abs=1e-9)
        seen.append(kind)

    at_step_five(monkeypatch, look)
    processed(judged_workspace(tmp_path))
    assert seen == ["last_layer"]


def test_random_weights_follow_from_the_recipe_and_from_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, torch.Tensor]] = []
    real = controls.untrained

    def untrained(desk: Any) -> TrainedModel:
        model = real(desk)
        made.append({"recipe": torch.tensor(desk.run.recipe.seed), **model.state(model.adapted)})
        return model

    monkeypatch.setattr(controls, "untrained", untrained)
    workspace = judged_workspace(tmp_path)
    keys = keys_of(workspace)
    for some in (keys[:12], keys[12:]):
        workspace.process(ask_for(workspace, some).id, method=NO_OP)
    first, second = made
    assert all(torch.equal(t, second[name]) for name, t in first.items())
    begun = trained_model(workspace.run().recipe)
    weights = begun.state(begun.adapted)
    assert not any(torch.equal(t, first[name]) for name, t in weights.items())


def test_no_control_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    ours: set[str] = set()

    def look(b: Any, request: Any, *rest: Any) -> None:
        seen.append({a.name for a in b.artifacts.list()})
        ours.update(s["name"] for s in b.ledger.get("claim", request.id)["change"]["add"])

    workspace = judged_workspace(tmp_path)
    before = {a.name for a in workspace.backends.artifacts.list()}
    at_step_five(monkeypatch, look)
    processed(workspace)
    new = {n for n in seen[0] - before - ours if not n.startswith(("activations/", "predictions/"))}
    assert {n.partition("/")[0] for n in new} == {"manifest", "reference"}
    assert len(new & {n for n in new if n.startswith("reference/")}) == DECIDES
    assert named(workspace, "snapshot") == ours
    assert workspace.remaining() == {}


def test_killed_within_a_control_the_same_controls_come_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, calm = processed(judged_workspace(tmp_path / "calm"))
    workspace = judged_workspace(tmp_path / "killed")
    request = ask_for(workspace, keys_of(workspace))

    def dying(*given: Any) -> Any:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(controls, "last_layer", dying)
        with pytest.raises(OSError, match="killed"):
            workspace.process(request.id, method=NO_OP)
    assert not [n for n in named(workspace, "manifest") if n.startswith("manifest/read-")]
    workspace.process(request.id)
    assert of_kind(workspace.evaluation(request.id).controls) == calm
    assert workspace.remaining() == {}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Diverged("Step 3 of the method gave no finite number."), "Step 3 of the method"),
        (BadData("Record anna@example.org in /home/anna has changed."), "can be compared"),
    ],
)
def test_a_control_that_is_refused_says_why_and_the_model_is_judged(
    error: RescindError, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(EUk, "change", refusing)
    workspace = judged_workspace(tmp_path)
    request, found = processed(workspace)
    assert found["last_layer"].verdict == "refused"
    assert told in found["last_layer"].because
    assert "anna" not in found["last_layer"].because
    assert found["random_weights"].verdict == "not_admissible"
    assert workspace.evaluation(request).judgement is not None
    text = to_markdown(workspace.report(request))
    assert f"refused: {found['last_layer'].because}" in text
    assert "not measured" in text
    assert PASSES not in text


def test_auto_trains_a_control_where_fresh_seeds_decide_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = controls.last_layer

    def counted(*given: Any) -> Any:
        made.append(1)
        return real(*given)

    monkeypatch.setattr(controls, "last_layer", counted)
    workspace = judged_workspace(tmp_path)
    auto = Auto(methods=("finetune", "eu_k"), parameters=str(searches(tmp_path)))
    request = ask_for(workspace, keys_of(workspace))
    said = statement(workspace.process(request.id, method=auto))
    assert said.parameters["taken"] == "eu_k"
    assert len(made) == 1
    assert set(of_kind(said.controls)) == set(CONTROLS)


def test_auto_killed_after_the_deciding_round_keeps_its_controls(tmp_path: Path) -> None:
    auto = Auto(methods=("eu_k",), parameters=str(searches(tmp_path)))
    workspace = judged_workspace(tmp_path / "ws")
    request = ask_for(workspace, keys_of(workspace))
    workspace.backends.ledger.close()

    def work() -> None:
        dies_after(2)
        open_workspace(tmp_path / "ws").process(request.id, method=auto)

    assert in_child(work) != 0
    again = open_workspace(tmp_path / "ws")
    said = statement(again.process(request.id, method=auto))
    assert set(of_kind(said.controls)) == set(CONTROLS)


def test_adapters_on_a_pretrained_base_have_controls_too(encoder: Path, tmp_path: Path) -> None:
    margins = (
        Margin("forget confidence", 0.4, "forgetting"),
        Margin("retain accuracy", 0.9, "utility"),
    )
    whole = tiny_recipe(tiny_task(encoder), "retrain")
    recipe = replace(whole, method="finetune", partition=Partition(1, 1, 0.2), margins=margins)
    workspace = new_workspace(tmp_path)
    texts = [{**row, "id": f"r{i}"} for i, row in enumerate(tiny_rows(40))]
    workspace.train(recipe, texts, key="id", store=True)
    keys = [e.key for e in state.allowed(workspace.backends) if e.cell != "test"][:6]
    request = ask_for(workspace, keys)
    workspace.process(request.id)
    found = of_kind(workspace.evaluation(request.id).controls)
    assert set(found) == set(CONTROLS)
    assert {c.because for c in found.values()} == {""}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    workspace = judged_workspace(tmp_path_factory.mktemp("certified") / "ws")
    request = ask_for(workspace, keys_of(workspace))
    return workspace.process(request.id, method=NO_OP).payload


def test_a_certificate_that_is_older_than_controls_is_read(certified: bytes) -> None:
    payload = json.loads(certified)
    del payload["predicate"]["controls"]
    said = read_statement(json.dumps(payload).encode())
    assert (said.controls, said.judgement is None) == ((), False)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "passed"},
        {"kind": "planted"},
        {"gaps": None},
        {"gaps": [{"metric": "forget accuracy", "gap": "0", "equivalent": True}]},
        {"gaps": [{"metric": "forget accuracy", "gap": 0.0}]},
        {"because": None},
    ],
)
def test_a_malformed_control_is_refused(change: dict[str, Any], certified: bytes) -> None:
    payload = json.loads(certified)
    payload["predicate"]["controls"][0] |= change
    with pytest.raises(VerificationFailed, match="malformed"):
        read_statement(json.dumps(payload).encode())


@pytest.mark.parametrize("field", ["kind", "verdict", "gaps", "because"])
def test_a_control_must_say_all_that_is_known_and_may_say_more(
    field: str, certified: bytes
) -> None:
    payload = json.loads(certified)
    payload["predicate"]["controls"][0]["drawn_in"] = "a later version"
    assert len(read_statement(json.dumps(payload).encode()).controls) == 4
    del payload["predicate"]["controls"][0][field]
    with pytest.raises(VerificationFailed, match=f"Control lacks {field}"):
        read_statement(json.dumps(payload).encode())


def test_what_is_not_judged_has_no_controls_and_says_nothing_of_them(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, margins=())
    request = ask_for(workspace, keys_of(workspace))
    certificate = workspace.process(request.id, method=NO_OP)
    assert "controls" not in json.loads(certificate.payload)["predicate"]
    assert workspace.evaluation(request.id).controls == ()
