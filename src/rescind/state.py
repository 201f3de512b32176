"""Typed reads of what the ledger projects: the present state of requests, parts and versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rescind.backends import Backends
from rescind.core.canonical import build, keyed, plain
from rescind.core.dataset import Key, Manifest, ManifestEntry
from rescind.core.errors import BadParameter, DamagedArtifact, UnknownKey
from rescind.core.lineage import label
from rescind.core.plan import Plan
from rescind.core.protocols import Write
from rescind.core.request import FINAL, Request
from rescind.core.run import Run, Snapshot
from rescind.core.version import ModelVersion
from rescind.data.manifest import entries_from
from rescind.proofs.merkle import root
from rescind.sealing import open_keys
from rescind.training.recipes import recipe_from

MODEL = "model"


def request(b: Backends, request_id: str) -> Request:
    """One request by its id.

    Raises:
        UnknownKey: no such request.
    """
    data = b.ledger.get("request", request_id)
    if data is None:
        raise UnknownKey(
            f"No request {request_id!r} in this workspace.",
            do="`rescind request list` shows them all.",
        )
    return build(Request, data)


def requests(b: Backends) -> tuple[Request, ...]:
    """All requests, oldest first."""
    found = [build(Request, data) for data in b.ledger.items("request").values()]
    return tuple(sorted(found, key=lambda r: (r.received_at, r.id)))


def suppressing(b: Backends) -> tuple[Request, ...]:
    """Requests that are not closed and whose records no training may use any more.

    Labels are set in the transaction that suppresses the records, and not before.
    """
    return tuple(r for r in requests(b) if r.status not in FINAL and r.labels)


def plan(b: Backends, request_id: str) -> Plan:
    """The plan of a request, as last made.

    Raises:
        BadParameter: there is none yet: the process was killed right after it accepted.
    """
    data = b.ledger.get("plan", request_id)
    if data is None:
        raise BadParameter(
            f"Request {request_id} has no plan yet.",
            do=f"`rescind process {request_id}` makes one and goes on.",
        )
    return build(Plan, data)


def run(b: Backends, model: str = MODEL) -> Run:
    """The run behind a model.

    Raises:
        BadParameter: nothing has been trained yet.
    """
    return run_by_id(b, _model(b, model)["run"])


def _model(b: Backends, model: str) -> dict[str, str]:
    entry: dict[str, str] | None = b.ledger.get("model", model)
    if entry is None:
        raise BadParameter(
            f"No model {model!r} in this workspace yet.",
            do="Train one with `rescind train RECIPE`, or `rescind demo` to see how.",
        )
    return entry


def run_by_id(b: Backends, run_id: str) -> Run:
    """A run, finished or still training."""
    data = b.ledger.get("run", run_id)
    found = build(Run, {**data, "checkpoints": ()})
    checkpoints = tuple(snapshot_from(s) for s in data["checkpoints"])
    return replace(found, recipe=recipe_from(data["recipe"]), checkpoints=checkpoints)


def parent(b: Backends) -> str | None:
    """The ledger head of the workspace that this one was copied from, or None for an original."""
    forks = [e.facts["parent"] for e in b.ledger.entries() if e.kind == "workspace.forked"]
    return str(forks[-1]) if forks else None


def version(b: Backends, model: str = MODEL) -> ModelVersion:
    """The version that the model's name points to.

    Raises:
        BadParameter: nothing has been trained yet.
    """
    return version_by_id(b, _model(b, model)["version"])


def version_by_id(b: Backends, version_id: str) -> ModelVersion:
    """A version by its id.

    Raises:
        UnknownKey: no such version.
    """
    data = b.ledger.get("version", version_id)
    if data is None:
        raise UnknownKey(
            f"No version {version_id!r}.", do="`rescind list models` shows the versions."
        )
    return build(ModelVersion, data)


def versions(b: Backends) -> tuple[ModelVersion, ...]:
    """All versions, oldest first."""
    found = (build(ModelVersion, data) for data in b.ledger.items("version").values())
    return tuple(sorted(found, key=lambda v: (len(v.id), v.id)))


def parts(b: Backends) -> tuple[Snapshot, ...]:
    """All snapshots that may serve, by shard, order and stage."""
    found = [snapshot_from(data) for data in b.ledger.items("part").values()]
    return tuple(sorted(found, key=lambda s: (s.shard, s.order, s.stage)))


def snapshot_from(data: Mapping[str, Any]) -> Snapshot:
    """A snapshot from plain values, written out: ``build`` is slow for what a withdrawal reads."""
    return Snapshot(
        name=data["name"],
        shard=data["shard"],
        order=data["order"],
        slices=tuple(data["slices"]),
        blocks=tuple(tuple(stage) for stage in data["blocks"]),
        digest=data["digest"],
        records=data["records"],
        environment=data["environment"],
    )


def weights(b: Backends, part: Snapshot) -> bytes:
    """The bytes of a snapshot, if they are those that the ledger lists.

    Raises:
        DamagedArtifact: they are gone, or something else was put in their place.
    """
    data = b.artifacts.get(part.name)
    if hashlib.sha256(data).hexdigest() != part.digest:
        raise DamagedArtifact(
            f"Snapshot {part.name} does not hold the weights that the ledger lists.",
            "It was replaced after it was trained.",
            "Restore a backup with `rescind restore`, or retrain with `rescind rebuild`.",
        )
    return data


def intact(b: Backends, part: Snapshot) -> bool:
    """Whether a snapshot holds the bytes that the ledger lists."""
    try:
        weights(b, part)
    except DamagedArtifact:
        return False
    return True


def original(b: Backends, request_id: str) -> tuple[Snapshot, ...]:
    """What was served before a request; readable until its erasure."""
    return tuple(snapshot_from(row) for row in b.ledger.get("original", request_id))


def sealed(b: Backends, request_id: str) -> tuple[Snapshot, ...]:
    """Snapshots that this request cut and whose evidence still needs them."""
    rows = b.ledger.items("sealed").values()
    return tuple(snapshot_from(r["snapshot"]) for r in rows if r["request"] == request_id)


def manifest(b: Backends) -> Manifest:
    """The current allow-list.

    Raises:
        BadParameter: nothing has been trained yet.
    """
    data = b.ledger.get("manifest", "current")
    if data is None:
        _model(b, MODEL)  # says that there is none, and what to type
    return build(Manifest, data)


def manifest_entries(b: Backends) -> tuple[ManifestEntry, ...]:
    """The records on the allow-list, those of open requests still among them."""
    name = manifest(b).name
    while True:
        try:
            return entries_from(b.artifacts.get(name))
        except DamagedArtifact:
            now = manifest(b).name
            if now == name:
                raise
            name = now  # an erasure put another in its place while we read


def allowed(b: Backends) -> tuple[ManifestEntry, ...]:
    """The records that may be used: the allow-list without any open request's records."""
    gone = {key for r in suppressing(b) for key in keys_of(b, r)}
    return tuple(e for e in manifest_entries(b) if e.key not in gone)


def keys_of(b: Backends, r: Request) -> tuple[Key, ...]:
    """The keys of an open request; none if it has closed since, for then no list has them."""
    try:
        return open_keys(b.keys, r)
    except DamagedArtifact:
        if request(b, r.id).status in FINAL:
            return ()
        raise


def generation(b: Backends, cell: str) -> int:
    """How many withdrawals have changed a cell."""
    return int(b.ledger.get("cell", cell) or 0)


def generations(b: Backends) -> dict[str, int]:
    """All cells that were ever changed, with how often; read it before what is made from them."""
    return {cell: int(n) for cell, n in b.ledger.items("cell").items()}


def labels(b: Backends, cells: Iterable[str]) -> frozenset[str]:
    """The cells as they are now, for the lineage of what is made from them."""
    now = generations(b)
    return frozenset(label(cell, now.get(cell, 0)) for cell in cells)


def suppression_leaf(b: Backends, key: Key) -> str:
    """What a forgotten record leaves behind: HMAC(workspace key, record key), rule 2."""
    return keyed(b.keys.get("workspace"), "suppressed", key)


def subject_mark(b: Backends, subject: str) -> str:
    """What a request for a subject leaves behind, so that asking again is answered."""
    return keyed(b.keys.get("workspace"), "subject asked", subject)


def asked_for(b: Backends, mark: str) -> str | None:
    """The request that was made for a marked subject, unless it ended without forgetting."""
    owner = b.ledger.get("subject", mark)
    if owner is None or request(b, owner).status in ("cancelled", "rejected"):
        return None
    return str(owner)


def forgotten_root(b: Backends) -> str | None:
    """Merkle root of the suppression list, or None where the user turned the list off."""
    if not b.settings.suppression_list:
        return None
    return root(sorted(b.ledger.items("suppressed")))


def write_request(r: Request) -> Write:
    """The projection change that stores a request."""
    return Write("request", r.id, plain(r))


def write_part(s: Snapshot) -> Write:
    """The projection change that lets a snapshot serve."""
    return Write("part", s.name, plain(s))
