"""Ask the served model for the codes of a user's records.

A record's codes can be in the part of its own shard alone, so it is read there. Where that shard
serves no more, the record is read in the first part that does, which has never held its codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescind import state, stored_seeds
from rescind.audits.seeding.codes import codes_of, fingerprint
from rescind.audits.seeding.handed import packed
from rescind.audits.seeding.kernel import apart
from rescind.audits.seeding.readout import centred, draw_readout
from rescind.audits.seeding.seen import Seen, mark_of, require_same
from rescind.audits.seeding.verdict import ask
from rescind.backends import Backends
from rescind.codes_read import penultimate
from rescind.core.dataset import Key, Record
from rescind.core.errors import BadData, Exhausted, UnknownKey
from rescind.core.partition import TEST, Cell
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.jobs import cell_reader, open_desk
from rescind.stored_seeds import TABLE
from rescind.trainer import place_for
from rescind.users_seeds import Columns, records_of

if TYPE_CHECKING:
    from torch import Tensor

    Batch = Mapping[str, Tensor]


def asked(b: Backends, key: bytes, data: object, before: Seen | None = None, seed: int = 0) -> Seen:
    """What the served model shows of the records that were seeded with a key.

    Records of the test set were never trained on and are left out, before and after alike.

    Args:
        b: the workspace.
        key: the user's; it is used here and not stored.
        data: the user's records, as they were when the codes were made; see ``Workspace.train``.
        before: what an earlier version showed of the same records.
        seed: of the codes that the kernel test draws.

    Raises:
        UnknownKey: nothing was seeded with this key.
        Exhausted: no part serves.
        BadData: none of the records can have been trained on, one is not as it was when it was
            seeded, or as ``ask``.
        BadParameter: as ``fingerprint`` and ``require_same``.
    """
    user = fingerprint(key)
    run, told = state.run(b), b.ledger.get(TABLE, user)
    if told is None:
        raise UnknownKey(
            f"Nothing was seeded in this workspace with key {user[:12]}.",
            "With another key the bits of any model match by chance, which says nothing of it.",
            "Find the right key. If it is lost, these records cannot be asked about by codes.",
        )
    records = records_of(data, Columns(run.source.key, run.source.subject), "ask about")
    secret, partition = b.keys.get("partition"), run.recipe.partition
    cell_of = {r.key: partition.cell(r.placement, secret) for r in records}
    trained = [r for r in records if cell_of[r.key] != TEST]
    if not trained:
        raise BadData(
            "None of these records was trained on.",
            "All of them lie in the test set, by the hash of their keys.",
            "Name the records that were seeded, with the same columns for key and subject.",
        )
    mark = mark_of(key, trained)
    if before is not None:
        require_same(before, user, mark)
    codes = codes_of(key, [r.row for r in trained], told["bits"])
    _refuse_changed(b, user, cell_of, [r.key for r in trained], codes)
    served = {part.shard: part for part in selection(state.parts(b))}
    if not served:
        raise Exhausted(
            "No part of the model serves, so there is nothing to ask.",
            do="Run `rescind rebuild` to train dead shards on the retain set.",
        )
    first = min(served)
    shards = [s if (s := cell_of[r.key].shard) in served else first for r in trained]
    own, public = _read(b, trained, shards, served)
    matrix = draw_readout(key, told["width"], told["bits"])
    shown = _centred(own, public, shards)
    seen = before.findings if before is not None else ()
    found = ask(apart(own, shards), codes, matrix, seed=seed, centred=shown, before=seen)
    return Seen(state.version(b).id, user, mark, found, len(records) - len(trained))


def _refuse_changed(
    b: Backends, user: str, cell_of: Mapping[Key, Cell], keys: Sequence[Key], codes: Tensor
) -> None:
    """Refuse rows that are not as they were in training: of these no model shows a code.

    Codes that are erased are not there to compare with; then ``require_same`` alone can tell.
    """
    own = {key: packed(code) for key, code in zip(keys, codes.int().tolist(), strict=True)}
    wrong = stored_seeds.unlike(b, user, own, {key: str(cell_of[key]) for key in keys})
    if wrong:
        raise BadData(
            f"Of these {len(keys)} records {wrong} are not as they were when they were seeded, or"
            " never were.",
            "Their codes are not those that were trained in, so that no model shows them: that"
            " none is seen would say nothing.",
            "Name the rows that `rescind seeds make` read, unchanged, and no others.",
        )


def _read(
    b: Backends, records: Sequence[Record], shards: Sequence[int], served: Mapping[int, Snapshot]
) -> tuple[Tensor, dict[int, Tensor]]:
    """Features (n, width) of the records in the parts of their shards, and of the test set (m,
    width) in each part.
    """
    import torch

    from rescind.training.snapshots import from_bytes

    test = [e for e in state.allowed(b) if e.cell == str(TEST)]
    desk = open_desk(place_for(b, state.run(b), test, state.generations(b)))
    held_out = cell_reader(desk)(TEST).activations
    inputs = desk.model.activations([r.row for r in records])
    found, public = dict[int, "Tensor"](), dict[int, "Tensor"]()
    for shard in sorted(set(shards)):
        desk.model.load(from_bytes(state.weights(b, served[shard])))
        rows = torch.tensor([i for i, s in enumerate(shards) if s == shard])
        seen = penultimate(desk, {name: t[rows] for name, t in inputs.items()})
        found |= dict(zip(rows.tolist(), seen, strict=True))
        public[shard] = penultimate(desk, held_out) if test else seen.new_zeros(0, seen.shape[1])
    return torch.stack([found[i] for i in range(len(records))]), public


def _centred(own: Tensor, public: Mapping[int, Tensor], shards: Sequence[int]) -> Tensor:
    """For the bits: less the mean of held-out records in the same part, where there are any."""
    import torch

    def one(row: Tensor, shard: int) -> Tensor:
        return centred(row[None], public[shard]) if len(public[shard]) else row[None]

    return torch.cat([one(row, shard) for row, shard in zip(own, shards, strict=True)])
