"""Mask, gradient and terms of the model that served before a request, as `zk_apex` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rescind import editing, rows, state
from rescind.backends import Backends
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import Exhausted, UnsupportedModel
from rescind.core.request import Request
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.methods.zk_apex.method import ZkApex
from rescind.methods.zk_apex.seen import Seen, look
from rescind.zk.kept import Choices
from rescind.zk.provider import Made, Wish, make
from rescind.zk.terms import check_aim

if TYPE_CHECKING:
    from torch import Tensor

Entries = Sequence[ManifestEntry]


def made_of(
    b: Backends, request: Request, forget: Entries, retain: Entries, choices: Choices
) -> Made:
    """An order, not stored.

    Raises:
        BadParameter: all records are one subject's; a choice out of range.
        UnsupportedModel: a model of several parts.
        Exhausted: nothing serves.
        BadData, InsufficientEvidence, Diverged: as ``provider.make`` and ``seen.look``.
    """
    run, method = state.run(b), ZkApex(share=choices.share)
    read = [rows.read(b, half) for half in (forget, retain)]
    subjects = {r.subject for r in read[0]}
    if len(subjects) == 1 and None not in subjects:  # a class that is one person
        check_aim("subject", len(forget))
    model = editing.load(b, run, _part(b, request))
    batches = [model.inputs([r.row for r in half]) for half in read]
    seen: Seen = look(method, model, *batches)
    wish = Wish(
        goal="concept",
        records=len(forget),
        alpha=choices.alpha,
        damping=method.damping,
        reached=choices.reached,
        block=method.block,
        bits=choices.bits,
        limits=choices.limits,
    )
    masks = {name: mask.cpu().numpy().astype(np.uint8) for name, mask in seen.masks.items()}
    return make(
        _arrays(dict(seen.weights)), _arrays(seen.sketches), masks, _arrays(seen.directions), wish
    )


def _part(b: Backends, request: Request) -> Snapshot:
    """The model that served before the request; its bytes are kept until the erasure."""
    before = b.ledger.get("original", request.id)
    parts = selection(state.parts(b)) if before is None else state.original(b, request.id)
    if not parts:
        raise Exhausted("No model serves that a mask could be made of.", do="`rescind rebuild`.")
    if len(parts) != 1:
        raise UnsupportedModel(
            f"The model has {len(parts)} parts; a mask is of one.",
            "Clients have one model each.",
            "Train with one shard and one slice.",
        )
    return parts[0]


def _arrays(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: t.detach().cpu().float().numpy() for name, t in tensors.items()}
