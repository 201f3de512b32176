"""What every unlearning method must do, as named checks over tiny tasks.

After scikit-learn's ``check_estimator``. ``check_unlearner(method, folder)`` runs them all; the
pytest option ``--rescind-method`` runs each as a test of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rescind import state, trainer
from rescind.certify import envelope_bytes
from rescind.core.canonical import build, dumps
from rescind.core.certificate import Certificate, Statement
from rescind.core.dataset import Key
from rescind.core.errors import Refused, RescindError, UnsupportedModel
from rescind.core.guarantee import STRENGTH, Certified, Exact
from rescind.core.partition import Cell
from rescind.core.protocols import Unlearner, Withdrawer
from rescind.core.run import Snapshot
from rescind.proofs.verifier import verify
from rescind.resolve import Ask
from rescind.testing.epsilon_audit import epsilon_at_least
from rescind.testing.trial import SEEDS, Trial, trained_keys, trial_rows
from rescind.workspace import Workspace

CHANCE = 0.5  # two labels in equal numbers
WELL_ABOVE = 0.85  # what the trained models of the trial reach with room to spare
MAY_LOSE = 0.15  # of the test accuracy, by forgetting one record of 120
DRAWS = 400  # releases in each world of an audit: they can show an epsilon of 3.9 and no more


class NotConforming(RescindError, AssertionError):
    """A method broke a check; ``check`` names it."""

    def __init__(self, check: str, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.check = check


def check_unlearner(method: Unlearner, folder: str | Path) -> tuple[str, ...]:
    """Run every check that applies to the method.

    Args:
        method: an instance; its class must be registered or stand in a file.
        folder: where tiny models are trained and copied; methods may share it.

    Returns:
        The names of the checks, all passed.

    Raises:
        NotConforming: names every check that failed and why.
    """
    trial, problems = Trial(method, Path(folder)), []
    names = checks_for(method)
    for name in names:
        try:
            run_check(name, trial)
        except NotConforming as error:
            problems.append(error)
    if problems:
        said = "; ".join(f"{p.check}: {p}" for p in problems)
        raise NotConforming(
            problems[0].check,
            f"{type(method).__name__} fails {len(problems)} of {len(names)} checks: {said}",
            do="Mend the method; docs/how-to/add-a-method.md says what each check asks.",
        )
    return names


def checks_for(method: Unlearner) -> tuple[str, ...]:
    """The names of the checks that apply to a method."""
    found = dict(CHECKS)
    if isinstance(method, Withdrawer):
        found |= WITHDRAWER_CHECKS
    return tuple(found)


def run_check(name: str, trial: Trial) -> None:
    """One check by its name.

    Raises:
        NotConforming: the method breaks it, or an error nobody may see came out of the method.
    """
    check = (CHECKS | WITHDRAWER_CHECKS)[name]
    try:
        check(trial)
    except NotConforming:
        raise
    except RescindError as error:
        raise NotConforming(name, f"The pipeline refused the method: {error}") from error


def _demand(holds: bool, check: str, what: str) -> None:
    if not holds:
        raise NotConforming(check, what)


def parameters_are_plain_fields(trial: Trial) -> None:
    """A frozen dataclass whose constructor stores its fields and does nothing else."""
    here, method = "parameters_are_plain_fields", trial.method
    options: Any = getattr(method, "__dataclass_params__", None)
    _demand(options is not None and options.frozen, here, "The class is no frozen dataclass.")
    _demand(options.init, here, "The class has a constructor of its own.")
    again: Any = dataclasses.replace(method)  # type: ignore[type-var]
    for one in dataclasses.fields(again):
        same = getattr(again, one.name) is getattr(method, one.name)
        _demand(same, here, f"The constructor changed {one.name!r} instead of storing it.")
    extra = set(getattr(again, "__dict__", ())) - {f.name for f in dataclasses.fields(again)}
    _demand(not extra, here, f"The constructor stores what is no field: {sorted(extra)}.")


def parameters_survive_json(trial: Trial) -> None:
    """Parameters are written down with a version and come back equal."""
    here = "parameters_survive_json"
    try:
        again = build(type(trial.method), json.loads(dumps(trial.method)))
    except (TypeError, ValueError) as error:
        raise NotConforming(here, f"{trial.method} cannot be written as JSON: {error}") from error
    _demand(again == trial.method, here, f"{trial.method} came back from JSON as {again}.")


def one_record(trial: Trial) -> None:
    """One record is forgotten: a certificate that verifies, and nothing of the record is left."""
    done = trial.outcome
    _check_closed("one_record", done.workspace, done.workspace.certificate(done.request.id))
    named = {c.name: c.outcome for c in _verified(done.workspace, done.request.id)}
    _demand("failed" not in named.values(), "one_record", f"The certificate fails: {named}.")
    stale = _stale(done.workspace, done.request.labels)
    _demand(not stale, "one_record", f"Parts made from the record still serve: {stale}.")


def a_class(trial: Trial) -> None:
    """All records of one label: a certificate, or a refusal that leaves nothing half done."""
    rows = trial_rows(trial.records)
    _forget_many("a_class", trial, [row["id"] for row in rows if row["label"] == "sport"])


def everything_but_one(trial: Trial) -> None:
    """All records that were trained on except one."""
    keys = trained_keys(trial.workspace())
    _forget_many("everything_but_one", trial, keys[1:])


def nothing_is_refused(trial: Trial) -> None:
    """An empty forget set is refused, and nothing is written."""
    here, workspace = "nothing_is_refused", trial.workspace()
    head = workspace.head()
    try:
        workspace.request(Ask(keys=(), near="keep", method=trial.name))
    except RescindError:
        _demand(workspace.head() == head, here, "A refused request left an entry in the ledger.")
        return
    _demand(False, here, "An empty forget set was accepted.")


def everything_waits(trial: Trial) -> None:
    """The whole training set: nobody goes out of service, or is certified, unasked."""
    here, workspace = "everything_waits", trial.workspace()
    live = state.parts(workspace.backends)
    request = trial.accept(workspace, workspace.keys())
    try:
        workspace.process(request.id, method=trial.applied(workspace), replay=False)
    except RescindError as error:
        withdraws = isinstance(trial.method, Withdrawer)
        _demand(not withdraws or isinstance(error, Refused), here, f"It was not asked: {error}")
    else:
        _demand(False, here, "A model without data was certified without --accept-outage.")
    _demand(state.parts(workspace.backends) == live, here, "Parts left service unasked.")


def same_seed_same_weights(trial: Trial) -> None:
    """Two workspaces with the same seed come out with the same bytes.

    A method whose seed is None draws from the system: two of its releases differ, and it is tried
    with a seed instead.
    """
    here, method = "same_seed_same_weights", trial.method
    if getattr(method, "seed", 0) is None:
        free = [o.seen.stored.values() for o in (trial.outcome, trial.forget_one())]
        _demand([*free[0]] != [*free[1]], here, "Without a seed the same bytes came twice.")
        method = dataclasses.replace(method, seed=0)  # type: ignore[type-var]
        trial = Trial(method, trial.folder, trial.records, trial.epochs)
    one, two = trial.outcome, trial.forget_one()
    names = [s.name for s in one.seen.result.parts]
    same = names == [s.name for s in two.seen.result.parts] and one.seen.stored == two.seen.stored
    _demand(same, here, "The same seed gave other bytes the second time.")
    both = (one.workspace.state_digest(), two.workspace.state_digest())
    _demand(both[0] == both[1], here, "The same seed serves another selection the second time.")


def originals_are_untouched(trial: Trial) -> None:
    """The snapshots that the method was given are, byte for byte, what they were."""
    seen = trial.outcome.seen
    changed = [n for n, data in seen.before_bytes.items() if seen.after_bytes[n] != data]
    _demand(not changed, "originals_are_untouched", f"The method changed {changed}.")


def writes_no_ledger_entry(trial: Trial) -> None:
    """Only the pipeline writes to the ledger."""
    before, after = trial.outcome.seen.heads
    _demand(before == after, "writes_no_ledger_entry", "The ledger grew while the method worked.")


def reads_nothing_after_returning(trial: Trial) -> None:
    """When the method has returned, the forget set is out of its reach."""
    late = trial.outcome.seen.forget.late_reads
    _demand(not late, "reads_nothing_after_returning", f"The forget set was read {late} times.")


def parts_have_lineage(trial: Trial) -> None:
    """Every part returned is stored, is what it says it is, and says what it was made from."""
    here, seen = "parts_have_lineage", trial.outcome.seen
    _demand(bool(seen.result.parts), here, "No part was returned.")
    for part in seen.result.parts:
        found = hashlib.sha256(seen.stored[part.name]).hexdigest()
        _demand(found == part.digest, here, f"{part.name} holds other bytes than it says.")
        known = seen.made_from[part.name] == seen.wanted[part.name]
        _demand(known, here, f"The store does not know what {part.name} was made from.")


def one_cpu_thread(trial: Trial) -> None:
    """Bytes depend on the number of threads; a method leaves it at the one that was set."""
    found = trial.outcome.seen.threads
    _demand(found == (1, 1), "one_cpu_thread", f"Threads before and after the method: {found}.")


def keeps_utility(trial: Trial) -> None:
    """After forgetting one record the model is about as good as before, and as retraining."""
    here, outcomes = "keeps_utility", [trial.forget_one(seed) for seed in SEEDS]
    before = _mean([_accuracy(o.statement, "none") for o in outcomes])
    after = _mean([_accuracy(o.statement, "original") for o in outcomes])
    retrained = _mean([_accuracy(trial.retrained(seed), "original") for seed in SEEDS])
    _demand(before > WELL_ABOVE > CHANCE, here, f"The original reaches only {before:.2f}.")
    for name, reference in (("the original", before), ("retraining", retrained)):
        enough = after > reference - MAY_LOSE
        _demand(enough, here, f"Test accuracy is {after:.2f}; {name} has {reference:.2f}.")


def exact_claims_survive_the_replay(trial: Trial) -> None:
    """What is claimed is what the certificate carries; without a claim it carries no more."""
    here, done = "exact_claims_survive_the_replay", trial.outcome
    claimed, carried = done.seen.result.guarantee, done.statement.guarantee
    if isinstance(claimed, Exact):
        _demand(carried == claimed, here, f"{claimed} was claimed and {carried} carried.")
    _demand(STRENGTH[carried.kind] <= STRENGTH[claimed.kind], here, f"{carried} out of {claimed}.")


def certified_claims_survive_an_audit(trial: Trial) -> None:
    """Releases do not show what the forgotten records said, beyond what is claimed.

    Whatever they said, each world is (epsilon, delta) from one and the same retrained model, so the
    two are at most (2 epsilon, (1 + e^epsilon) delta) from each other.
    """
    here, claimed = "certified_claims_survive_an_audit", trial.outcome.seen.result.guarantee
    if not isinstance(claimed, Certified):
        return
    delta = (1.0 + math.exp(min(claimed.epsilon, 100.0))) * claimed.delta
    one, other = (trial.releases(DRAWS, swapped=swapped) for swapped in (False, True))
    found = epsilon_at_least(one, other, delta)
    said = f"Releases show an epsilon of at least {found:.2f}; two claims allow"
    _demand(found <= 2 * claimed.epsilon, here, f"{said} {2 * claimed.epsilon:.2f}.")


def withdrawal_cuts_the_cells(trial: Trial) -> None:
    """After a withdrawal no part is left that was made from one of the cells."""
    here, (method, parts, sets) = "withdrawal_cuts_the_cells", _withdrawals(trial)
    for cells in sets:
        names = {str(cell) for cell in cells}
        left = [p.name for p in method.withdraw(parts, cells).kept if p.cells & names]
        _demand(not left, here, f"Parts made from {sorted(names)} are kept: {left}.")


def withdrawal_is_a_partition(trial: Trial) -> None:
    """Each part is kept or cut, never both, never neither; without cells none is cut."""
    here, (method, parts, sets) = "withdrawal_is_a_partition", _withdrawals(trial)
    for cells in sets:
        result = method.withdraw(parts, cells)
        both = sorted((*result.kept, *result.cut), key=lambda p: p.name)
        whole = both == sorted(parts, key=lambda p: p.name)
        _demand(whole, here, "Parts were lost, doubled or put in.")
    _demand(not method.withdraw(parts, frozenset()).cut, here, "No cell, and parts are cut.")


def withdrawing_twice_changes_nothing(trial: Trial) -> None:
    """What survived a withdrawal survives the same one again."""
    here, (method, parts, sets) = "withdrawing_twice_changes_nothing", _withdrawals(trial)
    for cells in sets:
        once = method.withdraw(parts, cells).kept
        again = method.withdraw(once, cells)
        _demand(again.kept == once and not again.cut, here, "A second withdrawal cut more.")


def withdrawals_in_any_order(trial: Trial) -> None:
    """Two requests, in either order or as one, leave the same parts."""
    here, (method, parts, sets) = "withdrawals_in_any_order", _withdrawals(trial)
    for one, two in itertools.combinations(sets, 2):
        ends = [
            {p.name for p in method.withdraw(method.withdraw(parts, first).kept, second).kept}
            for first, second in ((one, two), (two, one), (one | two, frozenset()))
        ]
        _demand(ends[0] == ends[1] == ends[2], here, f"{one} and {two} leave different parts.")


def _withdrawals(
    trial: Trial,
) -> tuple[Withdrawer, tuple[Snapshot, ...], tuple[frozenset[Cell], ...]]:
    """The method, all trained parts, and every non-empty set of cells."""
    run = state.run(trial.workspace().backends)
    cells = run.recipe.partition.cells()
    sizes = range(1, len(cells) + 1)
    chosen = itertools.chain.from_iterable(itertools.combinations(cells, n) for n in sizes)
    if not isinstance(trial.method, Withdrawer):
        raise NotConforming("withdrawal", f"{trial.name} has no withdraw.")
    return trial.method, run.checkpoints, tuple(frozenset(c) for c in chosen)


def _forget_many(check: str, trial: Trial, keys: Sequence[Key]) -> None:
    """Certified, or refused as what the method cannot serve; in both cases nothing stale serves."""
    workspace = trial.workspace()
    request = trial.accept(workspace, keys, outage=True)
    certificate: Certificate | None = None
    try:
        certificate = workspace.process(request.id, method=trial.applied(workspace), replay=False)
    except (Refused, UnsupportedModel):
        certified = workspace.backends.ledger.get("certificate", request.id) is not None
        _demand(not certified, check, "A failed request has a certificate.")
    request = state.request(workspace.backends, request.id)
    _demand(not set(keys) & set(workspace.keys()), check, "Records may still be trained on.")
    if certificate is not None:
        _check_closed(check, workspace, certificate)
    if certificate is not None or request.withdrawn_at is not None:
        stale = _stale(workspace, request.labels)
        _demand(not stale, check, f"Parts made from the records still serve: {stale}.")


def _check_closed(check: str, workspace: Workspace, certificate: Certificate) -> None:
    verify(envelope_bytes(certificate)).require()
    workspace.verify()
    left = workspace.remaining()
    _demand(not left, check, f"Still stored: {sorted(left)}.")


def _verified(workspace: Workspace, request_id: str) -> tuple[Any, ...]:
    return verify(envelope_bytes(workspace.certificate(request_id))).checks


def _stale(workspace: Workspace, labels: frozenset[str]) -> list[str]:
    b = workspace.backends
    return [s.name for s in state.parts(b) if trainer.labels_of(b, s) & labels]


def _accuracy(said: Statement, compared_with: str) -> float:
    """Test accuracy of the original (compared with none) or of the unlearned model."""
    found = [
        m.value
        for m in said.measurements
        if m.name == "test_accuracy" and m.compared_with == compared_with
    ]
    _demand(len(found) == 1, "keeps_utility", "The model cannot answer any more.")
    return found[0]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


Check = Callable[[Trial], None]


def _named(*checks: Check) -> dict[str, Check]:
    return {check.__name__: check for check in checks}


CHECKS: dict[str, Check] = _named(
    parameters_are_plain_fields,
    parameters_survive_json,
    one_record,
    a_class,
    everything_but_one,
    nothing_is_refused,
    everything_waits,
    same_seed_same_weights,
    originals_are_untouched,
    writes_no_ledger_entry,
    reads_nothing_after_returning,
    parts_have_lineage,
    one_cpu_thread,
    keeps_utility,
    exact_claims_survive_the_replay,
    certified_claims_survive_an_audit,
)
WITHDRAWER_CHECKS: dict[str, Check] = _named(
    withdrawal_cuts_the_cells,
    withdrawal_is_a_partition,
    withdrawing_twice_changes_nothing,
    withdrawals_in_any_order,
)
