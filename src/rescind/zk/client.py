"""The client's side: commit, carry out an order in whole numbers, prove it once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rescind.core.canonical import digest, plain
from rescind.core.errors import BadData, BadParameter, Refused, VerificationFailed
from rescind.core.mask_terms import TensorTerms
from rescind.core.protocols import Progress
from rescind.proofs.mask_proof.layout import layout_of
from rescind.proofs.mask_proof.mapped import copied, let_go
from rescind.proofs.mask_proof.proof_file import written
from rescind.proofs.mask_proof.prover import Seeds, commit_values, prove
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.truth import Secret
from rescind.zk.exceptions import Carried, declared
from rescind.zk.tensors import Tensors, Whole, floats, parts_of, whole, whole_gradients
from rescind.zk.terms import Commitment, Epoch, MaskOrder, Roots

AT_ONCE = 1024  # blocks that are solved together


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a client's commitments: secret, and good for one proof.

    ``picked`` is the digest of the one pick that was answered.
    """

    epoch: str
    client: str
    weights: str
    gradients: str
    post: str
    used: bool = False
    picked: str = ""

    @property
    def seeds(self) -> Seeds:
        """As bytes."""
        parts = (self.weights, self.gradients, self.post)
        one, two, three = (bytes.fromhex(p) for p in parts)
        return Seeds(weights=one, gradients=two, post=three)


def commit(epoch: Epoch, weights: Tensors, gradients: Tensors) -> tuple[Commitment, Opening]:
    """Commit to weights and gradients, before the order is known.

    Raises:
        BadData: tensors that are not those of the epoch, or do not fit its scales.
    """
    w, g = _whole(epoch, weights, gradients)
    seeds = [os.urandom(32).hex() for _ in range(3)]
    name, client = digest(plain(epoch)), os.urandom(8).hex()
    opening = Opening(
        epoch=name, client=client, weights=seeds[0], gradients=seeds[1], post=seeds[2]
    )
    bare = epoch.sized
    roots = Roots(
        weights=commit_values("weights", w, bare, opening.seeds.weights).root.hex(),
        gradients=commit_values("gradients", g, bare, opening.seeds.gradients).root.hex(),
    )
    return Commitment(epoch=name, client=client, roots=roots), opening


def compensate(
    epoch: Epoch, order: MaskOrder, public: Public, weights: Tensors, gradients: Tensors
) -> tuple[Mapping[str, NDArray[np.float32]], Carried]:
    """The new tensors, which float32 holds exactly, and what was done.

    Raises:
        BadData: tensors or public file that do not fit.
        VerificationFailed: the order is not the sealed one.
        Refused: more blocks cannot be met than the order allows.
    """
    statement = epoch.statement(order, (), Roots(weights="", gradients=""))
    public.check(statement)
    w, g = _whole(epoch, weights, gradients)
    done = declared(carried_out(w, g, public, statement), w, public, order)
    return floats(done.weights, epoch.tensors, epoch.block), done


def prove_once(
    epoch: Epoch,
    order: MaskOrder,
    public: Public,
    weights: Tensors,
    gradients: Tensors,
    opening: Opening,
    progress: Progress,
) -> tuple[Statement, bytes, Opening]:
    """The statement, its proof, and the opening, which now is used.

    Raises:
        Refused: it was used before, or more blocks cannot be met than the order allows.
        BadParameter: it belongs to another epoch.
        VerificationFailed: the order is not the sealed one, or cannot be met.
        BadData: tensors or public file that do not fit.
    """
    if opening.used:
        raise Refused(
            "A proof was made with this commitment already.",
            "A second one would open columns enough to compute committed numbers.",
            "Commit again in the next epoch.",
        )
    if opening.epoch != digest(plain(epoch)):
        raise BadParameter("The opening belongs to another epoch.", do="Name the file of this one.")
    w, g = _whole(epoch, weights, gradients)
    bare = epoch.statement(order, (), Roots(weights="", gradients=""))
    public.check(bare)
    done = declared(carried_out(w, g, public, bare), w, public, order)
    parts = (("weights", w), ("gradients", g), ("post", done.weights))
    trees = {
        tree: commit_values(tree, values, bare, getattr(opening.seeds, tree))
        for tree, values in parts
    }
    roots = Roots(**{tree: made.root.hex() for tree, made in trees.items()})
    statement = epoch.statement(order, done.exceptions, roots)
    secret = Secret(w, g, done.weights)
    proof = prove(statement, public, secret, opening.seeds, progress, trees)
    return statement, written(proof), replace(opening, used=True)


def post_root(statement: Statement, tensors: Tensors, seed: bytes) -> str:
    """The third root of these weights: who may see them and the seed ties a file to the statement.

    Raises:
        BadData: tensors of other shapes.
        VerificationFailed: they are no whole numbers of the statement's units.
    """
    w = whole(tensors, statement.tensors, statement.block)
    back = floats(w, statement.tensors, statement.block)
    if any((back[t.name] != tensors[t.name]).any() for t in statement.tensors):
        raise VerificationFailed(
            "model",
            "A weight of the file is no whole number of the statement's units.",
            "The file is not what was compensated.",
            "Compare the file that `rescind zk compensate` wrote.",
        )
    return commit_values("post", w, statement, seed).root.hex()


def carried_out(
    weights: Whole,
    gradients: NDArray[np.int8],
    public: Public,
    statement: Statement,
) -> Carried:
    """Mask and compensate; a block that cannot be met within the limits is masked only.

    Raises:
        Diverged: a number is not finite.
    """
    import torch

    from rescind.methods.zk_apex.quantise import compensated, residuals

    after, exceptions, largest = copied(weights), list[int](), 0
    limit, most = 2 ** (statement.residual_bits - 1), layout_of(statement).offset
    for t, here in _pieces(statement):
        # a mask that was read from a file cannot be written to, which torch asks of what it shares
        parts = (weights[here], public.mask[here].copy(), gradients[here].astype(np.int64))
        w, m, g = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
        d = torch.from_numpy(public.direction[here].astype(np.int64))
        change = compensated(w, m, g, t, d)
        left = residuals(w, change, m, g, t, d).abs().amax(1)
        far = (left >= limit) | (change.abs().amax(1) >= most)
        change[far] = (-w * m)[far]
        largest = max(largest, int(left[~far].max()) if bool((~far).any()) else 0)
        exceptions += (far.nonzero().flatten() + here.start).tolist()
        after[here] += change.numpy()
        for values in (weights, gradients, after):
            let_go(values)
    return Carried(after, tuple(exceptions), largest)


def _pieces(statement: Statement) -> Iterator[tuple[TensorTerms, slice]]:
    """Blocks of each tensor, not too many at a time: gradients are wide while they are solved."""
    for t, here in parts_of(statement.tensors, statement.block):
        for start in range(here.start, here.stop, AT_ONCE):
            yield t, slice(start, min(start + AT_ONCE, here.stop))


def _whole(epoch: Epoch, weights: Tensors, gradients: Tensors) -> tuple[Whole, NDArray[np.int8]]:
    w = whole(weights, epoch.tensors, epoch.block)
    if max(int(w.max()), -int(w.min())) >= layout_of(epoch.sized).offset:
        raise BadParameter(
            "A weight is too large for the epoch's scales.",
            "They have room for four times the provider's largest weight.",
            "Ask the provider for an epoch with more room.",
        )
    g = whole_gradients(gradients, epoch.tensors, epoch.block)
    if g.shape[1] != epoch.sketches:
        raise BadData(
            f"There are {g.shape[1]} gradients of each tensor, and the epoch asks for"
            f" {epoch.sketches}.",
            do="Take as many as the epoch says.",
        )
    return w, g
