"""An edited model is judged beside models retrained without the records, and that is certified."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from judged_workspace import (
    MARGINS,
    ask_for,
    clouds,
    facts,
    judged_workspace,
    keys_of,
    named,
    recipe_for,
)
from test_whole_models import CASES
from tiny_workspace import new_workspace, statement

from rescind import judging, rows, state
from rescind.core.canonical import build, plain
from rescind.core.errors import BadParameter, MissingSource, RescindError
from rescind.core.evidence import Evaluation
from rescind.core.judgement import Gap, Margin
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.core.version import selection
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.metrics.cka import LinearCka
from rescind.readings import CKA, KNOWN, check_margins, sample
from rescind.reference_job import TrainReference
from rescind.references import seeds_of
from rescind.render import to_html, to_markdown
from rescind.resolve import Ask
from rescind.training.models import trained_model
from rescind.training.recipes import recipe_from
from rescind.training.snapshots import from_bytes
from rescind.workspace import Workspace

NO_OP = FineTune(lr=1e-6)


def gap(found: Evaluation, metric: str) -> Gap:
    assert found.judgement is not None
    return next(g for g in found.judgement.gaps if g.metric == metric)


def test_almost_a_no_op_is_not_admissible_and_the_certificate_says_so(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    said = statement(workspace.process(request.id, method=NO_OP))
    found = workspace.evaluation(request.id)
    assert found.judgement is not None
    assert (found.goal, found.judgement.verdict) == ("influence", "not_admissible")
    assert (found.judgement.references, found.judgement.seeds) == (8, 1)
    assert gap(found, "forget accuracy").power
    assert said.judgement == found.judgement
    assert said.guarantee.kind == "empirical"
    assert facts(workspace, "evaluation.done")[0]["verdict"] == "not_admissible"
    assert found.cpu_seconds["retrained models"] == pytest.approx(
        8 * found.cpu_seconds["one retraining"]
    )
    for text in (to_html(workspace.report(request.id)), to_markdown(workspace.report(request.id))):
        for told in ("not admissible", "forget confidence", "remove the influence", "0.4"):
            assert told in text
        assert found.judgement.because.split(":")[0] in text
    assert workspace.remaining() == {}


def test_training_the_layers_anew_is_admissible(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    workspace.process(request.id, method=EUk(k=2, epochs=12, lr=3e-2))
    found = workspace.evaluation(request.id)
    assert found.judgement is not None
    assert found.judgement.verdict == "admissible"


def test_without_margins_it_is_not_judged_and_nothing_is_retrained(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, margins=())
    request = ask_for(workspace, keys_of(workspace))
    said = statement(workspace.process(request.id))
    assert (said.judgement, said.unjudged) == (None, "the recipe names no margins")
    assert "Not judged: the recipe names no margins." in to_markdown(workspace.report(request.id))
    assert named(workspace, "reference") == set()


@pytest.mark.parametrize(
    ("method", "goal", "told"),
    [(None, "concept", "retraining is not the reference"), ("retrain", "influence", "exact")],
)
def test_a_question_that_margins_do_not_answer_stays_open(
    method: str | None, goal: Any, told: str, tmp_path: Path
) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace), method, goal)
    said = statement(workspace.process(request.id))
    assert said.judgement is None
    assert told in said.unjudged
    assert workspace.evaluation(request.id).goal == goal
    assert named(workspace, "reference") == set()


def test_test_records_alone_are_not_judged(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace, cell="test")[:1])
    assert "only test records" in statement(workspace.process(request.id)).unjudged


def test_a_forget_set_too_small_for_cka_is_told_before_anything_is_retrained(
    tmp_path: Path,
) -> None:
    workspace = judged_workspace(tmp_path, (*MARGINS, Margin(CKA, 0.3, "forgetting")))
    request = ask_for(workspace, keys_of(workspace)[:3])
    said = statement(workspace.process(request.id))
    assert said.unjudged == "CKA needs 4 examples, and the forget set has 3"
    assert named(workspace, "reference") == set()


def test_rows_that_are_gone_leave_the_question_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error's own words name keys and paths; the ledger must not."""

    def lost(*given: Any) -> Any:
        raise MissingSource("/home/anna/rows.csv is gone")

    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    monkeypatch.setattr("rescind.readings.ReadModels.run", lost)
    said = statement(workspace.process(request.id))
    assert said.unjudged == "the records cannot be read again"
    assert not [n for n in named(workspace, "manifest") if n.startswith("manifest/read-")]


def reference_names(workspace: Workspace) -> set[str]:
    found = named(workspace, "reference")
    assert len(found) == 8
    return found


def test_the_next_request_makes_them_stale_and_destroys_them(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    keys = keys_of(workspace)
    workspace.process(ask_for(workspace, keys[:12]).id)
    first = reference_names(workspace)
    request = ask_for(workspace, keys[12:])
    said = statement(workspace.process(request.id))
    assert not first & reference_names(workspace)
    assert said.erasure.destroyed["reference"] == 8
    assert [f["trained"] for f in facts(workspace, "references.trained")] == [8, 8]
    assert workspace.remaining() == {}


def test_they_are_gone_after_a_request_that_needs_none(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    keys = keys_of(workspace)
    workspace.process(ask_for(workspace, keys[:12]).id)
    workspace.process(ask_for(workspace, keys[12:], "retrain").id)
    assert named(workspace, "reference") == set()


def test_a_second_evaluation_on_the_same_retain_set_uses_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))

    def broken(*given: Any) -> Any:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(judging, "judged", broken)
        with pytest.raises(OSError, match="full"):
            workspace.process(request.id)
    before = reference_names(workspace)
    workspace.process(request.id)
    assert reference_names(workspace) == before
    assert [f["trained"] for f in facts(workspace, "references.trained")] == [8]
    assert workspace.evaluation(request.id).cpu_seconds["one retraining"] > 0


def test_retraining_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    real = TrainReference.run

    def dying(job: TrainReference, progress: Any) -> Any:
        if job.index == 3:
            raise OSError("killed")
        return real(job, progress)

    with monkeypatch.context() as patch:
        patch.setattr(TrainReference, "run", dying)
        with pytest.raises(OSError, match="killed"):
            workspace.process(request.id)
    assert len(named(workspace, "reference")) == 3
    workspace.process(request.id)
    assert [f["trained"] for f in facts(workspace, "references.trained")] == [5]
    reference_names(workspace)


def at_step_five(monkeypatch: pytest.MonkeyPatch, look: Callable[..., None]) -> None:
    """Look once the models were read, while original and forget set are still there."""
    real = judging.judged

    def judged(b: Any, request: Any, run: Any, candidates: Any, models: Any, *rest: Any) -> Any:
        found = real(b, request, run, candidates, models, *rest)
        look(b, request, run, candidates[0], models.models, found.judgement)
        return found

    monkeypatch.setattr(judging, "judged", judged)


def test_values_are_those_of_the_models_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: each model asked by hand; the CKA of what its first layer gives."""
    seen: list[int] = []

    def look(b: Any, request: Any, run: Any, parts: Any, models: Any, found: Any) -> None:
        listed = [e for e in state.manifest_entries(b) if e.cell != "test"]
        kept = {e.key for e in state.allowed(b)}
        records = rows.read(b, listed)
        batch = run.recipe.task.batch([r.row for r in records if r.key not in kept])
        model = trained_model(run.recipe)

        def answers(part: Any) -> tuple[float, float, torch.Tensor]:
            model.load(from_bytes(state.weights(b, part)))
            with torch.no_grad():
                logits = model.module(batch["array"])
                hidden = cast("Any", model.module)[:-1](batch["array"])
            right = (logits.argmax(1) == batch["labels"]).double().mean()
            shares = logits.softmax(1)[range(len(logits)), batch["labels"]]
            return float(right), float(shares.double().mean()), hidden

        ours, theirs = answers(selection(parts)[0]), [answers(m) for m in models]
        by_name = {g.metric: g for g in found.gaps}
        for i, name in enumerate(("forget accuracy", "forget confidence")):
            assert by_name[name].value == pytest.approx(ours[i])
            mean = sum(t[i] for t in theirs) / 8
            assert by_name[name].retrained_mean == pytest.approx(mean)
        assert by_name[CKA].value == pytest.approx(
            sum(cka(ours[2], t[2]) for t in theirs) / 8, abs=1e-6
        )
        pairs = [cka(x[2], y[2]) for x in theirs for y in theirs if x is not y]
        assert by_name[CKA].retrained_mean == pytest.approx(sum(pairs) / 56, abs=1e-6)
        seen.append(len(batch["labels"]))

    at_step_five(monkeypatch, look)
    workspace = judged_workspace(tmp_path, (*MARGINS, Margin(CKA, 0.3, "forgetting")))
    keys = keys_of(workspace)
    workspace.process(ask_for(workspace, keys).id)
    assert seen == [len(keys)]


def cka(first: torch.Tensor, second: torch.Tensor) -> float:
    found = LinearCka()
    found.add(first, second)
    return found.value()


def test_nothing_that_was_read_of_the_forget_set_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale: list[list[str]] = []

    def look(b: Any, request: Any, *rest: Any) -> None:
        stale.append(sorted(a.name for a in b.artifacts.list(request.labels)))

    workspace = judged_workspace(tmp_path, (*MARGINS, Margin(CKA, 0.3, "forgetting")))
    request = ask_for(workspace, keys_of(workspace))
    before = sorted(a.name for a in workspace.backends.artifacts.list())
    at_step_five(monkeypatch, look)
    workspace.process(request.id)
    assert stale
    assert [n for n in stale[0] if n not in before and "predictions" not in n] == []


def test_references_have_seeds_of_their_own() -> None:
    found = seeds_of(recipe_for())
    assert len(set(found)) == 8
    assert min(found) > 2**50


@pytest.mark.parametrize(
    ("target", "metrics"),
    [
        ("numbers", ("forget rmse", "retain rmse", "test rmse")),
        ("tokens", ("forget loss", "retain loss", "test loss")),
    ],
)
def test_other_targets_are_read_too(target: str, metrics: tuple[str, ...], tmp_path: Path) -> None:
    task, data = CASES[target]
    margins = tuple(
        Margin(name, 0.5, "forgetting" if name.startswith("forget") else "utility")
        for name in metrics
    )
    recipe = Recipe(
        task=task,
        method="finetune",
        partition=Partition(1, 1, 0.2),
        orders=1,
        epochs=2,
        batch_size=16,
        optimizer=AdamW(lr=1e-2),
        margins=margins,
    )
    workspace = new_workspace(tmp_path)
    workspace.train(recipe, data, key="id", store=True)
    keys = [e.key for e in state.allowed(workspace.backends) if e.cell != "test"][:6]
    request = ask_for(workspace, keys)
    workspace.process(request.id)
    found = workspace.evaluation(request.id)
    assert found.judgement is not None
    assert {g.metric for g in found.judgement.gaps} == set(metrics)
    assert all(g.value > 0 and g.natural_spread > 0 for g in found.judgement.gaps)


def test_a_margin_for_what_is_not_read_is_refused_before_training(tmp_path: Path) -> None:
    wrong = (*MARGINS, Margin("forget acuracy", 0.1, "forgetting"))
    workspace = new_workspace(tmp_path)
    with pytest.raises(BadParameter, match="forget confidence") as caught:
        workspace.train(recipe_for(wrong), clouds(), key="id", store=True)
    assert facts(workspace, "run.started") == []
    assert "'forget acuracy'" in caught.value.what


@pytest.mark.parametrize(
    ("margins", "told"),
    [
        (MARGINS[:2], "role 'utility'"),
        (MARGINS[2:], "role 'forgetting'"),
        ((*MARGINS, MARGINS[0]), "twice"),
        ((*MARGINS, Margin("forget loss", 0.0, "forgetting")), "above 0"),
    ],
)
def test_margins_that_cannot_judge_are_refused(margins: Any, told: str) -> None:
    with pytest.raises(BadParameter, match=told):
        recipe_for(margins)


@pytest.mark.parametrize("target", KNOWN)
def test_all_known_metrics_may_have_a_margin(target: Any) -> None:
    task, _ = CASES[target]
    roles = {"forget": "forgetting"}
    margins: Any = [
        {"metric": n, "width": 1, "role": roles.get(n.split()[0], "utility")} for n in KNOWN[target]
    ]
    check_margins(build(Recipe, {"task": task, "margins": margins}))


def test_margins_stand_in_a_recipe_file() -> None:
    text = """
    method = "finetune"
    [task]
    kind = "classification"
    factory = "rescind.training.zoo:mlp"
    classes = ["a", "b"]
    shape = [2]
    [[margins]]
    metric = "forget accuracy"
    width = 0.1
    role = "forgetting"
    [[margins]]
    metric = "test accuracy"
    width = 0.05
    role = "utility"
    """
    found = recipe_from(tomllib.loads(text)).margins
    expected = (
        Margin("forget accuracy", 0.1, "forgetting"),
        Margin("test accuracy", 0.05, "utility"),
    )
    assert found == expected


def test_margins_change_no_weight_and_are_part_of_the_run(tmp_path: Path) -> None:
    plain_, judged = (
        judged_workspace(tmp_path / name, margins)
        for name, margins in (("plain", ()), ("judged", MARGINS))
    )
    assert plain_.version().weights == judged.version().weights
    assert plain_.run().id != judged.run().id
    with pytest.raises(BadParameter, match="another recipe"):
        judged.train(recipe_for(MARGINS[1:]), clouds(), key="id", store=True)


def test_evaluations_of_earlier_versions_are_still_read() -> None:
    old = {"version": "v2", "measurements": [], "unmeasured": "nothing_served"}
    found = build(Evaluation, old)
    assert (found.judgement, found.attempts, found.unjudged) == (None, (), "")
    assert build(Evaluation, plain(found)) == found


def test_a_sample_is_spread_evenly_and_always_the_same() -> None:
    assert sample(range(5), 5) == [0, 1, 2, 3, 4]
    assert sample(range(10), 4) == [0, 2, 5, 7]
    assert len(sample(range(12_345))) == len(set(sample(range(12_345)))) == 2_000


def test_the_plan_tells_what_judging_costs(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    assert any("8 retrained models" in w for w in workspace.report(request.id).plan.warnings)
    exact = workspace.resolve(Ask(keys=keys_of(workspace, "green"), near="keep", method="retrain"))
    assert not any("retrained models" in w for w in workspace.plan(exact).warnings)


def test_an_unknown_request_has_no_evaluation(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    with pytest.raises(RescindError, match="No request"):
        workspace.evaluation("nobody")
    request = ask_for(workspace, keys_of(workspace))
    with pytest.raises(RescindError, match="no evaluation yet"):
        workspace.evaluation(request.id)
