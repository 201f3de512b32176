"""``Auto`` tries cheap methods, lets retrained models and fresh seeds decide, and ends exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_workspace import ask_for, facts, judged_workspace, keys_of, named
from tiny_workspace import kinds, statement

from rescind import state
from rescind.core.canonical import digest, plain
from rescind.core.certificate import Statement
from rescind.core.errors import BadParameter, Refused, UnknownPlugin
from rescind.core.search import Search
from rescind.methods.auto import Auto
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.methods.retrain import Retrain
from rescind.render import to_markdown
from rescind.storage.sql import SqlLedger
from rescind.workspace import Workspace, open_workspace

KILLED = 9
CHEAT = f"{Path(__file__).with_name('fits_known_seeds.py')}:FitsKnownSeeds"
TRAINED_ANEW = {"k": 2, "epochs": 12, "lr": 3e-2}


def searches(folder: Path, seeds: tuple[int, ...] = (0, 7)) -> Path:
    """EU-k of all layers is retraining in the weights; the search has looked at two seeds."""
    found = Search("eu_k", 8, 0, seeds, (), TRAINED_ANEW)
    path = folder / "searches.json"
    path.write_text(json.dumps({"eu_k": plain(found)}))
    return path


def forget(workspace: Workspace, auto: Auto) -> Statement:
    request = ask_for(workspace, keys_of(workspace))
    return statement(workspace.process(request.id, method=auto))


def outcomes(said: Statement) -> list[tuple[str, str, str]]:
    return [(a.method, a.round, a.outcome) for a in said.attempts]


def test_it_escalates_past_what_is_not_admissible_to_exact_retraining(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    said = forget(workspace, Auto(methods=("finetune", "certified_removal", "influence")))
    assert outcomes(said) == [
        ("finetune", "first", "not_admissible"),
        ("certified_removal", "first", "refused"),
        ("influence", "first", "not_admissible"),
        ("retrain", "exact", "exact"),
    ]
    assert (said.guarantee.kind, said.proof.outcome) == ("exact", "identical")
    assert (said.method, said.parameters["taken"]) == ("auto", "retrain")
    assert said.attempts[0].seeds == (0, 1, 2)
    assert said.attempts[0].judgement is not None
    assert "linear" in said.attempts[1].because
    assert all(a.tuned == "defaults" and a.cpu_seconds > 0 for a in said.attempts)
    [request] = workspace.requests()
    found = workspace.evaluation(request.id)
    assert found.attempts == said.attempts
    assert set(found.cpu_seconds) == {"one retraining", "retrained models"}
    assert len(facts(workspace, "method.attempted")) == 4
    text = to_markdown(workspace.report(request.id))
    assert all(a.because.split(":")[0] in text for a in said.attempts)
    assert named(workspace, "snapshot") == {s.name for s in state.parts(workspace.backends)}
    assert workspace.remaining() == {}


def test_what_fresh_seeds_admit_again_is_taken(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    file = searches(tmp_path)
    said = forget(workspace, Auto(methods=("finetune", "eu_k"), parameters=str(file)))
    assert outcomes(said) == [
        ("finetune", "first", "not_admissible"),
        ("eu_k", "first", "admissible"),
        ("eu_k", "fresh", "admissible"),
    ]
    first, fresh = said.attempts[1:]
    # the search has looked at 0 and 7, and none of the first seeds decides
    assert (first.seeds, fresh.seeds) == ((1, 2, 3), (4, 5, 6))
    assert said.guarantee.kind == "empirical"
    assert said.judgement == fresh.judgement
    assert said.judgement is not None
    assert "at level 0.025" in said.judgement.because
    assert fresh.tuned == said.parameters["parameters_digest"] == digest(file.read_bytes())
    assert said.attempts[0].tuned == "defaults"
    assert said.parameters["parameters"] == "searches.json"
    assert (said.parameters["taken"], fresh.parameters["k"]) == ("eu_k", 2)
    assert said.parameters["taken_parameters"]["seed"] == 4
    assert named(workspace, "snapshot") == {s.name for s in state.parts(workspace.backends)}


def test_the_one_that_serves_is_the_first_with_fresh_seeds(tmp_path: Path) -> None:
    one, two = (judged_workspace(tmp_path / name) for name in ("auto", "alone"))
    auto = Auto(methods=("eu_k",), parameters=str(searches(tmp_path, ())))
    taken = forget(one, auto)
    request = ask_for(two, keys_of(two))
    alone = statement(two.process(request.id, method=EUk(k=2, epochs=12, lr=3e-2, seed=3)))
    assert taken.unlearned == alone.unlearned


def test_a_method_that_fits_known_seeds_is_found_out_by_fresh_ones(tmp_path: Path) -> None:
    said = forget(judged_workspace(tmp_path), Auto(methods=(CHEAT,)))
    assert outcomes(said) == [
        (CHEAT, "first", "admissible"),
        (CHEAT, "fresh", "not_admissible"),
        ("retrain", "exact", "exact"),
    ]


def test_where_no_metric_has_power_no_second_method_is_tried(tmp_path: Path) -> None:
    """Red that is left answers for the red that goes: retrained models know it as well."""
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace)[:5])
    said = statement(workspace.process(request.id, method=Auto(methods=("finetune", "ssd"))))
    assert outcomes(said) == [("finetune", "first", "no_power"), ("retrain", "exact", "exact")]
    assert "no metric tells" in said.attempts[1].because


def test_without_margins_it_is_told_before_anything_is_suppressed(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, margins=())
    request = ask_for(workspace, keys_of(workspace), "auto")
    with pytest.raises(BadParameter, match="forget accuracy"):
        workspace.process(request.id)
    assert workspace.cancel(request.id).status == "cancelled"


def test_a_concept_is_refused(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace), "auto", "concept")
    with pytest.raises(Refused, match="goal is a concept"):
        workspace.process(request.id)


def test_shards_that_held_the_records_are_retrained_and_no_others(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, method="sisa", shards=2)
    before = {s.name for s in state.parts(workspace.backends) if s.shard == 1}
    request = ask_for(workspace, keys_of(workspace)[:2])
    said = statement(workspace.process(request.id, method=Auto()))
    assert outcomes(said) == [("sisa", "exact", "exact")]
    assert "served in 2 parts" in said.attempts[0].because
    assert said.guarantee.kind == "exact"
    assert before <= {s.name for s in state.parts(workspace.backends)}
    assert named(workspace, "reference") == set()


def test_test_records_alone_need_no_attempt(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace, cell="test")[:1])
    said = statement(workspace.process(request.id, method=Auto()))
    assert (said.attempts, said.unchanged) == ((), "test_only")


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a forked process; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dies_after(attempts: int) -> None:
    """This process ends just after so many attempts were recorded."""
    real, seen = SqlLedger.append, [0]

    def append(ledger: Any, entry: Any) -> Any:
        made = real(ledger, entry)
        seen[0] += entry.kind == "method.attempted"
        if seen[0] == attempts:
            os._exit(KILLED)
        return made

    pytest.MonkeyPatch().setattr(SqlLedger, "append", append)


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_between_attempts_it_goes_on_after_those_made(
    killed_after: int, tmp_path: Path
) -> None:
    auto = Auto(methods=("finetune", "eu_k"), parameters=str(searches(tmp_path)))
    calm = forget(judged_workspace(tmp_path / "calm"), auto)
    workspace = judged_workspace(tmp_path / "killed")
    request = ask_for(workspace, keys_of(workspace))
    workspace.backends.ledger.close()

    def work() -> None:
        dies_after(killed_after)
        open_workspace(tmp_path / "killed").process(request.id, method=auto)

    assert in_child(work) == KILLED
    again = open_workspace(tmp_path / "killed")
    assert kinds(again).count("method.attempted") == killed_after
    said = statement(again.process(request.id, method=auto))
    assert kinds(again).count("method.attempted") == 3
    assert kinds(again).count("references.trained") == 1
    assert outcomes(said) == outcomes(calm)
    assert (said.unlearned, said.judgement) == (calm.unlearned, calm.judgement)
    assert said.parameters == calm.parameters
    assert named(again, "snapshot") == {s.name for s in state.parts(again.backends)}


def test_seeds_of_an_earlier_escalation_never_decide_and_stay_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying lists of methods until one is admitted is seen, and makes the next one harder."""
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    file = str(searches(tmp_path, ()))

    def broken(*given: Any) -> Any:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(Retrain, "unlearn", broken)
        with pytest.raises(OSError, match="space"):
            workspace.process(request.id, method=Auto(methods=(CHEAT,)))
    said = statement(
        workspace.process(request.id, method=Auto(methods=(CHEAT, "eu_k"), parameters=file))
    )
    cheat = [a for a in said.attempts if a.method == CHEAT]
    assert [a.seeds for a in cheat] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert said.judgement is not None
    assert "at level 0.0166667" in said.judgement.because  # 0.05 / 3


def test_another_method_afterwards_is_judged_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))

    def broken(*given: Any) -> Any:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("rescind.steps._created", broken)
        with pytest.raises(OSError, match="space"):
            auto = Auto(methods=("eu_k",), parameters=str(searches(tmp_path)))
            workspace.process(request.id, method=auto)
    said = statement(workspace.process(request.id, method=FineTune(lr=1e-6)))
    assert said.judgement is not None
    assert (said.method, said.judgement.verdict) == ("finetune", "not_admissible")
    assert [a.method for a in said.attempts] == ["eu_k", "eu_k"]


@pytest.mark.parametrize("text", ["no json", "[1]", '{"eu_k": {"method": "ssd"}}'])
def test_a_file_that_holds_no_searches_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "searches.json"
    file.write_text(text)
    workspace = judged_workspace(tmp_path / "ws")
    with pytest.raises(BadParameter):
        forget(workspace, Auto(methods=("eu_k",), parameters=str(file)))


def test_methods_that_cannot_be_tried_are_refused_at_once(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    with pytest.raises(UnknownPlugin):
        workspace.process(request.id, method=Auto(methods=("finetune", "nosuch")))
    assert facts(workspace, "method.attempted") == []
    for wrong in ({"methods": ()}, {"methods": ("ssd", "ssd")}, {"methods": ("auto",)}):
        with pytest.raises(BadParameter):
            Auto(**wrong)
    with pytest.raises(BadParameter, match="seeds is 0"):
        Auto(seeds=0)
