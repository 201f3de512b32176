"""Is a concept still answered? Test records of it as probes, beside the original model.

A model retrained without the records may know the concept still, so none is trained, named or
compared with here (arXiv 2604.07962). Neither is there one word for the outcome: what was measured
is said, and what was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rescind import evaluate, rows, state
from rescind.backends import Backends
from rescind.core.dataset import Key, ManifestEntry
from rescind.core.errors import MissingSource
from rescind.core.evidence import Evaluation, Measurement
from rescind.core.request import Request
from rescind.core.run import Run, Snapshot
from rescind.judging import NOT_READ, forget_set, told
from rescind.metrics.accuracy import accuracy, change

AT_ONCE = 256
NO_PROBE = "no probe of the concept"
NOT_PART = "relearning and attacks are not part of this"
NO_OTHER = "no other test record is left to measure utility on"
NONE_LEFT = {
    "nothing_served": "nothing is served after this request",
    "no_test_record": "no test record is left",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Which answers of one side are right: on the probes, and on the other test records."""

    concept: list[bool]
    utility: list[bool]


@dataclass(frozen=True, slots=True)
class Found:
    """Both evaluations with the measures of the concept, and the outcome on it in a few words."""

    before: Evaluation
    after: Evaluation
    outcome: str


def measure(
    b: Backends,
    request: Request,
    models: tuple[Sequence[Snapshot], Sequence[Snapshot]],
    both: tuple[Evaluation, Evaluation],
) -> Found:
    """What the original and the unlearned model answer on probes of the concept and elsewhere.

    Probes are test records, so never trained on, that are not in the forget set, and whose label
    the forget set holds as a whole: no training record that stays has it. ``models`` are what is
    served before and after, ``both`` their evaluations on the present test records. Shares of right
    answers with Wilson's 95 % interval, and their changes with Newcombe's paired one, join them.
    ``unjudged`` says what was found, or why there is no probe; then nothing is measured.
    """
    run, (before, after) = state.run(b), both
    if run.recipe.task.target != "classes":
        return _none(both, f"the task answers with {run.recipe.task.target}, not with classes")
    if not after.measurements:
        return _none(both, NONE_LEFT[after.unmeasured])
    right, labels, classes = evaluate.classified(b, run, models[1])
    earlier = evaluate.classified(b, run, models[0])[0] if before.measurements else None
    try:
        whole = whole_labels(b, request, run)
    except tuple(NOT_READ) as error:
        return _none(both, told(error))
    if not whole:
        return _none(both, "no label goes as a whole, training records of each stay")
    is_probe = [label in whole for label in labels]
    if not any(is_probe):
        return _none(both, "no test record is left of the labels that go as a whole")
    old = None if earlier is None else _split(earlier, is_probe)
    return _found(both, old, _split(right, is_probe), classes)


def whole_labels(b: Backends, request: Request, run: Run) -> frozenset[int]:
    """Labels, by their index, that training records of the forget set have and none that stays.

    Raises:
        MissingSource: rows cannot be read again, or another request's erasure has taken some.
        RescindError: see ``judging.NOT_READ``.
    """
    forget, off = forget_set(b, request)
    if off:
        raise MissingSource(
            f"{off} records of the forget set can no longer be read.",
            "Another request's erasure has taken all suppressed records off the allow-list.",
            "Process one request after another.",
        )
    gone, stay = {e.key for e in forget}, [e for e in state.allowed(b) if e.cell != "test"]
    label_of = _labels(b, run, [*forget, *stay])
    kept = {label for key, label in label_of.items() if key not in gone}
    return frozenset(label_of.values()) - kept


def _labels(b: Backends, run: Run, entries: Sequence[ManifestEntry]) -> dict[Key, int]:
    records = rows.read(b, entries)
    found = dict[Key, int]()
    for start in range(0, len(records), AT_ONCE):  # a batch holds inputs too, and they are large
        some = records[start : start + AT_ONCE]
        labels = run.recipe.task.batch([r.row for r in some])["labels"]
        found |= {r.key: int(label) for r, label in zip(some, labels, strict=True)}
    return found


def _split(right: Sequence[bool], is_probe: Sequence[bool]) -> Answers:
    pairs = list(zip(right, is_probe, strict=True))
    return Answers([r for r, probe in pairs if probe], [r for r, probe in pairs if not probe])


def _none(both: tuple[Evaluation, Evaluation], why: str) -> Found:
    before, after = both
    outcome = f"{NO_PROBE}: {why}"
    return Found(before, replace(after, unjudged=f"{after.unjudged}; {outcome}"), outcome)


def _found(
    both: tuple[Evaluation, Evaluation], old: Answers | None, new: Answers, classes: int
) -> Found:
    before, after = both
    earlier = (old.concept, old.utility) if old else (None, None)
    sides = [_side("concept", both, earlier[0], new.concept, 1 / classes)]
    if new.utility:
        sides.append(_side("utility", both, earlier[1], new.utility, 1 / classes))
    said = [*(s.said for s in sides), *([] if new.utility else [NO_OTHER]), NOT_PART]
    return Found(
        replace(before, measurements=(*before.measurements, *(m for s in sides for m in s.before))),
        replace(
            after,
            measurements=(*after.measurements, *(m for s in sides for m in s.after)),
            unjudged="; ".join([after.unjudged, *said]),
        ),
        "; ".join(s.outcome for s in sides),
    )


@dataclass(frozen=True, slots=True)
class Side:
    """Measurements of one set of test records, all of it in words, and the outcome alone."""

    before: tuple[Measurement, ...]
    after: tuple[Measurement, ...]
    said: str
    outcome: str


def _side(
    what: str,
    both: tuple[Evaluation, Evaluation],
    old: list[bool] | None,
    new: list[bool],
    chance: float,
) -> Side:
    name, (was, now) = f"{what}_accuracy", (one.version for one in both)
    after = accuracy(name, now, new, "original" if old else "none")
    on = f"{what} accuracy on {len(new)} {'probes' if what == 'concept' else 'other test records'}"
    beside = f"{_beside_chance(after, chance)} ({chance:.3f})"
    if not old:
        outcome = f"{on} {after.value:.3f}, {beside}; what served before was not measured"
        return Side((), (after,), outcome, outcome)
    before = accuracy(name, was, old, "none")
    changed = change(f"{name}_change", now, old, new)
    outcome = _outcome(what, changed)
    said = f"{on} {before.value:.3f} before, {after.value:.3f} after, {beside}: {outcome}"
    return Side((before,), (after, changed), said, outcome)


def _beside_chance(found: Measurement, chance: float) -> str:
    low, high = found.interval
    if low > chance:
        return "above chance"
    return "below chance" if high < chance else "not told from chance"


def _outcome(what: str, changed: Measurement) -> str:
    """In words on which side of 0 the paired interval lies."""
    low, high = changed.interval
    if what == "utility":
        moved = "utility fell" if high < 0 else "utility rose"
        return "no loss of utility is shown" if low <= 0 <= high else moved
    if high < 0:
        return "the model answers it rightly less often than before"
    if low > 0:
        return "the model answers it rightly more often than before"
    return f"as far as {changed.n} probes tell, the model still answers as before"
