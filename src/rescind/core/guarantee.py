"""What is claimed of an unlearned model, and how claims combine and are lowered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescind.core.errors import BadParameter

Sense = Literal["retrain", "never_saw"]

SENSES: dict[str, str] = {
    "retrain": (
        "The stored weights are the bytes that the same algorithm gives on the retain set, for the"
        " realised history of requests. It is not hidden that a deletion happened."
    ),
    "never_saw": (
        "The stored weights are a function of retained records, the recipe, and which cells were"
        " cut when, for the realised history of requests. Training anew on the retain set would"
        " keep all stages. It is not hidden that a deletion happened."
    ),
}


@dataclass(frozen=True, slots=True)
class Exact:
    """Bit-equal to a replay without the data, in the given sense. Only a replay carries it."""

    sense: Sense
    kind: Literal["exact"] = "exact"


@dataclass(frozen=True, slots=True)
class Certified:
    """(epsilon, delta)-indistinguishable from retraining under the named assumption."""

    epsilon: float
    delta: float
    assumption: str
    kind: Literal["certified"] = "certified"


@dataclass(frozen=True, slots=True)
class Empirical:
    """No proof; what is known is what was measured. ``because`` says why no more is claimed."""

    because: str
    kind: Literal["empirical"] = "empirical"


Guarantee = Exact | Certified | Empirical
STRENGTH: dict[str, int] = {"exact": 2, "certified": 1, "empirical": 0}


def compose(earlier: Guarantee | None, now: Guarantee, *, from_scratch: bool) -> Guarantee:
    """The guarantee of a version that stands on an earlier one.

    From scratch, or from nothing, the new claim stands alone: the weights do not depend on the
    earlier version. Exact on exact stays exact, by substitution: each step equals a training that
    never used the data; the weaker sense ``never_saw`` wins. Everything else falls to the weaker
    claim; sums of (epsilon, delta) need a theorem for adaptive requests, so they are refused here.

    Raises:
        BadParameter: two certified claims, for which no composition theorem is implemented.
    """
    if earlier is None or from_scratch:
        return now
    if isinstance(earlier, Exact) and isinstance(now, Exact):
        both = {earlier.sense, now.sense}
        return Exact("never_saw" if "never_saw" in both else "retrain")
    if isinstance(earlier, Certified) and isinstance(now, Certified):
        raise BadParameter(
            "Two certified removals cannot be added up here.", "No theorem is given."
        )
    return min(earlier, now, key=lambda g: STRENGTH[g.kind])
