"""What the audits of a request read: both models, and models retrained for them, as one case."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rescind import (
    judging,
    methods_of,
    references,
    shadow_models,
    state,
    stored_seeds,
    treated_models,
)
from rescind.audit_job import ReadPair
from rescind.backends import Backends
from rescind.core.audit import Case, Choice, Need, Sizes
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import DamagedArtifact, MissingSource, RescindError
from rescind.core.protocols import Auditor, Progress, Withdrawer
from rescind.core.request import Request
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.data.manifest import manifest_bytes
from rescind.jobs import content
from rescind.readings import sample
from rescind.registry import Registry
from rescind.shadow_models import ShadowDraws
from rescind.trainer import place_for
from rescind.training.pretrained import is_adapted
from rescind.treated_models import Fates

if TYPE_CHECKING:
    from torch import Tensor

# what a bug in an audit that is not ours raises; what the machine does goes on upwards
BUGS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RescindError,
    RuntimeError,
    TypeError,
    ValueError,
)
log = logging.getLogger(__name__)
AUDITS = Registry("rescind.audits", verb="audit")
VERSION = "version"  # what is audited: it, or a candidate that may become it
READS: tuple[Need, ...] = ("codes", "rounded", "relearned")
RETAINED, OUTSIDE = 4_000, 2_000  # records that are scored, at most


def read_case(
    b: Backends,
    request: Request,
    parts: Sequence[Snapshot],
    choices: Sequence[Choice],
    progress: Progress,
    what: str = VERSION,
) -> Case:
    """Both models read on the requested, retained and held-out records.

    Raises:
        MissingSource: the records cannot be read again.
        DamagedArtifact: a model is lost.
    """
    forget, off = judging.forget_set(b, request)
    if off:
        raise MissingSource(f"{off} records of the forget set can no longer be read.")
    before, after = state.original(b, request.id), selection(parts)
    if not all(state.intact(b, s) for s in (*before, *after)):
        raise DamagedArtifact("A model that the audits compare is lost.")
    known = {s.name for s in (*state.parts(b), *state.sealed(b, request.id))}
    truncated = {s.name for s in parts} <= known or len(after) > 1
    sizes = replace(priced(b, sizes_of(b, request), 0.0), truncated=truncated)
    if what != VERSION:  # of a model that may not be taken: no method is known to have made it
        sizes = replace(sizes, untreated=treated_models.CHOSEN_LATER)
    retain, test = _pools(b, request)
    asked = sample(sorted(forget, key=lambda e: e.key))
    seeds = _seeds(choices, sizes)
    models = _trained(b, request, asked, retain, _Models(before, after, seeds), progress)
    sizes = replace(sizes, untreated=models.untreatable or sizes.untreated)
    name = f"audit/{request.id}/{what}-{content(b, [*asked, *retain, *test], models.digests())}"
    if b.artifacts.find(name) is None:
        _read(b, request, asked, [*retain, *test], models, name, progress)
    return _loaded(b, name, sizes)


@dataclass(frozen=True, slots=True)
class _Models:
    """All that are read for a case, and the ``seeds`` of what is trained or read beside both.

    ``untreatable`` says why the audited method cannot be run on shadow models.
    """

    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    seeds: Mapping[Need, int]
    retrained: tuple[Snapshot, ...] = ()
    shadows: tuple[Snapshot, ...] = ()
    untreated: tuple[Snapshot, ...] = ()
    treated: tuple[Snapshot, ...] = ()
    untreatable: str = ""

    @property
    def reads(self) -> frozenset[Need]:
        """What is read of them beside scores."""
        return frozenset(n for n in READS if n in self.seeds)

    def digests(self) -> list[str]:
        shadows = (self.shadows, self.untreated, self.treated)
        read = (self.before, self.after, self.retrained, *shadows)
        return [s.digest for each in read for s in each] + sorted(self.reads)


def _seeds(choices: Sequence[Choice], sizes: Sizes) -> dict[Need, int]:
    """What models are trained for the audits, with the seed that was drawn for the first such."""
    found = dict[Need, int]()
    for choice in choices:
        auditor: Auditor = AUDITS.make(choice.audit, choice.parameters)
        for need in auditor.needs:
            if not refusal(auditor, sizes):
                found.setdefault(need, choice.seed)
    return found


def _trained(
    b: Backends,
    request: Request,
    asked: Sequence[ManifestEntry],
    scored: Sequence[ManifestEntry],
    models: _Models,
    progress: Progress,
) -> _Models:
    """With models retrained without the records, and shadow models, as far as they are needed."""
    seeds = models.seeds
    if "retrained" in seeds:
        made = references.retrained(b, state.run(b), request.id, progress, seeds["retrained"])
        models = replace(models, retrained=made.models)
    if "shadows" in seeds:
        shadows = shadow_models.shadows(b, request, asked, scored, seeds["shadows"], progress)
        models = replace(models, shadows=shadows)
    if "treated" in seeds:
        try:
            pairs = treated_models.treated(b, request, asked, scored, seeds["treated"], progress)
        except treated_models.REFUSALS as error:  # one audit less; the others are run
            return replace(models, untreatable=treated_models.told(error))
        models = replace(models, untreated=pairs[0], treated=pairs[1])
    return models


def is_ours(auditor: Auditor) -> bool:
    """Whether it is one of this package."""
    return type(auditor).__module__.startswith("rescind.")


def refusal(auditor: Auditor, sizes: Sizes) -> str:
    """Why an audit is not run, or nothing; of one that is not ours without its words."""
    if is_ours(auditor):
        return auditor.refuses(sizes)
    try:
        return "it refused" if auditor.refuses(sizes) else ""
    except BUGS as error:
        return bug_of(error)


def never_trained(request: Request) -> str:
    """Why there is nothing to audit where all that is requested was held out, or nothing."""
    n = request.target.records
    if request.target.test_records < n:
        return ""
    these = f"all {n} are test records" if n > 1 else "it is a test record"
    return f"{these}, which nothing was trained on: no evidence of presence before"


def bug_of(error: Exception) -> str:
    """What is told of an error in an audit that is not ours: a deletion does not wait for it."""
    log.warning("An audit failed: %s", type(error).__name__)
    return f"{type(error).__name__} in the audit"


def destroy_trained(b: Backends, choices: Sequence[Choice]) -> None:
    """Models that were trained for these audits alone; what they were read for is there."""
    recipe = state.run(b).recipe
    seeds = [seed for c in choices for seed in references.seeds_of(recipe, c.seed)]
    begun = tuple(f"reference/{seed:x}/" for seed in seeds)
    begun += tuple(shadow_models.begun(c.seed) for c in choices)
    b.artifacts.destroy([a.name for a in b.artifacts.list() if a.name.startswith(begun)])


def _read(
    b: Backends,
    request: Request,
    forget: Sequence[ManifestEntry],
    others: Sequence[ManifestEntry],
    models: _Models,
    name: str,
    progress: Progress,
) -> None:
    """The allow-list of the forget set, and what is read, are stale from the start: an erasure
    finds them whatever happens.
    """
    place = place_for(b, state.run(b), others, state.generations(b))
    list_name = f"manifest/audit-{request.id}-{content(b, forget, request.labels)}"
    b.artifacts.put(list_name, "manifest", manifest_bytes(forget), request.labels)
    labels = request.labels | frozenset(place.allow.labels[e.cell] for e in others)
    seeds = models.seeds
    job = ReadPair(
        place=place,
        forget=list_name,
        before=models.before,
        after=models.after,
        name=name,
        labels=labels,
        retrained=models.retrained,
        shadows=models.shadows,
        draws=ShadowDraws(seeds["shadows"]) if models.shadows else None,
        untreated=models.untreated,
        treated=models.treated,
        fates=Fates(seeds["treated"]) if models.treated else None,
        reads=models.reads,
        seed=seeds.get("relearned", 0),
    )
    try:
        for _ in b.executor.run([job], progress):
            pass
    finally:
        b.artifacts.destroy([list_name])


def _loaded(b: Backends, name: str, sizes: Sizes) -> Case:
    from rescind.training.snapshots import from_bytes

    tensors: dict[str, Tensor] = from_bytes(b.artifacts.get(name))
    return Case(sizes=sizes, **tensors)


def _pools(b: Backends, request: Request) -> tuple[list[ManifestEntry], list[ManifestEntry]]:
    """Retained records in no cell of the request, and test records; some of each."""
    allowed = sorted(state.allowed(b), key=lambda e: e.key)
    run = state.run(b)
    one_cell = run.recipe.partition.shards * run.recipe.partition.slices == 1
    cut = frozenset[str]() if one_cell else request.cells
    retain = [e for e in allowed if e.cell != "test" and e.cell not in cut]
    return sample(retain, RETAINED), sample([e for e in allowed if e.cell == "test"], OUTSIDE)


def sizes_of(b: Backends, request: Request) -> Sizes:
    """As the audits will have them."""
    retain, test = _pools(b, request)
    method = methods_of.make(request.method or state.run(b).recipe.method)
    seeded = stored_seeds.codes_of_records(b, judging.forget_set(b, request)[0])
    return Sizes(
        target=state.run(b).recipe.task.target,
        forget=request.target.records - request.target.test_records,
        retain=len(retain),
        test=len(test),
        truncated=isinstance(method, Withdrawer) or len(selection(state.parts(b))) > 1,
        seeded=sum(len(own) for own in seeded.values()),
        adapted=is_adapted(state.run(b).recipe.task),
        untreated=treated_models.refusal(b, request),
    )


def priced(b: Backends, sizes: Sizes, each: float | None) -> Sizes:
    """With what one retraining should take: a step costs about three passes of its records."""
    run = state.run(b)
    several = len(methods_of.orders(run.recipe, run.blocks)) > 1
    if each is None or several or run.recipe.partition.slices > 1:
        return sizes
    retained = sum(e.cell != "test" for e in state.allowed(b))
    retraining = 3 * each * run.recipe.epochs * retained
    return replace(sizes, retraining_seconds=retraining, passing_seconds=each)
