"""What a proof shows, sampled: views of the prover are like the simulator's, and those of provers
that leave out or use twice what is random are not.

Seeds are fixed. The level is of a comparison as a whole: by chance an honest prover is told from
the simulator in one of a million draws.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from mask_distinguisher import Counts, Insider, families, insider, told_apart
from mask_simulator import Challenged, Unmasked, View, as_proof, challenged, seen, simulated
from mask_worlds import World, both_verify, proved, roots, world

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof import independent, padded, prover, relation, verifier
from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.prover import Seeds
from rescind.proofs.mask_proof.verifier import verify

VIEWS = 64
LEVEL = 1e-6
Sample = list[tuple[str, Counts]]
Cheat = Callable[[pytest.MonkeyPatch], None]
plain_table, plain_pads, plain_masks = relation.helper_table, padded.pads, prover._masks


@cache
def helpers(point: tuple[int, ...]) -> Array:
    """What follows from X alone, worked out once: it takes long."""
    return plain_table(np.array(point, dtype=np.uint64))


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bytes of a seed, whatever ran before."""
    for module in (prover, relation):
        monkeypatch.setattr(module, "helper_table", lambda point: helpers(tuple(point.tolist())))
    monkeypatch.setattr(os, "urandom", np.random.default_rng(4).bytes)
    toy(), reader(), simulator()
    monkeypatch.setattr(os, "urandom", np.random.default_rng(5).bytes)


@cache
def toy() -> World:
    """Six blocks of two, one sketch, rows of 64, three columns."""
    return world(blocks=6, opened=3, block=2, sketches=1, seed=3)


@cache
def oracle() -> Challenged:
    return challenged(toy().statement, np.random.default_rng(6))


def anew(made: World) -> World:
    """The same secret under fresh commitments."""
    weights, gradients, post = (os.urandom(32) for _ in range(3))
    made = replace(made, seeds=Seeds(weights=weights, gradients=gradients, post=post))
    return replace(made, statement=replace(made.statement, **roots(made)))


def scripted(monkeypatch: pytest.MonkeyPatch, given: Challenged) -> None:
    for module in (prover, verifier):
        monkeypatch.setattr(module, "Challenges", given.scripted)


@cache
def reader() -> Insider:
    """From one proof in which every fourth column was opened."""
    every = replace(oracle(), columns=list(range(0, toy().statement.columns, 4)))
    with pytest.MonkeyPatch.context() as patched:
        scripted(patched, every)
        return insider(toy(), oracle(), seen(anew(toy()), every))


def views_of(monkeypatch: pytest.MonkeyPatch) -> list[View]:
    """Of the prover as it is now, each time with fresh random numbers."""
    scripted(monkeypatch, oracle())
    return [seen(anew(toy()), oracle()) for _ in range(VIEWS)]


@cache
def simulations(seed: int = 7) -> list[View]:
    draw, unmasked = np.random.default_rng(seed), Unmasked(toy(), oracle(), oracle().columns)
    return [simulated(toy(), oracle(), unmasked, draw) for _ in range(VIEWS)]


@cache
def simulator() -> Sample:
    return list(families(reader(), simulations()))


def betrayed(views: list[View]) -> set[str]:
    """By what the views are told from the simulator's."""
    found = told_apart(list(families(reader(), views)), simulator())
    return {name for name, chance in found.items() if chance < LEVEL}


def test_the_provers_views_are_like_the_simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    assert betrayed(views_of(monkeypatch)) == set()


def test_two_samples_of_the_simulator_are_alike() -> None:
    assert betrayed(simulations(8)) == set()


def test_both_verifiers_take_what_the_simulator_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once their challenges are the oracle's: so it is no proof of anything without the order."""
    scripted(monkeypatch, oracle())
    f = oracle().factors
    numbers = np.concatenate([f.rows, f.equations, f.tensors]).ravel()
    answers = {"point": oracle().point.tolist(), "factors": numbers.tolist()}
    own = independent._Transcript
    monkeypatch.setattr(own, "elements", lambda self, label, count: answers[label])
    monkeypatch.setattr(own, "drawn_columns", lambda self, count, size: oracle().columns)
    draw = np.random.default_rng(9)
    for view in simulations()[:2]:
        statement, data = as_proof(toy().statement, oracle(), view, draw)
        both_verify(statement, toy().public, data)
        with pytest.raises(VerificationFailed):
            verify(statement, toy().public, data[:-1] + bytes([data[-1] ^ 1]))


# --- provers whose proofs hold and which show more ---


def no_pads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        padded, "pads", lambda seed, tree, row, count: np.zeros(count, dtype=np.uint64)
    )


def one_pad_for_two_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed and name of w for w' too."""
    held = dict[str, bytes]()

    def wrong(seed: bytes, tree: str, row: int, count: int) -> Array:
        held[tree] = seed
        known = "weights" if tree == "post" else tree
        return plain_pads(held[known], known, row, count)

    monkeypatch.setattr(padded, "pads", wrong)


def one_pad_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first row of w alone."""

    def wrong(seed: bytes, tree: str, row: int, count: int) -> Array:
        found = plain_pads(seed, tree, row, count).copy()
        if (tree, row) == ("weights", 0):
            found[-1] = found[-2]
        return found

    monkeypatch.setattr(padded, "pads", wrong)


def without(name: str) -> Cheat:
    """No masking polynomial of this name."""

    def cheat(monkeypatch: pytest.MonkeyPatch) -> None:
        def masks(statement: Any) -> Any:
            found = plain_masks(statement)
            return replace(found, **{name: np.zeros_like(getattr(found, name))})

        monkeypatch.setattr(prover, "_masks", masks)

    return cheat


def one_mask_for_both_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of q, in the extension."""

    def masks(statement: Any) -> Any:
        found = plain_masks(statement)
        return replace(found, quadratic=found.quadratic[[0, 0]])

    monkeypatch.setattr(prover, "_masks", masks)


def a_mask_of_few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of p: as many as columns are opened, so that these look even, and foretell the others."""

    def masks(statement: Any) -> Any:
        found = plain_masks(statement)
        few = found.proximity.copy()
        few[:, statement.opened :] = 0
        return replace(found, proximity=few)

    monkeypatch.setattr(prover, "_masks", masks)


CHEATS: dict[str, tuple[Cheat, str]] = {
    "no pads": (no_pads, "pads"),
    "one pad for two trees": (one_pad_for_two_trees, "two rows"),
    "one pad twice in a row": (one_pad_twice_in_a_row, "two pads of a row"),
    "no mask of p": (without("proximity"), "mask of p"),
    "no mask of q": (without("quadratic"), "mask of q"),
    "no mask of r": (without("floor"), "mask of r"),
    "one mask for both parts of q": (one_mask_for_both_parts, "mask of q"),
    "a mask of few numbers": (a_mask_of_few_numbers, "mask of p foretold"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_prover_that_hides_less_is_told_from_the_simulator(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat, by = CHEATS[name]
    cheat(monkeypatch)
    scripted(monkeypatch, oracle())
    made = anew(toy())
    verify(made.statement, made.public, proved(made))  # no verifier sees it
    assert by in betrayed(views_of(monkeypatch))
