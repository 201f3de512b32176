"""What models show of seeded records, read with the codes that lie in the workspace: readings for
each bit, and from twenty records on features for the kernel test, which needs no read-out.

A record's codes can be in the part of its own shard alone, so it is read there; where that shard
serves no more, in the first part that does, as ``seeds_asked`` has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescind import state, stored_seeds
from rescind.audits.seeding.handed import matrix_of, unpacked
from rescind.audits.seeding.kernel import FEWEST
from rescind.audits.seeding.readout import centred, read_out
from rescind.core.dataset import ManifestEntry
from rescind.core.partition import Cell
from rescind.core.run import Snapshot
from rescind.jobs import Desk
from rescind.metrics.features import MASK, PENULTIMATE, listen
from rescind.readings import AT_ONCE

if TYPE_CHECKING:
    from torch import Tensor

    Batch = Mapping[str, Tensor]

MOST = 200  # records of the kernel test: it sees all sets of 50, and its work grows as the square


def read_codes(
    desk: Desk,
    entries: Sequence[ManifestEntry],
    inputs: Batch,
    outside: Batch,
    models: Mapping[str, Sequence[Snapshot]],
) -> dict[str, Tensor]:
    """Codes (t,) of all seeded records among the entries, and for each of ``models`` the
    readings (t,) that it shows, under the name "code_readings_" and the model's.

    For the kernel test ``code_rows`` (k, bits), ``code_blocks`` (k,) and features (k, width) under
    "code_features_" and the model's name, where there are enough records.

    Args:
        desk: an open place.
        entries: requested records.
        inputs: their tensors, in the same order.
        outside: of held-out records, perhaps none; their mean is taken off.
        models: parts by name.
    """
    import torch

    held = sorted(stored_seeds.codes_of_records(desk.b, entries).items())
    tables = [desk.b.ledger.get(stored_seeds.TABLE, user) for user, _ in held]
    rows = [[i for i, e in enumerate(entries) if e.key in own] for _, own in held]
    codes = torch.tensor(  # those of one training have one length
        [
            unpacked(own[entries[i].key], table["bits"])
            for (_, own), table, index in zip(held, tables, rows, strict=True)
            for i in index
        ]
    ).bool()
    index = [i for own in rows for i in own]
    blocks = _blocks(rows, entries)
    kept = _for_kernel(blocks)
    found = {"codes": codes.flatten()}
    if kept:
        numbers = torch.tensor([blocks[i] for i in kept])
        found |= {"code_rows": codes[kept], "code_blocks": numbers}
    for name, parts in models.items():
        shown = features_of(desk, entries, inputs, outside, parts)
        readings = []
        for table, own in zip(tables, rows, strict=True):
            matrix = matrix_of(table["readout"], table["bits"], table["width"])
            readings.append(read_out(shown[own], matrix).flatten())
        found[f"code_readings_{name}"] = torch.cat(readings)
        if kept:
            found[f"code_features_{name}"] = shown[[index[i] for i in kept]]
    return found


def _blocks(rows: Sequence[Sequence[int]], entries: Sequence[ManifestEntry]) -> list[int]:
    """A number for each user and shard: of each seeded record of each user, which it has."""
    pairs = [(u, Cell.parse(entries[i].cell).shard) for u, own in enumerate(rows) for i in own]
    number = {pair: n for n, pair in enumerate(sorted(set(pairs)))}
    return [number[pair] for pair in pairs]


def _for_kernel(blocks: Sequence[int]) -> list[int]:
    """Which seeded records the kernel test is put to: those with others in their block, every so
    many-th where there are many, and none where they are too few.
    """
    count = Counter(blocks)
    found = [i for i, block in enumerate(blocks) if count[block] > 1]
    return found[:: -(-len(found) // MOST)] if len(found) >= FEWEST else []


def features_of(
    desk: Desk,
    entries: Sequence[ManifestEntry],
    inputs: Batch,
    outside: Batch,
    parts: Sequence[Snapshot],
) -> Tensor:
    """Features (n, width) of the entries, each in its own part, less the mean of held-out ones."""
    import torch

    from rescind.training.snapshots import from_bytes

    served = {part.shard: part for part in parts}
    shards = [s if (s := Cell.parse(e.cell).shard) in served else min(served) for e in entries]
    found: dict[int, Tensor] = {}
    for shard in sorted(set(shards)):
        desk.model.load(from_bytes(state.weights(desk.b, served[shard])))
        rows = [i for i, s in enumerate(shards) if s == shard]
        own = penultimate(desk, {name: t[rows] for name, t in inputs.items()})
        if outside:
            own = centred(own, penultimate(desk, outside))
        found |= dict(zip(rows, own, strict=True))
    return torch.stack([found[i] for i in range(len(entries))])


def penultimate(desk: Desk, batch: Batch) -> Tensor:
    """Penultimate features (n, width) in the model as it is loaded."""
    import torch

    from rescind.training.batches import pieces

    found = []
    for piece in pieces(batch, AT_ONCE):
        with torch.no_grad(), listen(desk.model.module, [PENULTIMATE], piece.get(MASK)) as heard:
            desk.model.outputs(piece)
        found.append(heard[PENULTIMATE].float())
    return torch.cat(found)
