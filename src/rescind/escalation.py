"""``Auto``: cheap methods in turn, retrained models judge, fresh seeds decide, exact at the end.

Each attempt is a ledger entry: a process that was killed goes on after the attempts already made.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

from rescind import auditing, judging, methods_of, state, tuned
from rescind.backends import Backends
from rescind.certify import guarantee_from
from rescind.core.canonical import build, digest, plain
from rescind.core.control import Control
from rescind.core.errors import (
    BadData,
    BadParameter,
    Diverged,
    InsufficientEvidence,
    MissingExtra,
    MissingSource,
    NoOp,
    Refused,
    RescindError,
    UnsupportedModel,
)
from rescind.core.guarantee import Empirical
from rescind.core.judgement import Attempt, Round
from rescind.core.protocols import Entry, Escalation, Progress, Unlearned, Unlearner, Write
from rescind.core.request import Request
from rescind.core.run import Run, Snapshot
from rescind.judging import Answer
from rescind.methods.retrain import Retrain
from rescind.readings import KNOWN
from rescind.references import References, retrained
from rescind.tuned import DEFAULTS, Tuned

LEVEL = 0.05
LAID_OUT = ("s3t", "sisa")  # exact methods that train less than everything
# errors by which a method refuses the model or the forget set; all others end the request's step
REFUSALS = (
    UnsupportedModel,
    Diverged,
    BadParameter,
    BadData,
    NoOp,
    Refused,
    InsufficientEvidence,
    MissingSource,
    MissingExtra,
)


class Try(Protocol):
    """Have a method make what replaces the original; first take away what was made from the forget
    set if it is one that does so.
    """

    def __call__(self, method: Unlearner, *, withdraw: bool = False) -> Unlearned: ...


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt, what it made if that is to serve, what the retrained models cost, and what the
    same rule says of the controls.
    """

    attempt: Attempt
    result: Unlearned | None = None
    costs: dict[str, float] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()


def check(request: Request, run: Run) -> None:
    """Refuse what cannot be judged at all, before anything is done.

    Raises:
        Refused: the goal is a concept.
        BadParameter: the recipe has no margins.
    """
    if request.goal == "concept":
        raise Refused(
            "Auto judges by retrained models, and the goal is a concept.",
            "Retraining is not the reference for that: arXiv 2604.07962.",
            "Name one method with --method.",
        )
    if not run.recipe.margins:
        raise BadParameter(
            "Auto needs margins, and the recipe of this run names none.",
            "They are fixed before anything is run; without them no method can be judged.",
            "Use --method retrain, or train anew with [[margins]] in the recipe: metric (one of "
            f"{', '.join(KNOWN[run.recipe.task.target])}), width and role.",
        )


def escalate(
    b: Backends, request: Request, auto: Escalation, attempt: Try, progress: Progress
) -> tuple[Unlearned, dict[str, Any]]:
    """The result of the first method that fresh seeds admit, else of exact retraining.

    Returns:
        It, and the parameters to record: those of ``Auto``, with the digest of the file of searches
        and what was taken.

    Raises:
        BadParameter: the file of searches, or the list of methods, cannot be used.
        UnknownPlugin: no such method.
        RescindError: no refusal of a method; nothing of what was tried is left.
    """
    searches = tuned.read(auto.parameters, auto.methods)
    for name in auto.methods:
        if isinstance(methods_of.make(name, searches.parameters(name)), Escalation):
            raise BadParameter(f"The method {name!r} escalates itself.", do="Leave it out.")
    named = {"parameters": Path(auto.parameters).name, **searches.recorded()}
    recorded = plain(auto) | named
    if request.cells <= {"test"}:
        return Unlearned(state.parts(b), Empirical(judging.TEST_ONLY), False), recorded
    ladder = Ladder(b, request, state.run(b), auto, searches, attempt, progress)
    step = ladder.climb()
    if step.result is None:
        raise InsufficientEvidence("The escalation ended without a model.", do="Try again.")
    taken = {"taken": step.attempt.method, "taken_parameters": step.attempt.parameters}
    return step.result, recorded | taken


def attempts(b: Backends, request: Request) -> tuple[Attempt, ...]:
    """All that was tried for a request, in order; none where the method was not ``Auto``."""
    return tuple(build(Attempt, row["attempt"]) for row in _rows(b, request))


def answered(b: Backends, request: Request, parts: Sequence[Snapshot]) -> Answer | None:
    """The verdict by which these parts were taken, or that they end an escalation; None where they
    come from elsewhere.
    """
    names = {s.name for s in parts}
    for row in _rows(b, request):
        result = _result(row["result"])
        if result is not None and {s.name for s in result.parts} == names:
            found = build(Attempt, row["attempt"]).judgement
            return Answer(found, "" if found else judging.EXACT, row["costs"], _controls(row))
    return None


def _rows(b: Backends, request: Request) -> list[dict[str, Any]]:
    return list(b.ledger.get("attempts", request.id) or ())


@dataclass(slots=True)
class Ladder:
    """One escalation. ``basis`` names the retain set and the parameters: attempts on another one
    are reported and not used, and their seeds are never used again.
    """

    b: Backends
    request: Request
    run: Run
    auto: Escalation
    searches: Tuned
    attempt: Try
    progress: Progress
    basis: str = ""
    references: References | None = None

    def climb(self) -> Step:
        """Each method in turn, and exact retraining at the end."""
        parts = state.parts(self.b)
        cells = map(str, self.run.recipe.partition.cells())
        named = [plain(self.auto), self.searches.file]
        self.basis = digest([sorted(state.labels(self.b, cells)), *named])[:16]
        why = judging.open_question(self.b, self.request, self.run, "", parts)
        for name in () if why else self.auto.methods:
            outcome = self._round(name, "first", LEVEL).attempt.outcome
            if outcome == "admissible":
                fresh = self._round(name, "fresh", LEVEL / self._candidates())
                if fresh.attempt.outcome == "admissible":
                    return fresh
            if outcome == "no_power":  # that is between original and retrained models alone
                why = "no metric tells the original from retrained models"
                break
        return self._exact(f"Nothing can be judged: {why}." if why else "No method was admissible.")

    def _candidates(self) -> int:
        """How many methods may be taken, those of earlier escalations of this request included."""
        others = [r for r in _rows(self.b, self.request) if r["basis"] != self.basis]
        fresh = [r for r in others if r["attempt"]["round"] == "fresh"]
        return len(self.auto.methods) + len(fresh)

    def _round(self, name: str, which: Round, level: float) -> Step:
        """One method with its seeds, as recorded or made now."""
        known = self._known(name, which)
        if known is not None:
            return known
        methods, seeds = self._instances(name, which)
        blank = Attempt(
            method=name,
            parameters=plain(methods[0]),
            tuned=self.searches.named(name),
            seeds=seeds,
            round=which,
            outcome="refused",
            because="",
            cpu_seconds=0.0,
        )
        return self._note(self._tried(methods, blank, level))

    def _tried(self, methods: Sequence[Unlearner], blank: Attempt, level: float) -> Step:
        started, made, step = _cpu_seconds(), list[Unlearned](), Step(blank)
        try:
            for i, method in enumerate(methods):
                self.progress(f"auto: {blank.method}, {blank.round} seeds", i, len(methods))
                made.append(self.attempt(method))
            spent = _cpu_seconds() - started
            self.references = self.references or retrained(
                self.b, self.run, self.request.id, self.progress
            )
            started = _cpu_seconds() - spent  # what is shared is told apart
            step = self._judged(made, blank, level, self.references)
        except REFUSALS as error:
            step = Step(replace(blank, because=_reason(methods[0], error)))
        finally:
            self._destroy(made, step)
        attempt = replace(step.attempt, cpu_seconds=_cpu_seconds() - started)
        return replace(step, attempt=attempt)

    def _judged(
        self, made: Sequence[Unlearned], blank: Attempt, level: float, references: References
    ) -> Step:
        parts = [result.parts for result in made]
        asked = self.b, self.request, self.run, parts, references, self.progress, level
        both = judging.judged(*asked, every_control=blank.round == "fresh")
        found = both.judgement
        done = replace(blank, outcome=found.verdict, because=found.because, judgement=found)
        taken = blank.round == "fresh" and found.verdict == "admissible"
        residue = self._residue(made[0], blank.method) if taken else ""
        if residue:
            done, taken = replace(done, outcome="residue_found", because=residue), False
        return Step(done, made[0] if taken else None, references.costs(), both.controls)

    def _residue(self, candidate: Unlearned, name: str) -> str:
        """What the planned audits see in a model that would be taken, or nothing."""
        named = self.request, candidate.parts, f"{self.basis}/{name}"
        seen = auditing.of_candidate(self.b, *named, self.progress)
        return seen.because if seen is not None and seen.outcome == "residue_found" else ""

    def _destroy(self, made: Sequence[Unlearned], step: Step) -> None:
        """What was tried and is not taken; what serves is none of it."""
        kept = {s.name for s in (*state.parts(self.b), *(step.result.parts if step.result else ()))}
        names = {s.name for result in made for s in result.parts}
        self.b.artifacts.destroy(sorted(names - kept))

    def _exact(self, because: str) -> Step:
        """Exact retraining of what is needed: a layout that trains less than everything does so."""
        laid_out = self.run.recipe.method in LAID_OUT
        name = self.run.recipe.method if laid_out else "retrain"
        known = self._known(name, "exact") or self._known("retrain", "exact")
        if known is not None:
            return known
        started, method = _cpu_seconds(), methods_of.make(name)
        result = self.attempt(method, withdraw=True)
        if not result.parts:
            name, method = "retrain", Retrain()
            result = self.attempt(method)
        attempt = Attempt(
            method=name,
            parameters=plain(method),
            tuned=DEFAULTS,
            seeds=(),
            round="exact",
            outcome="exact",
            because=because,
            cpu_seconds=_cpu_seconds() - started,
        )
        rows = _rows(self.b, self.request)
        costs: dict[str, float] = next((r["costs"] for r in reversed(rows) if r["costs"]), {})
        return self._note(Step(attempt, result, costs))

    def _instances(self, name: str, which: Round) -> tuple[list[Unlearner], tuple[int, ...]]:
        """The method once a seed; once where it has none, and with draws of the system's own where
        its seed is None.
        """
        method: Any = methods_of.make(name, self.searches.parameters(name))
        if "seed" not in {f.name for f in dataclasses.fields(method)}:
            return [method], ()
        if method.seed is None:
            return [method] * self.auto.seeds, ()
        others = (r for r in _rows(self.b, self.request) if r["basis"] != self.basis)
        used = {s for r in others if r["attempt"]["method"] == name for s in r["attempt"]["seeds"]}
        free = (s for s in count() if s not in used and s not in self.searches.seeds(name))
        start = self.auto.seeds * (which == "fresh")
        seeds = tuple(islice(free, start, start + self.auto.seeds))
        return [replace(method, seed=s) for s in seeds], seeds

    def _known(self, name: str, which: Round) -> Step | None:
        """The attempt as an earlier process recorded it, if all that it made is there."""
        for row in _rows(self.b, self.request):
            attempt = build(Attempt, row["attempt"])
            if (row["basis"], attempt.method, attempt.round) == (self.basis, name, which):
                result = _result(row["result"])
                stored = result is None or all(map(self._is_stored, result.parts))
                found = Step(attempt, result, row["costs"], _controls(row))
                return found if stored else None
        return None

    def _is_stored(self, part: Snapshot) -> bool:
        return self.b.artifacts.find(part.name) is not None

    def _note(self, step: Step) -> Step:
        rows = [
            r
            for r in _rows(self.b, self.request)
            if (r["basis"], r["attempt"]["method"], r["attempt"]["round"])
            != (self.basis, step.attempt.method, step.attempt.round)
        ]
        result = None if step.result is None else plain(step.result)
        row = {
            "basis": self.basis,
            "attempt": plain(step.attempt),
            "costs": step.costs,
            "controls": plain(step.controls),
            "result": result,
        }
        write = Write("attempts", self.request.id, [*rows, row])
        self.b.ledger.append(
            Entry("method.attempted", self.request.id, plain(step.attempt), (write,))
        )
        return step


def _controls(row: dict[str, Any]) -> tuple[Control, ...]:
    """None in a row that an earlier version of this package wrote."""
    return tuple(build(Control, one) for one in row.get("controls", ()))


def _result(data: dict[str, Any] | None) -> Unlearned | None:
    if data is None:
        return None
    parts = tuple(state.snapshot_from(s) for s in data["parts"])
    return Unlearned(parts, guarantee_from(data["guarantee"]), data["from_scratch"])


def _reason(method: Unlearner, error: RescindError) -> str:
    """The error's own words where they are ours; another's may name rows (rule 4)."""
    if type(method).__module__.startswith("rescind."):
        return f"{judging.told(error)}."
    return f"{type(error).__name__} in the method."


def _cpu_seconds() -> float:
    """Processor seconds of this process and of the workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
