"""A request for a concept: probes of it beside the original model, and no retrained model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judged_workspace import ask_for, clouds, facts, judged_workspace, keys_of, named
from test_whole_models import CASES
from tiny_workspace import checked, new_workspace, statement

from rescind import concepts, evaluate, state
from rescind.core.canonical import plain
from rescind.core.certificate import Statement
from rescind.core.dataset import Row, Split
from rescind.core.errors import BadParameter, MissingSource, NoOp
from rescind.core.evidence import Evaluation, Measurement
from rescind.core.partition import Partition
from rescind.core.protocols import ModelHandle, Unlearned, Unlearner
from rescind.core.run import AdamW, Recipe, Run
from rescind.judged_tables import CONCEPT, concept_table
from rescind.judging import CONCEPT as OPEN
from rescind.methods.base import CLASSES, Work, edit
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.methods.last_layers import last_layers, reinitialise
from rescind.metrics.statistics import paired_difference, wilson
from rescind.render import to_html, to_markdown
from rescind.resolve import Ask
from rescind.workspace import Workspace

NO_OP = FineTune(lr=1e-6)
AS_BEFORE = "the model still answers as before"
LESS_OFTEN = "the model answers it rightly less often than before"
FELL, KEPT = "utility fell", "no loss of utility is shown"
NAMES = (
    "concept_accuracy",
    "concept_accuracy_change",
    "utility_accuracy",
    "utility_accuracy_change",
)


@dataclass(frozen=True)
class RandomWeights:
    """Forgets everything."""

    seed: int = 0

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        def change(work: Work) -> None:
            reinitialise(last_layers(work.model, 2), self.seed)

        return edit(model, split, run, CLASSES, change)


@dataclass(frozen=True)
class AlwaysRed:
    """The cheat that keeps the concept and destroys the rest: its answer never depends on a row."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        def change(work: Work) -> None:
            last: Any = list(work.model.module.children())[-1]
            with torch.no_grad():
                last.weight.zero_()
                last.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))

        return edit(model, split, run, CLASSES, change)


def done(
    workspace: Workspace, keys: Sequence[str], method: Unlearner | str | None = None
) -> tuple[Statement, str]:
    """What is certified of a request for a concept, and the request's id."""
    name = method if isinstance(method, str) else None
    request = ask_for(workspace, keys, name, "concept")
    given = None if isinstance(method, str) else method
    return statement(workspace.process(request.id, method=given, accept_outage=True)), request.id


def by_name(measurements: Sequence[Measurement], version: str) -> dict[str, Measurement]:
    return {m.name: m for m in measurements if m.version == version}


def test_a_no_op_visibly_changes_nothing_wherever_it_is_told(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace), goal="concept")
    certificate = workspace.process(request.id, method=NO_OP)
    said, found = statement(certificate), workspace.evaluation(request.id)
    old, new = by_name(said.measurements, "v1"), by_name(said.measurements, "v2")
    assert old["concept_accuracy"].value == new["concept_accuracy"].value == 1.0
    low, high = new["concept_accuracy_change"].interval
    assert low <= 0 <= high
    assert {new[name].compared_with for name in NAMES} == {"original"}
    assert {new[name].passed for name in NAMES} == {None}
    assert found.judgement is None
    assert said.unjudged == found.unjudged
    for told in (OPEN, AS_BEFORE, KEPT, "above chance (0.333)", concepts.NOT_PART):
        assert told in found.unjudged
    [entry] = facts(workspace, "evaluation.done")
    assert (
        entry["concept"]
        == f"as far as {new['concept_accuracy'].n} probes tell, {AS_BEFORE}; {KEPT}"
    )
    report = workspace.report(request.id)
    for text in (to_html(report), to_markdown(report)):
        for told in (AS_BEFORE, *CONCEPT.values(), "The concept, beside the original model"):
            assert told in text
        assert "Beside retrained models" not in text
    assert AS_BEFORE in next(m.what for m in report.timeline if m.kind == "evaluation.done")
    [line] = [a for a in checked(certificate).attested if AS_BEFORE in a]
    assert line.endswith(concepts.NOT_PART)  # a line is cut after 600 characters
    assert named(workspace, "reference") == set()
    assert workspace.remaining() == {}


@pytest.mark.parametrize("method", [EUk(k=2, epochs=12, lr=3e-2), "retrain"])
def test_whoever_cannot_answer_it_any_more_is_measured_to(method: Any, tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, margins=())
    said, request = done(workspace, keys_of(workspace), method)
    new = by_name(said.measurements, "v2")
    assert new["concept_accuracy"].value == 0.0
    assert new["concept_accuracy_change"].interval[1] < 0
    for told in (LESS_OFTEN, "not told from chance (0.333)", KEPT):
        assert told in said.unjudged
    assert AS_BEFORE not in said.unjudged
    assert said.guarantee.kind == ("exact" if method == "retrain" else "empirical")
    assert workspace.evaluation(request).goal == "concept"
    assert "retrained models" not in to_markdown(workspace.report(request)).split("## Plan")[0]


@pytest.mark.parametrize(
    ("method", "concept"),
    [(RandomWeights(), None), (AlwaysRed(), AS_BEFORE)],
    ids=["random", "red"],
)
def test_a_destroyed_model_fails_utility(method: Any, concept: str | None, tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    said, _ = done(workspace, keys_of(workspace), method)
    changed = by_name(said.measurements, "v2")["utility_accuracy_change"]
    assert changed.interval[1] < 0
    assert FELL in said.unjudged
    assert KEPT not in said.unjudged
    assert concept is None or concept in said.unjudged


def rows_of(workspace: Workspace) -> list[dict[str, Any]]:
    """The test rows, and whether each is red."""
    cell = {e.key: e.cell for e in state.allowed(workspace.backends)}
    return [r for r in clouds() if cell[str(r["id"])] == "test"]


@pytest.mark.parametrize(
    ("names", "shards", "method"),
    [(("red", "green"), 1, EUk(k=1, epochs=2)), (("red",), 2, None)],
)
def test_measures_are_those_of_the_live_model_asked_row_by_row(
    names: tuple[str, ...], shards: int, method: Any, tmp_path: Path
) -> None:
    """Oracle: all test rows put to the model that serves, before and after, one at a time."""
    workspace = judged_workspace(
        tmp_path, method="sisa" if shards > 1 else "finetune", shards=shards
    )
    test = rows_of(workspace)

    def right(wanted: bool) -> list[bool]:
        some: list[Row] = [r for r in test if (r["label"] in names) == wanted]
        return [workspace.predict([r])[0]["label"] == r["label"] for r in some]

    before = {"concept": right(True), "utility": right(False)}
    cells = [f"{i}.0" for i in range(shards)]
    keys = [k for name in names for cell in cells for k in keys_of(workspace, name, cell)]
    said, _ = done(workspace, keys, method)
    after = {"concept": right(True), "utility": right(False)}
    old, new = by_name(said.measurements, "v1"), by_name(said.measurements, "v2")
    for what in ("concept", "utility"):
        for side, answers in ((old, before[what]), (new, after[what])):
            assert side[f"{what}_accuracy"].value == pytest.approx(sum(answers) / len(answers))
            assert side[f"{what}_accuracy"].interval == wilson(sum(answers), len(answers))
        changed = new[f"{what}_accuracy_change"]
        assert (changed.value, *changed.interval) == paired_difference(before[what], after[what])
        assert changed.n == sum((r["label"] in names) == (what == "concept") for r in test)


def nothing(said: Statement) -> str:
    """Why no probe was there; then nothing is measured but what every request measures."""
    assert not {m.name for m in said.measurements} & {*NAMES}
    _, told = said.unjudged.split(f"; {concepts.NO_PROBE}: ")
    return told


def test_a_label_takes_its_training_records_and_leaves_the_probes(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    draft = workspace.resolve(Ask(concept="red", near="keep"))
    assert set(draft.keys) == set(keys_of(workspace))
    assert draft.target.kind == "concept" and draft.target.test_records == 0
    request = workspace.accept(draft)
    said = statement(workspace.process(request.id, method=EUk(k=2, epochs=12, lr=3e-2)))
    assert said.goal == request.goal == "concept"
    assert {m.name for m in said.measurements} >= {*NAMES}
    assert not re.search(r"\bred\b", repr(said))
    with pytest.raises(NoOp, match="'red'"):  # its rows are destroyed
        workspace.resolve(Ask(concept="red", near="keep"))


def test_eight_retrained_models_are_planned_for_an_influence_only(tmp_path: Path) -> None:
    workspace, edits = judged_workspace(tmp_path), "finetune"
    for ask, count in ((Ask(keys=tuple(keys_of(workspace))), 1), (Ask(concept="red"), 0)):
        plan = workspace.plan(workspace.resolve(replace(ask, near="keep", method=edits)))
        assert sum("Judging takes 8" in each for each in plan.warnings) == count


def test_a_label_that_no_record_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NoOp, match="'read'") as caught:
        judged_workspace(tmp_path).resolve(Ask(concept="read"))
    assert "blue, green, red" in str(caught.value)


def test_without_a_label_as_a_whole_there_is_no_probe(tmp_path: Path) -> None:
    """One red record that stays is enough."""
    workspace = judged_workspace(tmp_path)
    said, request = done(workspace, keys_of(workspace)[1:])
    assert nothing(said) == "no label goes as a whole, training records of each stay"
    text = to_markdown(workspace.report(request))
    assert concepts.NO_PROBE in text
    assert CONCEPT["concept_accuracy"] not in text
    [entry] = facts(workspace, "evaluation.done")
    assert entry["concept"] == f"{concepts.NO_PROBE}: {nothing(said)}"


@pytest.mark.parametrize("by", ["keys", "words"])
def test_a_request_that_takes_the_test_records_too_leaves_no_probe(by: str, tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    test = keys_of(workspace, cell="test")
    keys = keys_of(workspace) + test
    what = Ask(keys=keys) if by == "keys" else Ask(words="red")
    request = workspace.request(replace(what, near="keep", goal="concept"))
    assert request.target.test_records == len(test) > 0
    said = statement(workspace.process(request.id))
    assert nothing(said) == "no test record is left of the labels that go as a whole"


def test_test_records_alone_are_no_concept(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    said, _ = done(workspace, keys_of(workspace, cell="test")[:2])
    assert "no label goes as a whole" in nothing(said)


def test_a_second_request_completes_a_label(tmp_path: Path) -> None:
    """What an earlier request took is not there any more, so the rest is the whole."""
    workspace = judged_workspace(tmp_path)
    keys = keys_of(workspace)
    assert nothing(done(workspace, keys[:10])[0])
    assert concepts.NO_PROBE not in done(workspace, keys[10:])[0].unjudged


def test_where_every_test_record_is_a_probe_utility_is_not_measured(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    others = [k for n in ("green", "blue") for k in keys_of(workspace, n, "test")]
    statement(workspace.process(ask_for(workspace, others).id))
    said, _ = done(workspace, keys_of(workspace))
    assert {m.name for m in said.measurements} & {*NAMES} == {*NAMES[:2]}
    assert concepts.NO_OTHER in said.unjudged


def test_where_nothing_serves_any_more_nothing_is_measured(tmp_path: Path) -> None:
    """A class lies in all shards, so a method that only cuts leaves none."""
    workspace = judged_workspace(tmp_path, method="s3t", shards=2)
    keys = [k for cell in ("0.0", "1.0") for k in keys_of(workspace, cell=cell)]
    request = ask_for(workspace, keys, goal="concept")
    said = statement(workspace.process(request.id, accept_outage=True))
    assert said.unmeasured == "nothing_served"
    assert nothing(said) == "nothing is served after this request"


def test_without_any_test_record_nothing_is_measured(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    test = [k for n in ("red", "green", "blue") for k in keys_of(workspace, n, "test")]
    said, _ = done(workspace, [*keys_of(workspace), *test])
    assert said.measurements == ()
    assert nothing(said) == "no test record is left"


def test_where_the_original_is_lost_only_the_unlearned_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = judged_workspace(tmp_path)
    monkeypatch.setattr(evaluate, "_lost", lambda *given: True)
    said, request = done(workspace, keys_of(workspace), NO_OP)
    new = by_name(said.measurements, "v2")
    assert {m.name for m in said.measurements} == {"test_accuracy", NAMES[0], NAMES[2]}
    assert new["concept_accuracy"].compared_with == "none"
    assert "what served before was not measured" in said.unjudged
    assert AS_BEFORE not in said.unjudged
    assert "not measured" in to_markdown(workspace.report(request))


def test_rows_that_are_gone_are_told_without_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*given: Any) -> Any:
        raise MissingSource("/home/anna/rows.csv is gone")

    workspace = judged_workspace(tmp_path)
    monkeypatch.setattr(concepts, "whole_labels", lost)
    said, _ = done(workspace, keys_of(workspace))
    assert nothing(said) == "the records cannot be read again"


def test_other_targets_have_no_labels(tmp_path: Path) -> None:
    task, data = CASES["numbers"]
    recipe = Recipe(
        task=task,
        method="finetune",
        partition=Partition(1, 1, 0.2),
        orders=1,
        epochs=1,
        batch_size=16,
        optimizer=AdamW(lr=1e-2),
    )
    workspace = new_workspace(tmp_path)
    workspace.train(recipe, data, key="id", store=True)
    keys = [e.key for e in state.allowed(workspace.backends) if e.cell != "test"][:6]
    said, _ = done(workspace, keys)
    assert nothing(said) == "the task answers with numbers, not with classes"
    with pytest.raises(BadParameter, match="The task answers with numbers"):
        workspace.resolve(Ask(concept="red"))


def test_influence_is_asked_without_these_measures(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, margins=())
    request = ask_for(workspace, keys_of(workspace))
    said = statement(workspace.process(request.id))
    assert not {m.name for m in said.measurements} & {*NAMES}
    assert "concept" not in facts(workspace, "evaluation.done")[0]
    assert "Beside retrained models" in to_markdown(workspace.report(request.id))


def test_reports_of_earlier_evaluations_say_what_they_said(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    _, request = done(workspace, keys_of(workspace), NO_OP)
    report = workspace.report(request)
    kept = tuple(m for m in report.after if m.name not in NAMES)
    old = replace(report, before=report.before[:1], after=kept, unjudged=OPEN)
    assert concept_table(old.before, old.after) is None
    text = to_markdown(old)
    assert CONCEPT["concept_accuracy"] not in text
    assert "whether the concept is gone is open" in text


def both(before: int, after: int) -> tuple[Evaluation, Evaluation]:
    return Evaluation(f"v{before}", ()), Evaluation(f"v{after}", (), unjudged=OPEN)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([True] * 40, [True] * 39 + [False], AS_BEFORE),
        ([True] * 40, [True] * 20 + [False] * 20, LESS_OFTEN),
        ([False] * 40, [True] * 20 + [False] * 20, "more often than before"),
        ([False] * 40, [False] * 40, AS_BEFORE),
        ([True] * 2, [True, False], AS_BEFORE),
    ],
)
def test_the_paired_interval_decides_the_words(old: list[bool], new: list[bool], told: str) -> None:
    some = [True] * 10
    found = concepts._found(both(1, 2), concepts.Answers(old, some), concepts.Answers(new, some), 4)
    low, high = next(m for m in found.after.measurements if m.name == NAMES[1]).interval
    assert (told == AS_BEFORE) == (low <= 0 <= high)
    assert told in found.after.unjudged
    assert f"{len(new)} probes" in found.after.unjudged
    assert plain(found.before)["measurements"][0]["n"] == len(old)
