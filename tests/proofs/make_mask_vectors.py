"""Write the test vectors of the proof of masks: statement, secret, random bytes, and what follows.

    python tests/proofs/make_mask_vectors.py

writes them again, which a change of the protocol's version needs and nothing else does. Each is a
JSON file, and beside it the proof. Numbers of the field are texts: elsewhere those of JSON are
doubles.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from mask_worlds import World, proved, world

from rescind.core.canonical import build, plain
from rescind.proofs.mask_proof.challenges import Challenges
from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.proof_file import Proof, read
from rescind.proofs.mask_proof.prover import Seeds
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.truth import Secret

HERE = Path(__file__).parent / "mask_vectors"
WORLDS: dict[str, dict[str, Any]] = {
    "one_stack": {"blocks": 6, "opened": 8, "seed": 3},
    "two_stacks": {
        "blocks": 64,
        "opened": 4,
        "block": 2,
        "sketches": 1,
        "degree": 3,
        "value_bytes": 3,
        "residual_bits": 21,
        "exceptions": (3, 40),
    },
    "thirds": {"blocks": 100, "opened": 5, "size": 96, "block": 3, "sketches": 2, "seed": 5},
}


@dataclass(frozen=True, slots=True)
class Vector:
    """What a file holds: ``drawn`` are the prover's random bytes in the order it asks for them."""

    made: World
    drawn: tuple[bytes, ...]
    expected: dict[str, Any]
    proof: bytes


class Drawn:
    """``os.urandom`` from a name: call number i gives SHAKE-256 of the name and i."""

    def __init__(self, name: str) -> None:
        self._name, self.given = name, list[bytes]()

    def __call__(self, count: int) -> bytes:
        text = f"rescind mask vectors {self._name} {len(self.given)}"
        self.given.append(hashlib.shake_256(text.encode()).digest(count))
        return self.given[-1]


def write(folder: Path) -> None:
    """All vectors."""
    folder.mkdir(exist_ok=True)
    for name, options in WORLDS.items():
        with patch.object(os, "urandom", Drawn(f"{name} seeds")):
            made = world(**options)
        drawn = Drawn(name)
        with patch.object(os, "urandom", drawn):
            data = proved(made)
        text = json.dumps(written(made, drawn.given, data), indent=1)
        rows_on_lines = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
        (folder / f"{name}.json").write_text(rows_on_lines + "\n")
        (folder / f"{name}.proof").write_bytes(data)


def written(made: World, drawn: list[bytes], data: bytes) -> dict[str, Any]:
    """The file of a vector."""
    secret = {tree: getattr(made.secret, tree).tolist() for tree in ROOTS}
    return {
        "statement": plain(made.statement),
        "mask": made.public.mask.astype(int).tolist(),
        "direction": made.public.direction.tolist(),
        "secret": secret,
        "seeds": {tree: getattr(made.seeds, tree).hex() for tree in ROOTS},
        "drawn": [each.hex() for each in drawn],
        "expected": expected(made.statement, read(made.statement, data)) | {"proof": sha256(data)},
    }


def expected(statement: Statement, proof: Proof) -> dict[str, Any]:
    """What anybody gets from statement and proof."""
    challenges = Challenges(statement)
    point = challenges.point(proof.aux)
    factors = challenges.factors(proof.helpers)
    numbers = np.concatenate([factors.rows, factors.equations, factors.tensors]).ravel()
    polynomials = {"p": proof.proximity, "q": proof.quadratic, "r": proof.floor}
    return {
        "statement": sha256(statement.canonical()),
        "roots": {tree: getattr(statement, tree) for tree in ROOTS}
        | {"aux": proof.aux.hex(), "helpers": proof.helpers.hex()},
        "point": texts(point),
        "first_factors": texts(numbers[:6]),
        "factors": sha256(numbers.astype("<u8").tobytes()),
        "polynomials": {n: sha256(v.astype("<u8").tobytes()) for n, v in polynomials.items()},
        "columns": challenges.columns(*polynomials.values()),
    }


def stored(name: str) -> Vector:
    """A vector from its files; nothing of it is drawn again."""
    said = json.loads((HERE / f"{name}.json").read_text())
    mask, direction = np.array(said["mask"], bool), np.array(said["direction"], np.int8)
    secret = said["secret"]
    made = World(
        build(Statement, said["statement"]),
        Public(mask, direction),
        Secret(
            np.array(secret["weights"]),
            np.array(secret["gradients"], np.int8),
            np.array(secret["post"]),
        ),
        Seeds(**{tree: bytes.fromhex(seed) for tree, seed in said["seeds"].items()}),
    )
    drawn = tuple(bytes.fromhex(each) for each in said["drawn"])
    return Vector(made, drawn, said["expected"], (HERE / f"{name}.proof").read_bytes())


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def texts(numbers: Array) -> list[str]:
    """Decimal."""
    return [str(int(x)) for x in numbers]


if __name__ == "__main__":
    write(HERE)
