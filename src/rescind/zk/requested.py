"""An order from a request of the provider's own workspace, for models that it may not see.

Mask and forget gradient are made as by the method ``zk_apex``, of the model that served before the
request. They are stored with the lineage of the records they came from, so that the erasure of one
of these destroys them; the ledger, and later the request's certificate, hold the order's seal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rescind import exports, state
from rescind.backends import Backends
from rescind.committed import MASKS, mask_seals
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import Refused
from rescind.core.lineage import label
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.jobs import content
from rescind.workspace import open_workspace
from rescind.zk import signed
from rescind.zk.files import write_order
from rescind.zk.from_workspace import made_of
from rescind.zk.kept import Choices, Kept, Lineage, keep, stored
from rescind.zk.terms import check_aim

OPEN = ("accepted", "planned", "withdrawn", "unlearned", "evidenced")
Entries = Sequence[ManifestEntry]


def order_files(
    folder: Path, request_id: str, private: Path, out: Path, choices: Choices
) -> dict[str, Any]:
    """Write epoch.json, to publish, and order.json and mask.npz, to publish after the closing.

    Asked again, it writes the same order, or a new one where records of it were forgotten since.

    Raises:
        BadParameter: the request is for no concept, for fewer than 500 records or for those of one
            subject; a file exists.
        Refused: the request is over, on hold or failed, or has an order by other choices.
        UnsupportedModel: a model of several parts.
        StaleVersion: a withdrawal came in meanwhile.
        BadData, InsufficientEvidence, Diverged: as ``provider.make`` and ``seen.look``.
    """
    signer, b = signed.read_private(private), open_workspace(folder, create=False).backends
    with b.ledger.claim(request_id):
        kept, labels = order(b, request_id, choices)
        what = f"mask and gradient of epoch {kept.epoch.id}"
        with exports.noted(b, what, "its clients, once it is closed", labels):
            found = write_order(kept.epoch, kept.order, kept.public, signer, out)
    return {**found, "records": kept.order.records, "seal": kept.order.seal}


def order(b: Backends, request_id: str, choices: Choices) -> tuple[Kept, frozenset[str]]:
    """The order of a request, made and stored if it is not; and the labels of its cells. The caller
    holds the claim. Raises as ``order_files``.
    """
    generations, request = state.generations(b), state.request(b, request_id)
    forget, retain = _split(b, request)
    lineage = _lineage(request, generations, forget, retain)
    # of just these records: after the withdrawal of one of them nothing old is found
    name = f"mask/{request.id}/{content(b, [*forget, *retain])}"
    kept = stored(b, name, choices)
    if kept is None:
        made = made_of(b, request, forget, retain, choices)
        kept = Kept(epoch=made.epoch, order=made.order, public=made.public, choices=choices)
        keep(b, name, kept, lineage)
    seals, seal = mask_seals(b, request.id), kept.order.seal
    if seal not in seals:  # also after a crash right here
        facts = {"seal": seal, "records": kept.order.records}
        writes = (Write(MASKS, request.id, [*seals, seal]),)
        b.ledger.append(Entry("mask.sealed", request.id, facts, writes))
    return kept, lineage.both


def _lineage(
    request: Request, generations: Mapping[str, int], forget: Entries, retain: Entries
) -> Lineage:
    """Where the request is withdrawn already, with the labels by which its erasure finds things."""
    cells, others = (
        frozenset(label(e.cell, generations.get(e.cell, 0)) for e in half)
        for half in (forget, retain)
    )
    return Lineage(
        forget=cells | request.labels,
        both=cells | others | request.labels,
        now=cells | others,
    )


def _split(b: Backends, request: Request) -> tuple[Entries, Entries]:
    """What was trained on of the request, and what is left; nothing that another one withdrew."""
    if request.status not in OPEN:
        raise Refused(
            f"Request {request.id} is {request.status}.",
            "Its records are gone or not to be used now, so that no gradient of them is made.",
            "Make the order before `rescind process` erases them.",
        )
    own = set(state.keys_of(b, request))
    open_ = (r for r in state.suppressing(b) if r.id != request.id)
    gone = {key for r in open_ for key in state.keys_of(b, r)}
    trained = [e for e in state.manifest_entries(b) if e.cell != "test" and e.key not in gone]
    forget = [e for e in trained if e.key in own]
    aimed = request.goal == request.target.kind == "concept"
    check_aim("concept" if aimed else request.target.kind, len(forget))
    return forget, [e for e in trained if e.key not in own]
