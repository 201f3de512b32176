"""The served model is the committed prefix of a committed order, and the cut record is not in it.

Merkle paths alone show, to whoever holds a certificate and this proof:

1. the ledger that the certificate names holds a commitment to all parts that could serve and to
   the manifest, made before the request was received, and another one made after the erasure;
2. the parts in the proof are the model that the certificate certifies;
3. each served part was among the committed ones, and none of its cells was cut; where one was
   made later this stays unchecked;
4. each of these is the beginning of an order of slices that was committed to;
5. with the receipt of a record: it stood in a committed manifest, in a cell that was cut, and its
   key stands nowhere in the manifest after the erasure.

It carries no exact claim: that the bytes of a part follow from the records of its cells is what a
replay shows. "Not in the committed manifest" is not "never trained on".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rescind.core.canonical import build, digest, plain
from rescind.core.certificate import Statement
from rescind.core.errors import RescindError, VerificationFailed
from rescind.core.protocols import chain_digest
from rescind.core.run import Snapshot
from rescind.proofs.attested import readable
from rescind.proofs.commitments import (
    VERSION,
    Committed,
    LineageProof,
    PlannedOrder,
    Receipt,
    facts_of,
    order_leaf,
    part_leaf,
    wrong,
)
from rescind.proofs.consistency import verify_consistency
from rescind.proofs.key_tree import verify_absent, verify_present
from rescind.proofs.merkle import verify_inclusion
from rescind.proofs.reading import LARGEST, moment, parse_json
from rescind.proofs.verification import Check

NOT_COVERED = (
    "Which cells were cut for the request is the signer's word, except for that of a record whose"
    " receipt was given.",
    "A record that is not in the committed manifest was not, for that alone, never trained on:"
    " nothing here shows what a training read. The replay does, on the signer's word.",
    "Places in the tree of a manifest are the signer's work: one who put a record elsewhere than"
    " its key says could show it absent. Its receipt would not hold then.",
)


def checks(said: Statement, proof: bytes, receipt: bytes | None) -> tuple[Check, ...]:
    """All checks of a proof beside a certificate; whatever is wrong is a failed check."""
    try:
        found = read(LineageProof, proof)
        taken = None if receipt is None else read(Receipt, receipt)
    except VerificationFailed as error:
        return (Check("lineage", "failed", readable(error.what)),)
    case = _Case(said, found, taken)
    return tuple(_made(name, rule, case) for name, rule in RULES.items())


@dataclass(frozen=True, slots=True)
class _Case:
    said: Statement
    proof: LineageProof
    receipt: Receipt | None

    @property
    def before(self) -> Committed:
        return facts_of(self.proof.before.entry)

    @property
    def after(self) -> Committed:
        return facts_of(self.proof.after.entry)


def check_consistency(data: bytes, old_root: str, root: str) -> None:
    """Return if the ledger under one root begins with all entries under an earlier one. How many
    they are the roots do not fix; a certificate and `rescind db head` name root and number.

    Args:
        data: the file of ``proving.consistency``.
        old_root: of the earlier, as the reader noted it.
        root: of the later, as the reader has it.

    Raises:
        VerificationFailed: that is not shown.
    """
    try:
        found: Any = parse_json(data)
        old, size, path = found["old"], found["size"], found["path"]
        if type(old) is not int or type(size) is not int or len(path) > 128:
            raise ValueError("sizes and path are not those of a ledger")
    except (ValueError, TypeError, KeyError) as error:
        raise wrong(f"the file is no proof of consistency: {str(error)[:80]}") from error
    verify_consistency(old, old_root, size, root, path)


def read(kind: type[Any], data: bytes) -> Any:
    """A proof or a receipt, just as it is written: every field, and no other.

    Raises:
        VerificationFailed: it is none.
    """
    try:
        if len(data) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        value: Any = parse_json(data)
        made = build(kind, value)
        if plain(made) != value or getattr(made, "version", VERSION) != VERSION:
            raise ValueError(f"it is not of the form {VERSION}")
    except (RescindError, TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise wrong(f"the {kind.__name__} cannot be read: {str(error)[:100]}") from error
    return made


Rule = Callable[[_Case], str | None]


def _made(name: str, rule: Rule, case: _Case) -> Check:
    try:
        shown = rule(case)
    except (RescindError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = error.what if isinstance(error, RescindError) else f"it is malformed: {error}"
        return Check(name, "failed", readable(told))
    if shown is None:
        return Check(name, "not checked", MISSING[name])
    return Check(name, "passed", readable(shown))


def _ledger(case: _Case) -> str:
    """Both commitments stand in the ledger that the certificate names, and in time."""
    said, proof = case.said, case.proof
    if not said.ledger_root:
        raise wrong("the certificate names no root of its ledger; it is older than such proofs")
    if (proof.size, proof.root, proof.request) != (
        said.ledger_seq,
        said.ledger_root,
        said.request,
    ):
        raise wrong("the proof is about another ledger or request than the certificate")
    opened = [proof.before, proof.after, *([proof.receipted] if proof.receipted else [])]
    for each in opened:
        if chain_digest(each.entry) != each.entry.digest:
            raise wrong(f"entry {each.entry.seq} is not what its digest says")
        where = each.entry.seq - 1
        verify_inclusion(each.entry.digest, where, proof.size, each.path, proof.root)
    if not moment(proof.before.entry.at) <= moment(said.received_at):
        raise wrong("the earlier commitment was made after the request was received")
    if case.after.request != said.request or proof.before.entry.seq >= proof.after.entry.seq:
        raise wrong("the later commitment is not the one after this request's erasure")
    return (
        f"commitments stand as entries {proof.before.entry.seq}, from before the request, and"
        f" {proof.after.entry.seq} of the {proof.size} that the certificate stands on"
    )


def _served(case: _Case) -> str:
    """The parts in the proof are those that are certified."""
    rows = [[p.shard, list(p.slices), p.digest, p.records] for p in _parts(case)]
    found = digest(rows)
    if found != case.said.unlearned:
        raise wrong(f"its parts are {found}, not the certified model")
    return f"the {len(rows)} parts of the proof are the certified model"


def _prefix(case: _Case) -> str | None:
    """What was committed before serves now without a cut cell."""
    cut, before = set(case.after.cells), case.before
    old = [p for p in case.proof.served if p.index is not None]
    for each in old:
        leaf, part = part_leaf(each.part), each.part
        verify_inclusion(leaf, each.index or 0, before.count, each.path, before.parts)
        if part.cells & cut:
            cells = ", ".join(sorted(part.cells & cut))
            raise wrong(f"shard {part.shard} serves a part made from cell {cells}, which was cut")
    if len(old) < len(case.proof.served):
        return None  # or a signer could call the part with a cut cell a later one
    cells = ", ".join(sorted(cut))
    return (
        f"all {len(old)} served parts are committed prefixes of before the request, none of them"
        f" with the cells that were cut ({cells})"
    )


def _order(case: _Case) -> str | None:
    """Each served part is the beginning of an order that was planned before the request."""
    before, served = case.before, case.proof.served
    if not before.orders or any(s.index is None or s.planned is None for s in served):
        return None  # one made later may hold what is left of a slice that was cut
    stages = [_begins(each.part, each.planned, before) for each in served if each.planned]
    return (
        f"all {len(served)} served parts are beginnings, {sum(len(s.part.slices) for s in served)}"
        f" of {sum(stages)} stages, of orders that were committed to before the request"
    )


def _begins(part: Snapshot, planned: PlannedOrder, before: Committed) -> int:
    """The stages of the committed order that a part is the beginning of."""
    leaf = order_leaf(planned.order)
    verify_inclusion(leaf, planned.index, before.planned, planned.path, before.orders)
    if not part.begins(planned.order):
        raise wrong(f"a part of shard {part.shard} is not the beginning of its order")
    return len(planned.order.slices)


def _record(case: _Case) -> str | None:
    """The record of the receipt was in a committed manifest, and its key is in the later none."""
    taken, proof = case.receipt, case.proof
    if taken is None:
        return None
    opened = [proof.before, *([proof.receipted] if proof.receipted else [])]
    if taken.manifest not in [facts_of(each.entry).manifest for each in opened]:
        raise wrong("the receipt is of a manifest that the proof holds no commitment to")
    verify_present(taken.manifest, taken.key, taken.content, taken.place)
    if taken.cell not in case.after.cells:
        raise wrong(f"the record lay in cell {taken.cell}, which was not cut")
    if proof.absent is None:
        raise wrong("the proof does not open the place of the record after the erasure")
    verify_absent(case.after.manifest, taken.key, proof.absent)
    return (
        f"the record of the receipt stood in a committed manifest, in cell {taken.cell}, which was"
        " cut, and is not in the committed manifest after the erasure"
    )


def _parts(case: _Case) -> Iterator[Snapshot]:
    return (each.part for each in case.proof.served)


RULES: dict[str, Rule] = {
    "lineage ledger": _ledger,
    "lineage served": _served,
    "lineage prefix": _prefix,
    "lineage order": _order,
    "lineage record": _record,
}
MISSING = {
    "lineage order": "a served part was made after the request, or is of no committed order",
    "lineage prefix": "served parts were made after the request; a replay speaks for them",
    "lineage record": "no receipt of a record was given",
}
