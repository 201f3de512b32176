"""Shadow models that the audited method itself has treated, for U-LiRA.

Each is trained on the retained records but some, and on some of the requested ones; then the method
of the request, with its parameters, forgets as many of these as are requested. Lineage and erasure
are those of ``shadow_models``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescind import methods_of, shadow_models, state
from rescind.backends import Backends
from rescind.core.audit import FORGOT, HAS, MODELS, NEVER
from rescind.core.canonical import build, digest
from rescind.core.dataset import Key, ManifestEntry
from rescind.core.errors import (
    BadData,
    BadParameter,
    Diverged,
    InsufficientEvidence,
    MissingExtra,
    NoOp,
    Refused,
    RescindError,
    UnknownPlugin,
    UnsupportedModel,
)
from rescind.core.protocols import Escalation, Job, Progress, Withdrawer
from rescind.core.request import Request
from rescind.core.run import Snapshot
from rescind.methods.retrain import Retrain
from rescind.trainer import place_for
from rescind.treat_job import TreatShadow

# errors by which a method, its name or a shadow model stands in the way of this audit alone
REFUSALS = (
    BadData,
    BadParameter,
    Diverged,
    InsufficientEvidence,
    MissingExtra,
    NoOp,
    Refused,
    UnknownPlugin,
    UnsupportedModel,
)
EACH = 4  # candidates for each requested record, itself among them
CHOSEN_LATER = "the method is chosen while it is tried, and none can be run on shadow models before"
ANEW = "the method trains anew, so that its models are retrained ones and nothing tells them apart"


@dataclass(frozen=True, slots=True)
class Fates:
    """What each treated shadow model is to each candidate; it follows from a drawn seed.

    Of four candidates each model forgets one, has one all along, and never sees two; each candidate
    is forgotten in two of eight models, had in two and unseen in four. So each model forgets as
    many records as are requested.
    """

    seed: int

    def drawn(self, asked: Sequence[Key], retained: Sequence[Key]) -> dict[Key, tuple[int, ...]]:
        """By candidate its fate in each model: the requested records, and three times as many of
        the retained ones, in whatever order they come.

        Raises:
            InsufficientEvidence: there are not so many.
        """
        more = (EACH - 1) * len(asked)
        if len(retained) < more:
            raise InsufficientEvidence(
                f"{more} retained records are drawn beside the requested ones, of {len(retained)}."
            )
        others = sorted(retained, key=lambda key: digest(["treated", self.seed, key]))[:more]
        mixed = sorted([*asked, *others], key=lambda key: digest(["fate", self.seed, key]))
        return {key: self._fate(*divmod(i, EACH)) for i, key in enumerate(mixed)}

    def _fate(self, block: int, place: int) -> tuple[int, ...]:
        turn = sorted(range(MODELS), key=lambda m: digest(["turn", self.seed, block, m]))
        share, fates = MODELS // EACH, [NEVER] * MODELS
        for i in range(share):
            fates[turn[(share * place + i) % MODELS]] = FORGOT
            fates[turn[(share * (place + 1) + i) % MODELS]] = HAS
        return tuple(fates)


@dataclass(frozen=True, slots=True)
class Audited:
    """The method of a request with its parameters, as its model was made."""

    method: str
    parameters: Mapping[str, Any]


def audited(b: Backends, request: Request) -> Audited:
    """The method that made the model, or that will make it where none is made yet."""
    claim = b.ledger.get("claim", request.id)
    if claim is not None:
        return Audited(claim["method"], claim["parameters"])
    return Audited(request.method or state.run(b).recipe.method, {})


def refusal(b: Backends, request: Request) -> str:
    """Why the method of a request is not run on shadow models, or nothing."""
    how = audited(b, request)
    try:
        method = methods_of.make(how.method, how.parameters)
    except REFUSALS as error:
        return told(error)
    if isinstance(method, Escalation):
        return CHOSEN_LATER
    return ANEW if isinstance(method, Withdrawer | Retrain) else ""


def told(error: RescindError) -> str:
    """Why the method could not be run, without words that may name rows or paths (rule 4)."""
    return f"{type(error).__name__} when the method was run on shadow models"


def treated(
    b: Backends,
    request: Request,
    asked: Sequence[ManifestEntry],
    scored: Sequence[ManifestEntry],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Snapshot, ...], tuple[Snapshot, ...]]:
    """Eight shadow models before the method and after; those that are stored are not made again.

    Args:
        b: the workspace; its model is one part.
        request: whose records are asked about.
        asked: the requested records, as they are scored.
        scored: retained records that are scored.
        seed: drawn for this audit.
        progress: of the trainings and of the method.

    Raises:
        MissingSource: the rows cannot be read again.
        InsufficientEvidence: the model has several parts, or there are too few records.
        RescindError: the method refuses a shadow model.
    """
    retained = [e for e in state.allowed(b) if e.cell != "test"]
    fates = Fates(seed).drawn([e.key for e in asked], [e.key for e in scored])
    everything = sorted([*asked, *retained], key=lambda e: e.key)

    def lists(fate: int) -> list[list[ManifestEntry]]:
        """By model the records of a fate; all that are no candidates are had."""
        kept = (HAS,) * MODELS
        return [[e for e in everything if fates.get(e.key, kept)[m] == fate] for m in range(MODELS)]

    forgotten, had = lists(FORGOT), lists(HAS)
    chosen = [sorted([*f, *h], key=lambda e: e.key) for f, h in zip(forgotten, had, strict=True)]
    before = shadow_models.trained(b, request, retained, chosen, seed, progress)
    return before, _after(b, request, retained, before, forgotten, had, progress)


def _after(
    b: Backends,
    request: Request,
    retained: Sequence[ManifestEntry],
    before: Sequence[Snapshot],
    forgotten: Sequence[Sequence[ManifestEntry]],
    had: Sequence[Sequence[ManifestEntry]],
    progress: Progress,
) -> tuple[Snapshot, ...]:
    """Each shadow model after the method."""
    place, how = place_for(b, state.run(b), retained, state.generations(b)), audited(b, request)
    labels, made = shadow_models.labels_of(request, place, retained), list[str]()
    jobs: list[Job] = []
    try:
        for model, shadow in enumerate(before):
            sides = [
                shadow_models.kept_list(b, request, entries, labels)
                for entries in (forgotten[model], had[model])
            ]
            made += sides
            jobs.append(
                TreatShadow(
                    place=place,
                    shadow=shadow,
                    forget=sides[0],
                    retain=sides[1],
                    method=how.method,
                    parameters=how.parameters,
                    labels=labels,
                    index=model,
                )
            )
        found = sorted(b.executor.run(jobs, progress), key=lambda pair: pair[0])
    finally:
        b.artifacts.destroy(made)
    return tuple(build(Snapshot, one) for _, one in found)
