"""Proofs that a stranger checks beside a certificate: paths in trees that were committed to."""

from __future__ import annotations

from collections.abc import Sequence

from rescind import absences, certify, committed, erasure, state
from rescind.backends import Backends
from rescind.committed import digests as digests_of
from rescind.committed import ledger_root as ledger_root
from rescind.core.canonical import dumps, plain
from rescind.core.errors import BadParameter, InsufficientEvidence, VerificationFailed
from rescind.core.protocols import Entry
from rescind.core.run import Order, Snapshot
from rescind.core.version import selection
from rescind.proofs import merkle
from rescind.proofs.commitments import (
    KIND,
    VERSION,
    LineageProof,
    Opened,
    PlannedOrder,
    Receipt,
    ServedPart,
    facts_of,
    order_leaf,
    part_leaf,
)
from rescind.proofs.consistency import consistency as consistency_path
from rescind.proofs.key_tree import Place
from rescind.proofs.lineage import read
from rescind.proofs.reading import moment, read_statement

RELEASED = "version.released"


def receipt(b: Backends, key: str) -> bytes:
    """The opening of a record in the present manifest, for whoever asks for it by its key.

    Raises:
        BadParameter: the manifest does not list it.
        InsufficientEvidence: the manifest is of an earlier version of rescind.
        DamagedArtifact: the manifest lists other records than the ledger says.
    """
    tree = erasure.key_tree(b)
    place = tree.present(key)
    [entry] = [e for e in state.manifest_entries(b) if e.key == key]
    made = Receipt(key, entry.digest, entry.multiplicity, entry.cell, tree.head, place)
    return dumps(plain(made)) + b"\n"


def prove(b: Backends, request_id: str, taken: bytes | None = None) -> bytes:
    """The proof beside the certificate of a request, with the absence of a receipt's key.

    Raises:
        UnknownKey: the request has no certificate.
        InsufficientEvidence: the workspace is older than such commitments; or the receipt is of a
            record whose absence was not kept (``absences``).
        BadParameter: the receipt is none, or of a manifest of another workspace.
    """
    said = read_statement(certify.load(b, request_id).payload)
    entries = [e for e in b.ledger.entries() if e.seq <= said.ledger_seq]
    commitments = [e for e in entries if e.kind == KIND]
    after = [e for e in commitments if e.request == request_id]
    before = [e for e in commitments if moment(e.at) <= moment(said.received_at)]
    released = [e.seq for e in entries if (e.kind, e.request) == (RELEASED, request_id)]
    if not after or not before or not released or not said.ledger_root:
        raise InsufficientEvidence(
            f"There is no commitment of before and after request {request_id}.",
            "The workspace, or the certificate, is of an earlier version of rescind.",
            "Requests made from now on, after the next erasure, can be proved.",
        )
    digests = [e.digest for e in entries]
    record = None if taken is None else _receipt(taken)
    made = LineageProof(
        version=VERSION,
        request=request_id,
        size=said.ledger_seq,
        root=said.ledger_root,
        before=_opened(before[-1], digests),
        after=_opened(after[-1], digests),
        served=_served(entries, before[-1], released[-1], committed.orders(b)),
        receipted=_receipted(record, commitments, before[-1], digests),
        absent=None if record is None else _absent(b, after[-1], record),
    )
    return dumps(plain(made)) + b"\n"


def consistency(b: Backends, old: int) -> dict[str, object]:
    """That the ledger goes on from its first ``old`` entries: both sizes, both roots, the path.

    Raises:
        BadParameter: there are not so many entries.
    """
    size = b.ledger.head()[0]
    digests = digests_of(b, size)
    path = consistency_path(digests, old)
    return {
        "old": old,
        "old_root": merkle.root(digests[:old]),
        "size": size,
        "root": merkle.root(digests),
        "path": list(path),
    }


def _opened(entry: Entry, digests: Sequence[str]) -> Opened:
    return Opened(entry, merkle.inclusion(digests, entry.seq - 1))


def _served(
    entries: Sequence[Entry], before: Entry, seq: int, orders: Sequence[Order]
) -> tuple[ServedPart, ...]:
    """The parts that served from the release on, each with its path among those of before, and that
    of its order; another request may have cut some by the time of the certificate.
    """
    old = _parts_at(entries, before.seq)
    leaves = [part_leaf(p) for p in old]
    where = {leaf: index for index, leaf in enumerate(leaves)}
    found = []
    for part in selection(_parts_at(entries, seq)):
        index = where.get(part_leaf(part))
        path = () if index is None else merkle.inclusion(leaves, index)
        found.append(ServedPart(part, index, path, _planned(part, orders, facts_of(before).orders)))
    return tuple(found)


def _planned(part: Snapshot, orders: Sequence[Order], root: str) -> PlannedOrder | None:
    """The committed order that a part is a prefix of; None if there is none, or if another version
    of the method would lay them out otherwise now.
    """
    leaves = [order_leaf(o) for o in orders]
    if merkle.root(leaves) != root:
        return None
    for index, order in enumerate(orders):
        if part.begins(order):
            return PlannedOrder(order, index, merkle.inclusion(leaves, index))
    return None


def _parts_at(entries: Sequence[Entry], seq: int) -> list[Snapshot]:
    """The parts that could serve after an entry, in the order of ``state.parts``."""
    live: dict[str, Snapshot] = {}
    for entry in entries[:seq]:
        for write in entry.writes:
            if write.table == "part" and write.value is None:
                live.pop(write.key, None)
            elif write.table == "part":
                live[write.key] = state.snapshot_from(write.value)
    return sorted((live[name] for name in sorted(live)), key=lambda s: (s.shard, s.order, s.stage))


def _receipt(data: bytes) -> Receipt:
    try:
        found: Receipt = read(Receipt, data)
    except VerificationFailed as error:
        raise BadParameter(
            "This is no receipt of a record.", do="Name the file that `rescind receipt` wrote."
        ) from error
    return found


def _receipted(
    record: Receipt | None, commitments: Sequence[Entry], before: Entry, digests: Sequence[str]
) -> Opened | None:
    """The commitment to the receipt's manifest, where it is not the earlier one."""
    if record is None or facts_of(before).manifest == record.manifest:
        return None
    found = [e for e in commitments if facts_of(e).manifest == record.manifest]
    if not found:
        raise BadParameter(
            "The receipt is of a manifest that this workspace never committed to.",
            do="Use a receipt of this workspace.",
        )
    return _opened(found[-1], digests)


def _absent(b: Backends, after: Entry, record: Receipt) -> Place:
    head, request = facts_of(after).manifest, after.request or ""
    kept = absences.kept(b, request, head, record.key)
    if kept is not None:
        return kept
    tree = erasure.key_tree(b)
    if tree.head != head:
        raise InsufficientEvidence(
            "The absence of this record in the manifest after the erasure was not kept.",
            f"It is kept for the records of a request, up to {absences.MOST:,}; for others the"
            " secret that it needs went with the next erasure.",
            "Give a receipt of one of its records, or make the proof without one.",
        )
    return tree.absent(record.key)
