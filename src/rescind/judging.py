"""Is an edited model near enough to retrained ones? The question, the readings and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind import state
from rescind.backends import Backends
from rescind.core.control import Control
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import (
    BadData,
    BadParameter,
    DamagedArtifact,
    InsufficientEvidence,
    MissingExtra,
    MissingSource,
    RescindError,
)
from rescind.core.judgement import Judgement
from rescind.core.protocols import Progress
from rescind.core.request import Request
from rescind.core.run import Run, Snapshot
from rescind.core.version import selection
from rescind.data.manifest import manifest_bytes
from rescind.jobs import content
from rescind.metrics.admissible import judge
from rescind.metrics.controls import controls
from rescind.readings import ReadModels, check_sizes, sample
from rescind.references import References, retrained
from rescind.sealing import open_keys
from rescind.trainer import place_for

CONCEPT = (
    "whether the concept is gone is open: retraining is not the reference for it (arXiv 2604.07962)"
)
NO_MARGINS = "the recipe names no margins"
EXACT = "the claim is exact, and its replay compares bytes; margins are for models that were edited"
TEST_ONLY = "only test records are to go, and no weight had used them"
# what the ledger and the certificate say: the errors themselves may name keys and paths (rule 4)
NOT_READ: dict[type[RescindError], str] = {
    MissingSource: "the records cannot be read again",
    BadData: "records or features are not such that they can be compared",
    DamagedArtifact: "a model that is compared is lost",
    MissingExtra: "a package that is needed for it is not installed",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict, or why there is none, the processor seconds it took, and what the rule says of the
    controls.
    """

    judgement: Judgement | None
    unjudged: str = ""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one method, and on the controls by the same rule."""

    judgement: Judgement
    controls: tuple[Control, ...]


def answer(
    b: Backends, request: Request, claim: str, parts: Sequence[Snapshot], progress: Progress
) -> Answer:
    """Judge the model that is to serve, if it was edited and can be judged; else say what is open.

    ``claim`` is the kind of the method's claim.

    Raises:
        StaleVersion: a withdrawal came in meanwhile; the same call tries again.
    """
    run = state.run(b)
    unjudged = open_question(b, request, run, claim, parts)
    if unjudged:
        return Answer(None, unjudged)
    try:
        references = retrained(b, run, request.id, progress)
        found = judged(b, request, run, [parts], references, progress)
    except tuple(NOT_READ) as error:
        return Answer(None, told(error))
    except (BadParameter, InsufficientEvidence) as error:
        return Answer(None, told(error))
    return Answer(found.judgement, "", references.costs(), found.controls)


def told(error: RescindError) -> str:
    """Why there is no verdict, in words without keys and paths."""
    known = (text for kind, text in NOT_READ.items() if isinstance(error, kind))
    return next(known, error.what.rstrip("."))  # ours speak of metrics and counts alone


def open_question(
    b: Backends, request: Request, run: Run, claim: str, parts: Sequence[Snapshot]
) -> str:
    """Why nothing can be judged, or nothing; looked up before a model is retrained for it."""
    if request.goal == "concept":
        return CONCEPT
    if not run.recipe.margins:
        return NO_MARGINS
    if claim == "exact":
        return EXACT
    if request.cells <= {"test"}:
        return TEST_ONLY
    for served in (selection(parts), state.original(b, request.id)):
        if len(served) != 1:
            return f"the model is served in {len(served)} parts, and only one can be judged yet"
    forget, off = forget_set(b, request)
    if off:
        return NOT_READ[MissingSource]
    try:
        check_sizes([m.metric for m in run.recipe.margins], _sizes(b, forget))
    except InsufficientEvidence as error:
        return told(error)
    return ""


def _sizes(b: Backends, forget: Sequence[ManifestEntry]) -> dict[str, int]:
    cells = [e.cell for e in state.allowed(b)]
    test = cells.count("test")
    return {"forget": len(forget), "retain": len(cells) - test, "test": test}


def judged(
    b: Backends,
    request: Request,
    run: Run,
    candidates: Sequence[Sequence[Snapshot]],
    references: References,
    progress: Progress,
    level: float = 0.05,
    every_control: bool = True,
) -> Judged:
    """The verdict on one method: ``candidates`` are its models, one a seed, by their parts.

    Without ``every_control`` only those stand beside it that are read anyway: the original and the
    retrained models.

    Raises:
        RescindError: nothing can be read or judged; see ``NOT_READ`` and ``metrics.admissible``.
    """
    margins = run.recipe.margins
    served = [selection(c)[0] for c in candidates]
    job = _reading(b, request, run, served, references, every_control)
    try:
        [(_, found)] = b.executor.run([job], progress)
    finally:
        b.artifacts.destroy([job.forget])
    read, theirs = found["controls"], found["retrained"]
    verdict = judge(found["candidates"], read["original"], theirs, margins, request.goal, level)
    return Judged(verdict, controls(verdict, read, found["refused"], theirs, margins, level))


def _reading(
    b: Backends,
    request: Request,
    run: Run,
    candidates: Sequence[Snapshot],
    references: References,
    every_control: bool,
) -> ReadModels:
    """The allow-lists of the samples as artifacts; that of the forget set is stale from the start,
    so that an erasure finds it whatever happens.
    """
    generations = state.generations(b)
    allowed = sorted(state.allowed(b), key=lambda e: e.key)
    retain = [e for e in allowed if e.cell != "test"]
    retain = retain if every_control else sample(retain)
    test = sample([e for e in allowed if e.cell == "test"])
    place = place_for(b, run, [*retain, *test], generations)
    forget = sample(sorted(forget_set(b, request)[0], key=lambda e: e.key))
    name = f"manifest/read-{request.id}-{content(b, forget, request.labels)}"
    b.artifacts.put(name, "manifest", manifest_bytes(forget), request.labels)
    metrics = tuple(m.metric for m in run.recipe.margins)
    [original] = state.original(b, request.id)
    return ReadModels(
        place=place,
        forget=name,
        metrics=metrics,
        candidates=tuple(candidates),
        original=original,
        retrained=references.models,
        every_control=every_control,
    )


def forget_set(b: Backends, request: Request) -> tuple[list[ManifestEntry], int]:
    """The records to forget that were trained on, and how many are off the allow-list already."""
    listed = {e.key: e for e in state.manifest_entries(b)}
    keys = open_keys(b.keys, request)
    found = [listed[k] for k in keys if k in listed and listed[k].cell != "test"]
    return found, sum(k not in listed for k in keys)
