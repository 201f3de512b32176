"""The job that runs the audited method on one shadow model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import editing, methods_of, rows
from rescind.core.audit import MODELS
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Examples, Record, Split
from rescind.core.errors import InsufficientEvidence, UnsupportedModel
from rescind.core.protocols import Editable, Progress
from rescind.core.run import Order, Snapshot
from rescind.data.manifest import entries_from
from rescind.jobs import Desk, Place, open_desk


@dataclass(frozen=True, slots=True)
class ShadowHandle:
    """``core.protocols.ModelHandle`` over one shadow model: it can be edited, and no more."""

    desk: Desk
    shadow: Snapshot
    name: str
    labels: frozenset[str]

    @property
    def digest(self) -> str:
        """Digest of the weights."""
        return self.shadow.digest

    @property
    def parts(self) -> tuple[Snapshot, ...]:
        """The shadow model."""
        return (self.shadow,)

    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]:
        """Never: what is trained anew is another shadow model.

        Raises:
            UnsupportedModel: always.
        """
        raise UnsupportedModel(
            "The method trains orders, and a shadow model has none.",
            "Its models are retrained ones, and nothing tells them apart.",
            "Use another audit.",
        )

    def load(self, part: Snapshot) -> Editable:
        """A copy to edit."""
        return editing.load(self.desk.b, self.desk.run, part)

    def save(self, part: Snapshot, edited: Editable) -> Snapshot:
        """Keep an edited copy, with the lineage of the shadow model and of what it forgot."""
        data = editing.bytes_of(part, edited)
        self.desk.b.artifacts.put(self.name, "reference", data, self.labels)
        return replace(part, name=self.name, digest=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class TreatShadow:
    """Have the method forget the records of a list in a shadow model that was trained on them.

    ``forget`` and ``retain`` are lists of records, artifacts; ``parameters`` are the method's.
    """

    place: Place
    shadow: Snapshot
    forget: str
    retain: str
    method: str
    parameters: Mapping[str, Any]
    labels: frozenset[str]
    index: int

    @property
    def name(self) -> str:
        """Where the treated model is kept: with the shadow model, by method and parameters."""
        return f"{self.shadow.name}-{digest([self.method, plain(self.parameters)])[:12]}"

    def run(self, progress: Progress) -> dict[str, Any]:
        """The treated model as plain values.

        Raises:
            MissingSource: the rows cannot be read again.
            InsufficientEvidence: the method left another number of parts.
            RescindError: the method refuses the model.
        """
        desk = open_desk(self.place)
        store = desk.b.artifacts
        if store.find(self.name) is None:
            self._treat(desk)
        if store.find(self.name) is None:
            raise InsufficientEvidence("The method left the shadow model as it was.")
        progress(f"shadow model treated by {self.method}", self.index + 1, MODELS)
        data = hashlib.sha256(store.get(self.name)).hexdigest()
        found: dict[str, Any] = plain(replace(self.shadow, name=self.name, digest=data))
        return found

    def _treat(self, desk: Desk) -> None:
        lists = [entries_from(desk.b.artifacts.get(n)) for n in (self.forget, self.retain)]
        read = {
            r.key: r for r in rows.read(desk.b, [e for one in lists for e in one], desk.run.source)
        }
        forget, retain = (
            Examples([e.key for e in one], lambda one=one: [read[e.key] for e in one])  # type: ignore[misc]
            for one in lists
        )
        handle = ShadowHandle(desk, self.shadow, self.name, self.labels)
        method = methods_of.make(self.method, self.parameters)
        try:
            method.unlearn(handle, Split(forget, retain), desk.run)
        finally:
            forget.close()
            retain.close()
