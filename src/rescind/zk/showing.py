"""The client's side of a spot check: picked gradients, whole; to an auditor also their records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rescind.core.canonical import digest, plain
from rescind.core.errors import Refused
from rescind.proofs.mask_proof.padded import pads
from rescind.proofs.mask_proof.prover import commit_values
from rescind.zk.client import Opening
from rescind.zk.opened import Opened, row_of
from rescind.zk.picks import Pick
from rescind.zk.tensors import Tensors, whole_gradients
from rescind.zk.terms import Commitment, Epoch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Records of one sketch, rows of a batch, and a sign of each."""

    batch: Mapping[str, Tensor]
    signs: Tensor


def show(
    epoch: Epoch, found: Pick, commitment: Commitment, gradients: Tensors, opening: Opening
) -> tuple[Opened, Opening]:
    """The rows of the picked sketches; and the opening, which now knows the pick.

    Raises:
        Refused: the pick is not for this commitment, another one was answered, a proof was made, or
            the gradients are others than were committed.
        BadData: tensors that are not those of the epoch.
    """
    statement, said = epoch.sized, digest(plain(found))
    mine = (commitment.client, commitment.epoch) == (opening.client, opening.epoch)
    if not mine or (found.commitment, found.epoch) != (digest(plain(commitment)), opening.epoch):
        raise _refused("The pick is for another commitment.", "Ask the provider for yours.")
    if opening.used:
        raise _refused("A proof was made with this commitment.", "Gradients are shown before it.")
    if opening.picked not in ("", said):
        raise _refused("Another pick was answered for this commitment.", "There is one only.")
    values = whole_gradients(gradients, epoch.tensors, epoch.block)
    seed = opening.seeds.gradients
    if commit_values("gradients", values, statement, seed).root.hex() != commitment.roots.gradients:
        raise _refused("These gradients are not those of the commitment.", "Name their file.")
    numbers = list(found.numbers)
    ends = np.empty((len(numbers), statement.stacks, epoch.block, epoch.opened), dtype=np.uint64)
    for at, stack, place in np.ndindex(ends.shape[:3]):
        row = row_of(statement, stack, place, numbers[at])
        ends[at, stack, place] = pads(seed, "gradients", row, epoch.opened)
    own = np.ascontiguousarray(values[:, numbers].transpose(1, 0, 2))
    return Opened(own, ends), replace(opening, picked=said)


def records_of(
    batch: Mapping[str, Tensor], pick: Pick, *, samples: int, seed: int = 0
) -> list[Shown]:
    """What the client shows: ``batch``, ``samples`` and ``seed`` are those that it gave
    ``fisher.sketches``. Of the other sketches it shows nothing.

    Raises:
        BadParameter, InsufficientEvidence: as ``fisher.sketches``.
    """
    from rescind.methods.zk_apex.fisher import drawn
    from rescind.training.descent import rows, take

    parts = drawn(rows(batch), count=pick.sketches, samples=samples, seed=seed)
    return [Shown(take(batch, parts[k][0]), parts[k][1]) for k in pick.numbers]


def _refused(what: str, do: str) -> Refused:
    return Refused(what, "What was shown cannot be taken back.", do)
