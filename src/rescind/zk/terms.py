"""What a provider publishes: the terms of an epoch before it opens, the order after it closes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from rescind.core.canonical import digest, plain
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.statement import VERSION, Public, Statement
from rescind.zk import grid

GOALS = ("class", "concept")
FEWEST = 500  # records behind a published gradient: of fewer it shows them
MOST = 0.15  # of residual over pull: what is refused


def check_aim(goal: str, records: int) -> None:
    """Refuse what may not be published.

    Raises:
        BadParameter: the gradient would show its records.
    """
    if goal not in GOALS or records < FEWEST:
        raise BadParameter(
            f"The goal is {goal!r}, with {records} records.",
            f"A published gradient of a subject's or of under {FEWEST} records would show them;"
            f" it is made for a {' or a '.join(GOALS)}.",
            "Use another method for such a request: `rescind list methods` shows them.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOrder:
    """What is to be masked, how hard it is pulled, and the least that must be reached.

    ``pulls`` and ``floors`` are those of the epoch's tensors, in order; ``mask`` and ``direction``
    digests of what lies beside. Each client masks just ``exceptions`` blocks and repairs them not,
    so that their number says nothing of it. ``salt`` keeps the seal from being guessed.
    """

    goal: str
    records: int
    mask: str
    direction: str
    pulls: tuple[int, ...]
    floors: tuple[int, ...]
    exceptions: int
    salt: str

    def __post_init__(self) -> None:
        check_aim(self.goal, self.records)

    @property
    def seal(self) -> str:
        """What the epoch holds of it before it is published."""
        return digest(plain(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The terms of all proofs of an epoch, from the provider's own model alone.

    ``tensors`` have no pull and no floor yet: those are in the order, whose seal stands here. Their
    units and dampings are on the public grid (``grid``).

    Raises:
        BadParameter: one of them is not.
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

    def __post_init__(self) -> None:
        for t in self.tensors:
            grid.check(t.gradient_step, f"The unit of the gradients of {t.name}")
            grid.check(t.damping, f"The damping of {t.name}")

    def statement(self, order: MaskOrder, exceptions: tuple[int, ...], roots: Roots) -> Statement:
        """What a client proves.

        Raises:
            VerificationFailed: the order is not the one that was sealed.
            BadParameter: the numbers cannot be those of a statement.
        """
        if order.seal != self.seal or len(order.pulls) != len(self.tensors):
            raise VerificationFailed(
                "seal",
                "The order is not the one that was sealed before the epoch.",
                "It could have been chosen after the commitments.",
                "Ask the provider for the order of this epoch.",
            )
        numbers = zip(self.tensors, order.pulls, order.floors, strict=True)
        return replace(
            self.sized,
            tensors=tuple(replace(t, pull=c, floor=f) for t, c, f in numbers),
            mask=order.mask,
            direction=order.direction,
            exceptions=exceptions,
            weights=roots.weights,
            gradients=roots.gradients,
            post=roots.post,
        )

    @property
    def sized(self) -> Statement:
        """A statement of the epoch's sizes that says nothing yet: enough to commit."""
        return Statement(
            version=VERSION,
            tensors=self.tensors,
            block=self.block,
            sketches=self.sketches,
            value_bytes=self.value_bytes,
            residual_bits=self.residual_bits,
            degree=self.degree,
            opened=self.opened,
            size=self.size,
            mask="",
            direction="",
            exceptions=(),
            weights="",
            gradients="",
            post="",
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


def slack(statement: Statement, public: Public) -> float:
    """The largest of ``slacks``."""
    return max(slacks(statement, public))


def slacks(statement: Statement, public: Public) -> list[float]:
    """For each tensor the share of its pull that an accepted residual may be: limit / (c rms(g)), g
    as it is published, its largest values cut off; 0 where nothing is pulled.
    """
    shares, start = list[float](), 0
    for t in statement.tensors:
        end = start + t.blocks(statement.block)
        own = public.direction[start:end].reshape(-1)[: prod(t.shape)].astype(float)
        pull = t.pull * float((own**2).mean()) ** 0.5
        limit = 2 ** (statement.residual_bits - 1)
        shares.append(limit / pull if pull else 0.0)
        start = end
    return shares
