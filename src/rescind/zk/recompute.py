"""An auditor's side of a spot check, who may see the model: gradients again, from their records.

The client shows the records of each picked sketch and their signs (``showing.records_of``), and its
model as it was. Whether the records are what they should be is for the auditor to judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rescind.core.errors import BadParameter, VerificationFailed
from rescind.proofs.mask_proof.prover import commit_values
from rescind.zk.showing import Shown
from rescind.zk.spot import Recomputed, Spotted, not_covered
from rescind.zk.tensors import whole, whole_gradients

if TYPE_CHECKING:
    from torch import nn

    from rescind.core.protocols import Editable

DIFFERENT = 0.01  # share of numbers that rounding on another machine may move by a unit


def recompute(
    spotted: Spotted,
    model: Editable,
    weights: Mapping[str, nn.Parameter],
    shown: Sequence[Shown],
    seed: bytes,
) -> Spotted:
    """With the word that each opened gradient is that of its records.

    Args:
        spotted: gradients that are those of the commitment (``spot.check_spot``).
        model: of the client, before it carried the order out.
        weights: of the model, those of the epoch by their names.
        shown: for each picked sketch, in order.
        seed: of the first root, ``weights`` of the client's secret file.

    Raises:
        VerificationFailed: a gradient is another, or the weights are not those under the root.
        BadParameter: not one batch a sketch, not a sign a row, or a sign that is none.
        Diverged: a gradient was no finite number.
    """
    from rescind.methods.zk_apex.fisher import signed_sum
    from rescind.training.descent import rows

    pick, statement = spotted.spot.taken.pick, spotted.got.statement
    fine = all(len(s.signs) == rows(s.batch) and bool((s.signs.abs() == 1).all()) for s in shown)
    if len(shown) != len(pick.numbers) or not fine:
        raise BadParameter(
            f"{len(pick.numbers)} gradients were picked, and {len(shown)} batches are shown.",
            "Each is a sum over the rows of a batch, with a sign of 1 or -1 each.",
            "Ask the client for `records_of` the pick.",
        )
    _tied(spotted, weights, seed)
    names, parts = list(weights), list(weights.values())
    sums = [
        [g.numpy(force=True) for g in signed_sum(model, s.batch, s.signs, parts)] for s in shown
    ]
    tensors = {n: np.stack(each) for n, each in zip(names, zip(*sums, strict=True), strict=True)}
    found = whole_gradients(tensors, statement.tensors, statement.block).astype(np.int64)
    apart = np.abs(found.transpose(1, 0, 2) - spotted.opened.values)
    units, share = int(apart.max()), float((apart > 0).mean())
    if units > 1 or share > DIFFERENT:
        raise VerificationFailed(
            "recomputed gradients",
            f"A gradient is {units} units off, and {share:.2%} of the numbers differ.",
            "So it is not that of these records and weights.",
            "Take the client as caught, where records, signs and model are the right ones.",
        )
    done = Recomputed(records=_different(shown), units=units, share=round(share, 6))
    spot = replace(spotted.spot, recomputed=done)
    line = f"these gradients are those of {done.records} records that were shown"
    verdict = replace(
        spotted.verdict,
        checked=(*spotted.verdict.checked, line),
        not_covered=not_covered(spot),
    )
    return replace(spotted, spot=spot, verdict=verdict)


def _tied(spotted: Spotted, weights: Mapping[str, nn.Parameter], seed: bytes) -> None:
    statement = spotted.got.statement
    tensors = {name: weight.numpy(force=True) for name, weight in weights.items()}
    own = whole(tensors, statement.tensors, statement.block)
    if commit_values("weights", own, statement, seed).root.hex() != statement.weights:
        raise VerificationFailed(
            "model",
            "The weights are not those under the first root.",
            "Gradients at other weights are no evidence.",
            "Use the model that the client committed to, before the order was carried out.",
        )


def _different(shown: Sequence[Shown]) -> int:
    """How many records are not another's double."""
    seen = set()
    for each in shown:
        columns = [tensor.numpy(force=True) for tensor in each.batch.values()]
        for row in range(len(each.signs)):
            one = [np.ascontiguousarray(column[row]).tobytes() for column in columns]
            seen.add(hashlib.sha256(b"".join(one)).digest())
    return len(seen)
