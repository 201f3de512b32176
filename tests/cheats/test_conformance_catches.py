"""For each check there is a method that breaks it; the honest methods pass them all elsewhere."""

from __future__ import annotations

from pathlib import Path

import failing_methods as failing
import lying_methods as lying
import pytest
from false_certificates import AddsNoiseAlone

from rescind.core.protocols import Unlearner
from rescind.methods.s3t import S3T
from rescind.testing.conformance import CHECKS, WITHDRAWER_CHECKS, NotConforming, run_check
from rescind.testing.trial import Trial

BREAKS: dict[str, tuple[Unlearner, str]] = {
    "parameters_are_plain_fields": (failing.RoundsItsParameter(0.26), "changed 'share'"),
    "parameters_survive_json": (failing.HoldsAFunction(), "JSON"),
    "one_record": (lying.DropsEverything(), "dropped all"),
    "everything_waits": (lying.KeepsEverything(), "left 8 snapshots in service"),
    "same_seed_same_weights": (failing.DropsAnotherPartEachTime(), "other bytes"),
    "originals_are_untouched": (lying.EditsWeightsInPlace(), "does not hold the weights"),
    "writes_no_ledger_entry": (failing.KeepsADiary(), "The ledger grew"),
    "reads_nothing_after_returning": (lying.ReadsAfterReturning(), "after it had returned"),
    "parts_have_lineage": (lying.ReturnsForeignParts(), "elsewhere"),
    "one_cpu_thread": (failing.TakesTwoThreads(), r"\(1, 2\)"),
    "exact_claims_survive_the_replay": (failing.ClaimsTooMuch(), "was claimed and"),
    "certified_claims_survive_an_audit": (AddsNoiseAlone(), "two claims allow 2.00"),
    "withdrawal_cuts_the_cells": (lying.CutsTheWrongShard(), "are kept"),
    "withdrawal_is_a_partition": (lying.LosesParts(), "lost, doubled or put in"),
    "withdrawing_twice_changes_nothing": (lying.CutsMoreTheSecondTime(), "cut more"),
    "withdrawals_in_any_order": (failing.CutsOneMoreAtFirst(), "different parts"),
}


@pytest.mark.parametrize("check", BREAKS)
def test_a_check_catches_its_cheat(check: str, trial: Trial) -> None:
    method, words = BREAKS[check]
    with pytest.raises(NotConforming, match=words) as caught:
        run_check(check, Trial(method, trial.folder, trial.records, trial.epochs))
    assert caught.value.check == check


@pytest.mark.parametrize("check", ["a_class", "everything_but_one"])
def test_an_error_that_is_none_of_ours_comes_through(check: str, trial: Trial) -> None:
    method = failing.FailsOnMany()
    with pytest.raises(ZeroDivisionError):
        run_check(check, Trial(method, trial.folder, trial.records, trial.epochs))


def test_trials_may_share_a_folder_one_after_another(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a trial that is gone may leave its place in memory, and so its id, to the next
    monkeypatch.setattr("rescind.testing.trial.id", lambda _: 0, raising=False)
    trials = [Trial(S3T(), trial.folder, trial.records, trial.epochs) for _ in range(2)]
    assert len({each.workspace().folder for each in trials}) == 2


@pytest.mark.slow
def test_a_ruined_model_is_caught(tmp_path: Path) -> None:
    with pytest.raises(NotConforming, match="Test accuracy is"):
        run_check("keeps_utility", Trial(failing.RuinsTheModel(), tmp_path))


def test_the_honest_method_passes_where_its_cheats_do_not(trial: Trial) -> None:
    honest = Trial(failing.Truncates(), trial.folder, trial.records, trial.epochs)
    for check in BREAKS:
        run_check(check, honest)


def test_an_empty_request_that_is_accepted_is_caught(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rescind.workspace.Workspace.request", lambda self, ask: None)
    with pytest.raises(NotConforming, match="accepted"):
        run_check("nothing_is_refused", trial)


def test_no_check_is_without_its_cheat() -> None:
    elsewhere = {"a_class", "everything_but_one", "keeps_utility", "nothing_is_refused"}
    assert {*BREAKS} | elsewhere == {*CHECKS, *WITHDRAWER_CHECKS}
