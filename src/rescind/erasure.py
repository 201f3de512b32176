"""Step 9: destroy or rewrite whatever was made from the forget set, and say what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from rescind import rows, state, stored_seeds
from rescind.acceptance import moved, one_at_a_time
from rescind.backends import Backends
from rescind.core.canonical import build, plain
from rescind.core.dataset import Manifest, ManifestEntry
from rescind.core.errors import DamagedArtifact, ErasureIncomplete, InsufficientEvidence
from rescind.core.evidence import ErasureReceipt
from rescind.core.lineage import Artifact, is_outdated
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.data.manifest import content_of, leaves, manifest_bytes
from rescind.proofs.key_tree import KeyTree, TreeHead
from rescind.proofs.merkle import root

LEFT_BEHIND = "work that a withdrawal overtook left it behind; opening the workspace destroys it"


def erase(b: Backends, request: Request) -> Request:
    """Destroy every stale artifact of a request; rows and manifest are first written anew.

    Raises:
        ErasureIncomplete: something stale is still needed by another open request.
    """
    if request.status != "evidenced":
        return request
    started = _started(b, request)
    stale = [a.name for a in b.artifacts.list(request.labels)]
    b.artifacts.destroy([*stale, *_replaced(b), *left_behind(b)])
    for name in _old_secrets(b):
        b.keys.destroy(name)  # the leaves of an earlier list can no longer be guessed at
    left = tuple(a.name for a in b.artifacts.list(request.labels))
    if left:
        raise ErasureIncomplete(left, f"{len(left)} stale artifacts are left.", do="Try again.")
    # again, for a copy may have left between a crash and its resume
    receipt = replace(started, recipients=recipients(b, request))
    done = moved(request, "erased")
    unsealed = (Write("sealed", s.name, None) for s in state.sealed(b, request.id))
    writes = (
        *unsealed,
        Write("erasing", request.id, None),
        Write("erasure", request.id, plain(receipt)),
        state.write_request(done),
    )
    b.ledger.append(Entry("erasure.done", request.id, plain(receipt), writes))
    return done


def _replaced(b: Backends) -> list[str]:
    """Allow-lists that a later one has replaced; one written while others waited is not stale."""
    now = state.manifest(b)
    listed = {f"manifest/{version}" for version in range(1, now.version)}
    return [a.name for a in b.artifacts.list() if a.name in listed and a.name != now.name]


def _old_secrets(b: Backends) -> list[str]:
    """What the trees of earlier allow-lists were salted with; not that of one being written."""
    now = state.manifest(b)
    earlier = {f"manifest/{version}" for version in range(1, now.version)}
    older = b.keys.names("cell/") if now.depth else ()
    return [*earlier & set(b.keys.names("manifest/")), *older]


def _started(b: Backends, request: Request) -> ErasureReceipt:
    """Write what replaces the stale and make it current, so that a crash finds it in place."""
    known = b.ledger.get("erasing", request.id)
    if known is not None:
        return build(ErasureReceipt, known)
    _check_free(b, request)
    with one_at_a_time(b, "allow-list"):  # or another erasure's records come back with ours
        stale = b.artifacts.list(request.labels)
        now = _rewrite(b, request, stale)
        receipt = _receipt(b, request, stale)
        writes = (
            Write("manifest", "current", plain(now)),
            Write("erasing", request.id, plain(receipt)),
        )
        b.ledger.append(Entry("erasure.started", request.id, plain(receipt), writes))
    return receipt


def _check_free(b: Backends, request: Request) -> None:
    foreign = blocked(b, request)
    if foreign:
        other = state.request(b, min(foreign.values()))
        first = "Lift its hold" if other.status == "held" else f"Process {other.id}"
        raise ErasureIncomplete(
            tuple(sorted(foreign)),
            f"{len(foreign)} stale snapshots are needed by request {other.id}: {_why(other)}.",
            "It cut them, or served them before and has not been compared with them yet.",
            f"{first} first, then process {request.id} again.",
        )


def blocked(b: Backends, request: Request) -> dict[str, str]:
    """Stale snapshots whose bytes another open request needs, by name, with that request: those it
    sealed, and until its release those it is measured against.
    """
    stale = {a.name for a in b.artifacts.list(request.labels)}
    needed = {name: row["request"] for name, row in b.ledger.items("sealed").items()}
    claims = b.ledger.items("claim")
    for owner, served in b.ledger.items("original").items():
        if owner not in claims or not claims[owner]["released"]:
            needed |= {row["name"]: owner for row in served}
    return {name: owner for name, owner in needed.items() if name in stale and owner != request.id}


def _why(request: Request) -> str:
    return f"it is {request.status}" + (f", {request.reason}" if request.reason else "")


def remaining(b: Backends) -> dict[str, str]:
    """Everything stale that is still stored, with the reason: what `rescind erase` shows."""
    found: dict[str, str] = {}
    now = state.generations(b)  # before the requests: each that has bumped one of these is listed
    open_ = state.suppressing(b)
    for artifact in b.artifacts.list():
        if any(is_outdated(label, now) for label in artifact.cells):
            needing = (f"request {r.id}: {_why(r)}" for r in open_ if r.labels & artifact.cells)
            found[artifact.name] = next(needing, LEFT_BEHIND)
    return found


def left_behind(b: Backends) -> list[str]:
    """Stale artifacts that no open request will destroy: work that a withdrawal overtook and that
    was killed before it could remove what it had stored.
    """
    return [name for name, why in remaining(b).items() if why == LEFT_BEHIND]


def _rewrite(b: Backends, request: Request, stale: Iterable[Artifact]) -> Manifest:
    """Write the next manifest, and stored rows and codes of the request's cells, without the
    records.
    """
    entries = state.allowed(b)
    kinds = {a.kind for a in stale}
    kept = [e for e in entries if e.cell in request.cells]
    if "seeds" in kinds:
        stored_seeds.rewrite(b, kept, request.cells)
    if "rows" in kinds:
        records = rows.read(b, kept)
        rows.write_cells(b, records, {e.key: e.cell for e in kept}, request.cells)
    return write_manifest(b, entries, state.manifest(b).version + 1)


def write_manifest(b: Backends, entries: tuple[ManifestEntry, ...], version: int) -> Manifest:
    """Store an allow-list under the present labels of all its cells; the caller records it."""
    name = f"manifest/{version}"
    head = _tree(entries, b.keys.ensure(name)).head
    cells = state.labels(b, {e.cell for e in entries})
    b.artifacts.put(name, "manifest", manifest_bytes(entries), cells)
    copies = sum(e.multiplicity for e in entries)
    counts = dict(sorted(Counter(e.cell for e in entries).items()))
    return Manifest(name, version, head.root, len(entries), copies, counts, head.depth, head.nonce)


def _tree(entries: Iterable[ManifestEntry], secret: bytes) -> KeyTree:
    return KeyTree.draw({e.key: content_of(e) for e in entries}, secret)


def key_tree(b: Backends) -> KeyTree:
    """The tree of the present allow-list.

    Raises:
        DamagedArtifact: it lists other records than the ledger says.
        InsufficientEvidence: it was written by an earlier version of rescind.
    """
    now = state.manifest(b)
    if not now.depth:
        raise InsufficientEvidence(
            "The allow-list was written by an earlier version of rescind.",
            "Its tree shows no record and no absence to others.",
            "It is written anew with the next erasure.",
        )
    tree = _tree(state.manifest_entries(b), b.keys.get(now.name))
    if tree.head != TreeHead(now.digest, now.depth, now.nonce):
        raise _replaced_list(now)
    return tree


def check_workspace(b: Backends) -> None:
    """Recompute chain and projections, hash all weights that may serve, and the allow-list.

    Raises:
        LedgerInconsistent: an entry or a projection was changed.
        DamagedArtifact: a snapshot or the allow-list is not what the ledger lists.
    """
    b.ledger.verify()
    if b.ledger.get("manifest", "current") is not None:
        check_manifest(b)
    for part in state.parts(b):
        state.weights(b, part)


def check_manifest(b: Backends) -> None:
    """Compare the allow-list with the digest that the ledger lists.

    Raises:
        DamagedArtifact: it lists other records.
    """
    now = state.manifest(b)
    if now.depth:
        key_tree(b)
    elif now.digest != root(
        leaves(state.manifest_entries(b), lambda cell: b.keys.get(f"cell/{cell}"))
    ):
        raise _replaced_list(now)


def _replaced_list(now: Manifest) -> DamagedArtifact:
    return DamagedArtifact(
        f"The allow-list {now.name} does not list the records that the ledger says.",
        "It was replaced after it was written.",
        "Restore a backup with `rescind restore`.",
    )


def _receipt(b: Backends, request: Request, stale: Iterable[Artifact]) -> ErasureReceipt:
    """The allow-list is written anew each time; the lists that jobs had are destroyed."""
    allow_list = state.manifest(b).name
    kinds = Counter(a.kind for a in stale if a.name != allow_list)
    written = {kind: kinds.pop(kind) for kind in ("rows", "seeds") if kinds[kind]}
    return ErasureReceipt(
        destroyed=dict(sorted((+kinds).items())),
        rewritten={"manifest": 1, **written},
        left=(),
        encrypted=b.settings.encrypt,
        recipients=recipients(b, request),
    )


def recipients(b: Backends, request: Request) -> tuple[str, ...]:
    """Exports and backups that left the workspace while they still held the records."""
    out = b.ledger.items("export").values()
    held = (e for e in out if set(e["labels"]) & request.labels)
    return tuple(sorted(f"{e['what']} to {e['recipient']} ({e['at'][:10]})" for e in held))
