"""What a provider publishes: the terms of an epoch before it opens, the order after it closes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rescind.core.canonical import digest, plain
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.statement import VERSION, Statement

GOALS = ("class", "concept")
FEWEST = 500  # records behind a published gradient: of fewer it shows them
GOAL, MOST = 0.05, 0.15  # of residual over pull: what is aimed at, and what is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOrder:
    """What is to be masked, how hard it is pulled, and the least that must be reached.

    ``pulls`` and ``floors`` are those of the epoch's tensors, in order; ``mask`` and ``direction``
    digests of what lies beside. ``salt`` keeps the seal from being guessed.
    """

    goal: str
    records: int
    mask: str
    direction: str
    pulls: tuple[int, ...]
    floors: tuple[int, ...]
    salt: str

    def __post_init__(self) -> None:
        if self.goal not in GOALS or self.records < FEWEST:
            raise BadParameter(
                f"The goal is {self.goal!r}, with {self.records} records.",
                f"A published gradient of a subject's or of under {FEWEST} records would show them;"
                f" it is made for a {' or a '.join(GOALS)}.",
                "Use another method for such a request: `rescind list methods` shows them.",
            )

    @property
    def seal(self) -> str:
        """What the epoch holds of it before it is published."""
        return digest(plain(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The terms of all proofs of an epoch, from the provider's own model alone.

    ``tensors`` have no pull and no floor yet: those are in the order, whose seal stands here.
    """

    id: str
    tensors: tuple[TensorTerms, ...]
    block: int
    sketches: int
    value_bytes: int
    residual_bits: int
    degree: int
    opened: int
    size: int
    seal: str

    def statement(self, order: MaskOrder, exceptions: tuple[int, ...], roots: Roots) -> Statement:
        """What a client proves.

        Raises:
            VerificationFailed: the order is not the one that was sealed.
            BadParameter: a residual could hide too much of the pull.
        """
        if order.seal != self.seal or len(order.pulls) != len(self.tensors):
            raise VerificationFailed(
                "seal",
                "The order is not the one that was sealed before the epoch.",
                "It could have been chosen after the commitments.",
                "Ask the provider for the order of this epoch.",
            )
        numbers = zip(self.tensors, order.pulls, order.floors, strict=True)
        return Statement(
            version=VERSION,
            tensors=tuple(replace(t, pull=c, floor=f) for t, c, f in numbers),
            block=self.block,
            sketches=self.sketches,
            value_bytes=self.value_bytes,
            residual_bits=self.residual_bits,
            degree=self.degree,
            opened=self.opened,
            size=self.size,
            mask=order.mask,
            direction=order.direction,
            exceptions=exceptions,
            weights=roots.weights,
            gradients=roots.gradients,
            post=roots.post,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Of the commitments; ``post`` is empty until the order was carried out."""

    weights: str
    gradients: str
    post: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What a client hands in while the epoch is open."""

    epoch: str
    client: str
    roots: Roots


def slack(statement: Statement, rms: float) -> float:
    """The largest share of a tensor's pull that an accepted residual may be, given the root mean
    square of its direction in units; 0 where nothing is pulled.
    """
    pulls = [t.pull for t in statement.tensors if t.pull]
    return 2 ** (statement.residual_bits - 1) / (min(pulls) * rms) if pulls else 0.0
