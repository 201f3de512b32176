"""Shadow models of an audit: trained by the recipe, each with a random half of the candidates.

Candidates are the requested records and as many retained ones. What is made from requested records
carries the labels that their withdrawal has made stale, so that the erasure finds it at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import methods_of, rows, state
from rescind.backends import Backends
from rescind.core.audit import MODELS
from rescind.core.canonical import build, digest, plain
from rescind.core.dataset import Key, ManifestEntry
from rescind.core.errors import InsufficientEvidence
from rescind.core.protocols import Job, Progress
from rescind.core.request import Request
from rescind.core.run import Order, Snapshot
from rescind.data.manifest import entries_from, manifest_bytes
from rescind.jobs import Place, codes_on, content, open_desk
from rescind.trainer import place_for


@dataclass(frozen=True, slots=True)
class ShadowDraws:
    """Which candidates each shadow model has; it follows from a seed that was drawn for the audit.

    A record's draws depend on its key alone, so that they are the same in whatever order it is
    read.
    """

    seed: int

    def candidates(self, asked: Iterable[Key], retained: Iterable[Key]) -> frozenset[Key]:
        """The requested records, and as many of the retained ones."""
        wanted = list(asked)
        others = sorted(retained, key=lambda key: digest(["candidate", self.seed, key]))
        return frozenset([*wanted, *others[: len(wanted)]])

    def has(self, model: int, key: Key) -> bool:
        """Whether a model is trained on a candidate."""
        return int(digest(["rescind shadow", self.seed, model, key])[:8], 16) % 2 == 0


@dataclass(frozen=True, slots=True)
class TrainShadow:
    """Train one order on the records of a list with a seed of its own, and keep its last stage."""

    place: Place
    order: Order
    records: str  # their list, an artifact
    seed: int
    name: str
    labels: frozenset[str]
    index: int

    def run(self, progress: Progress) -> dict[str, Any]:
        """The model as plain values.

        Raises:
            MissingSource: the rows cannot be read again.
        """
        from rescind.training.stages import cell_data, train_order

        desk, (cell,) = open_desk(self.place), self.order.cells(0)
        store = desk.b.artifacts
        entries = sorted(entries_from(store.get(self.records)), key=lambda e: e.key)

        def save(stage: int, data: bytes) -> None:
            store.put(self.name, "reference", data, self.labels)

        def told(what: str, done: int, total: int) -> None:
            progress(f"shadow model {self.index + 1} of {MODELS}", done, total)

        if store.find(self.name) is None:
            # its inputs go into no cache: under this cell's label an erasure would not find them
            read = [r.row for r in rows.read(desk.b, entries, desk.run.source)]
            data = cell_data(desk.model, read)
            recipe = replace(desk.run.recipe, seed=self.seed)
            codes = codes_on(replace(desk, by_cell={str(cell): entries}), self.order)
            train_order(desk.model, recipe, self.order, lambda _: data, {}, save, told, codes)
        made = Snapshot(
            name=self.name,
            shard=self.order.shard,
            order=self.order.index,
            slices=self.order.slices,
            blocks=self.order.blocks,
            digest=hashlib.sha256(store.get(self.name)).hexdigest(),
            records=len(entries),
            environment=desk.environment,
        )
        found: dict[str, Any] = plain(made)
        return found


def shadows(
    b: Backends,
    request: Request,
    asked: Sequence[ManifestEntry],
    scored: Sequence[ManifestEntry],
    seed: int,
    progress: Progress,
) -> tuple[Snapshot, ...]:
    """Eight of them; those that are stored are not trained again.

    Args:
        b: the workspace; its model is one part.
        request: whose records are asked about.
        asked: the requested records, as they are scored.
        scored: retained records that are scored.
        seed: drawn for this audit.
        progress: of the trainings.

    Raises:
        MissingSource: the rows cannot be read again.
        InsufficientEvidence: the model has several parts.
    """
    retained = [e for e in state.allowed(b) if e.cell != "test"]
    draws = ShadowDraws(seed)
    candidates = draws.candidates([e.key for e in asked], [e.key for e in scored])
    chosen = [_chosen(draws, m, candidates, [*asked, *retained]) for m in range(MODELS)]
    return trained(b, request, retained, chosen, seed, progress)


def trained(
    b: Backends,
    request: Request,
    retained: Sequence[ManifestEntry],
    chosen: Sequence[Sequence[ManifestEntry]],
    seed: int,
    progress: Progress,
) -> tuple[Snapshot, ...]:
    """A shadow model on each of the ``chosen`` lists of records.

    Raises:
        MissingSource, InsufficientEvidence: as ``shadows``.
    """
    run = state.run(b)
    order, *more = methods_of.orders(run.recipe, run.blocks)
    if more or len(order.slices) > 1:
        raise InsufficientEvidence("A model of several parts has no shadow models yet.")
    place = place_for(b, run, retained, state.generations(b))
    labels, lists = labels_of(request, place, retained), list[str]()
    jobs: list[Job] = []
    try:
        for model, entries in enumerate(chosen):
            made_from = content(b, entries, labels)
            lists.append(kept_list(b, request, entries, labels))
            name = f"{begun(seed)}{model}-{made_from}"
            own = int(digest(["rescind shadow training", seed, model])[:13], 16)
            jobs.append(TrainShadow(place, order, lists[-1], own, name, labels, model))
        found = sorted(b.executor.run(jobs, progress), key=lambda pair: pair[0])
    finally:
        b.artifacts.destroy(lists)
    return tuple(build(Snapshot, made) for _, made in found)


def labels_of(request: Request, place: Place, retained: Iterable[ManifestEntry]) -> frozenset[str]:
    """The lineage of what is made from requested and retained records."""
    return request.labels | frozenset(place.allow.labels[e.cell] for e in retained)


def kept_list(
    b: Backends, request: Request, entries: Sequence[ManifestEntry], labels: frozenset[str]
) -> str:
    """The name of a list of records that a job reads; whoever made it destroys it."""
    name = f"manifest/shadow-{request.id}-{content(b, entries, labels)}"
    b.artifacts.put(name, "manifest", manifest_bytes(entries), labels)
    return name


def begun(seed: int) -> str:
    """How the names of all shadow models of one audit begin."""
    return f"shadow/{seed:x}/"


def _chosen(
    draws: ShadowDraws,
    model: int,
    candidates: frozenset[Key],
    entries: Iterable[ManifestEntry],
) -> list[ManifestEntry]:
    kept = [e for e in entries if e.key not in candidates or draws.has(model, e.key)]
    return sorted(kept, key=lambda e: e.key)
