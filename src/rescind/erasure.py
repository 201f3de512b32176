"""Step 9: destroy or rewrite whatever was made from the forget set, and say what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rescind import rows, state
from rescind.acceptance import moved
from rescind.backends import Backends
from rescind.core.canonical import build, plain
from rescind.core.dataset import Manifest, ManifestEntry
from rescind.core.errors import ErasureIncomplete
from rescind.core.evidence import ErasureReceipt
from rescind.core.lineage import Artifact
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.data.manifest import leaves, manifest_bytes
from rescind.proofs.merkle import root

REWRITTEN = ("rows", "manifest")


def erase(b: Backends, request: Request) -> Request:
    """Destroy every stale artifact of a request; rows and manifest are first written anew.

    Raises:
        ErasureIncomplete: something stale is still needed by another open request.
    """
    if request.status != "evidenced":
        return request
    receipt = _started(b, request)
    b.artifacts.destroy([a.name for a in b.artifacts.list(request.labels)])
    left = tuple(a.name for a in b.artifacts.list(request.labels))
    if left:
        raise ErasureIncomplete(left, f"{len(left)} stale artifacts are left.", do="Try again.")
    done = moved(request, "erased")
    unsealed = (Write("sealed", s.name, None) for s in state.sealed(b, request.id))
    writes = (
        *unsealed,
        Write("erasing", request.id, None),
        Write("erasure", request.id, plain(receipt)),
        state.write_request(done),
    )
    b.ledger.append(Entry("erasure.done", request.id, plain(receipt), writes))
    b.ledger.checkpoint()
    return done


def _started(b: Backends, request: Request) -> ErasureReceipt:
    """Write what replaces the stale and make it current, so that a crash finds it in place."""
    known = b.ledger.get("erasing", request.id)
    if known is not None:
        return build(ErasureReceipt, known)
    _check_free(b, request)
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
        other = min(foreign.values())
        raise ErasureIncomplete(
            tuple(sorted(foreign)),
            f"{len(foreign)} sealed snapshots are needed by request {other}.",
            "They were made from records of both requests.",
            f"Process or lift {other} first, then process {request.id} again.",
        )


def blocked(b: Backends, request: Request) -> dict[str, str]:
    """Stale snapshots that another open request sealed, by name, with that request."""
    stale = {a.name for a in b.artifacts.list(request.labels) if a.sealed}
    sealed = b.ledger.items("sealed")
    owners = {name: sealed[name]["request"] for name in stale if name in sealed}
    return {name: owner for name, owner in owners.items() if owner != request.id}


def remaining(b: Backends) -> dict[str, str]:
    """Everything stale that is still stored, with the reason: what `rescind erase` shows."""
    found: dict[str, str] = {}
    for request in state.suppressing(b):
        why = f"request {request.id} is {request.status}"
        if request.reason:
            why += f": {request.reason}"
        found |= {a.name: why for a in b.artifacts.list(request.labels)}
    return found


def _rewrite(b: Backends, request: Request, stale: Iterable[Artifact]) -> Manifest:
    """Write the next manifest, and the stored rows of the request's cells, without the records."""
    entries = state.allowed(b)
    if any(a.kind == "rows" for a in stale):
        kept = [e for e in entries if e.cell in request.cells]
        records = rows.read(b, kept)
        rows.write_cells(b, records, {e.key: e.cell for e in kept}, request.cells)
    for cell in request.cells:
        b.keys.destroy(f"cell/{cell}")  # new leaves: the old ones can no longer be guessed at
    return write_manifest(b, entries, state.manifest(b).version + 1)


def write_manifest(b: Backends, entries: tuple[ManifestEntry, ...], version: int) -> Manifest:
    """Store an allow-list under the present labels of all its cells; the caller records it."""
    secret = b.keys.ensure
    digest = root(leaves(entries, lambda cell: secret(f"cell/{cell}")))
    name = f"manifest/{version}"
    cells = state.labels(b, {e.cell for e in entries})
    b.artifacts.put(name, "manifest", manifest_bytes(entries), cells)
    copies = sum(e.multiplicity for e in entries)
    counts = dict(sorted(Counter(e.cell for e in entries).items()))
    return Manifest(name, version, digest, len(entries), copies, counts)


def _receipt(b: Backends, request: Request, stale: Iterable[Artifact]) -> ErasureReceipt:
    kinds = Counter(a.kind for a in stale)
    return ErasureReceipt(
        destroyed={k: n for k, n in sorted(kinds.items()) if k not in REWRITTEN},
        rewritten={k: n for k, n in sorted(kinds.items()) if k in REWRITTEN},
        left=(),
        encrypted=b.settings.encrypt,
        recipients=recipients(b, request),
    )


def recipients(b: Backends, request: Request) -> tuple[str, ...]:
    """Exports and backups that left the workspace while they still held the records."""
    out = b.ledger.items("export").values()
    held = (e for e in out if set(e["labels"]) & request.labels)
    return tuple(sorted(f"{e['what']} to {e['recipient']} ({e['at'][:10]})" for e in held))
