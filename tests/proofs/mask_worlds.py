"""Small true statements of masks and compensations, with their secrets, and proofs of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof import independent
from rescind.proofs.mask_proof.proof_file import written
from rescind.proofs.mask_proof.prover import Seeds, commit_values, prove
from rescind.proofs.mask_proof.statement import ROOTS, VERSION, Public, Statement
from rescind.proofs.mask_proof.truth import Secret
from rescind.proofs.mask_proof.verifier import verify

DAMPING, PULL = 20_000, 3


@dataclass(frozen=True, slots=True)
class World:
    """A statement and all that belongs to it."""

    statement: Statement
    public: Public
    secret: Secret
    seeds: Seeds


def world(
    blocks: int = 40,
    size: int = 64,
    opened: int = 12,
    residual_bits: int = 18,
    value_bytes: int = 2,
    degree: int = 2,
    seed: int = 0,
    exceptions: tuple[int, ...] = (),
    block: int = 8,
    sketches: int = 4,
) -> World:
    """Two tensors of half of the blocks each, the first block of all untouched."""
    draw = np.random.default_rng(seed)
    most = 20_000 if value_bytes == 2 else 5_000_000
    weights = draw.integers(-most, most, (blocks, block))
    gradients = draw.integers(-60, 60, (blocks, sketches, block)).astype(np.int8)
    mask = draw.random((blocks, block)) < 0.15
    mask[0] = False
    direction = draw.integers(-127, 128, (blocks, block)).astype(np.int8)
    post = weights + solved(weights, gradients, mask, direction, exceptions)
    half = blocks // 2 * block
    tensors = tuple(
        TensorTerms(
            name=name,
            shape=(count,),
            weight_bits=16,
            gradient_step=0.1,
            damping=DAMPING,
            pull=PULL,
            floor=-(10**12),
        )
        for name, count in (("a", half), ("b", blocks * block - half))
    )
    digests = Public(mask, direction).digests()
    plain = Statement(
        version=VERSION,
        tensors=tensors,
        block=block,
        sketches=sketches,
        value_bytes=value_bytes,
        residual_bits=residual_bits,
        degree=degree,
        opened=opened,
        size=size,
        mask=digests[0],
        direction=digests[1],
        exceptions=exceptions,
        weights="",
        gradients="",
        post="",
    )
    seeds = Seeds(weights=os.urandom(32), gradients=os.urandom(32), post=os.urandom(32))
    made = World(plain, Public(mask, direction), Secret(weights, gradients, post), seeds)
    return replace(made, statement=replace(plain, **roots(made)))


def solved(
    weights: Any, gradients: Any, mask: Any, direction: Any, exceptions: tuple[int, ...]
) -> Any:
    """The rounded change of each block, by a dense solve."""
    change = np.zeros_like(weights)
    for b, masked in enumerate(mask):
        change[b][masked] = -weights[b][masked]
        kept = ~masked
        if not masked.any() or b in exceptions:
            continue
        fisher = gradients[b].astype(float).T @ gradients[b] + DAMPING * np.eye(len(masked))
        right = PULL * direction[b][kept] + fisher[kept][:, masked] @ weights[b][masked]
        change[b][kept] = np.round(np.linalg.solve(fisher[kept][:, kept], right))
    return change


def roots(made: World) -> dict[str, Any]:
    """The roots of its secret."""
    parts: tuple[Any, ...] = (made.secret.weights, made.secret.gradients, made.secret.post)
    return {
        tree: commit_values(tree, values, made.statement, getattr(made.seeds, tree)).root.hex()
        for tree, values in zip(ROOTS, parts, strict=True)
    }


def quiet(what: str, done: int, total: int) -> None:
    """No progress is told."""


def proved(made: World) -> bytes:
    """A proof of it."""
    return written(prove(made.statement, made.public, made.secret, made.seeds, quiet))


@cache
def honest(**options: Any) -> tuple[World, bytes]:
    """A world and its proof, made once."""
    made = world(**options)
    return made, proved(made)


def both_verify(statement: Statement, public: Public, data: bytes) -> None:
    """Both verifiers take it."""
    verify(statement, public, data)
    second(statement, public, data)


def second(statement: Statement, public: Public, data: bytes) -> list[str]:
    """The second verifier's word."""
    return independent.verify(
        statement.canonical(),
        public.mask.astype(int).tolist(),
        public.direction.tolist(),
        data,
    )
