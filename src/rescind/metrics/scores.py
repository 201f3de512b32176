"""AGL, AGR, H-LR with all their parts, and the order of methods: admissible first, then by cost.

The scores are our reading of "Are We Truly Forgetting?" (arXiv 2503.06991): its abstract names
them, the formulas could not be read. Every part is given so that another reading can be computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import exp, isfinite, log, prod
from typing import Literal

from rescind.core.errors import BadParameter
from rescind.core.judgement import Verdict

# top-1 accuracy on forget and retain examples that were trained on, and on validation examples
ACCURACIES = ("FA", "RA", "TFA", "TRA")
CAP = 100.0  # beyond this a saving counts no more

Weighting = Literal["balanced", "fast", "small"]
# of cpu_seconds, steps, peak_bytes, bytes_read, bytes_stored; each sums to 1
WEIGHTS: dict[str, tuple[float, ...]] = {
    "balanced": (0.2, 0.2, 0.2, 0.2, 0.2),
    "fast": (0.6, 0.2, 0.0, 0.2, 0.0),
    "small": (0.1, 0.0, 0.4, 0.1, 0.4),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One factor of a score: 1 - |value - retrained|, or the CKA clipped to [0, 1].

    ``retrained`` is None for the normalised CKA, whose scale holds the retrained models already.
    """

    name: str
    value: float
    retrained: float | None
    factor: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The three scores in [0, 1], 1 being like retraining, and the factors they are made of.

    AGR and H-LR are None where they are undefined, and ``undefined`` says why.
    """

    agl: float
    agr: float | None
    h_lr: float | None
    logit_parts: tuple[Part, ...]
    representation_parts: tuple[Part, ...]
    undefined: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method took: processor seconds, optimiser steps, and bytes at most held in memory,
    read and stored.
    """

    cpu_seconds: float
    steps: float
    peak_bytes: float
    bytes_read: float
    bytes_stored: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a table before it is ordered; ``control`` marks the original, a no-op and such."""

    name: str
    verdict: Verdict
    cost: Cost
    control: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """A line of a table in its place; ``rank`` is None where it is listed but not ranked."""

    entry: Entry
    saving: float
    rank: int | None


def score(
    accuracies: Mapping[str, float],
    retrained: Mapping[str, float],
    normalised_cka: float | None,
    neighbours: Mapping[str, float],
    neighbours_retrained: Mapping[str, float],
) -> Scores:
    """All three scores with their parts (our reading of arXiv 2503.06991).

    AGL is the product of 1 - |gap| over the accuracies FA, RA, TFA, TRA. AGR is the product of the
    normalised CKA on forget examples, clipped to [0, 1], and of 1 - |gap| of the k-NN accuracy on
    each downstream set; it is undefined without a downstream set or where the CKA (None) is. H-LR
    is their harmonic mean.

    Args:
        accuracies: the candidate's, in [0, 1], and no others.
        retrained: the same of retrained models.
        normalised_cka: (CKA - floor) / (ceiling - floor), or None where that is undefined.
        neighbours: downstream set -> k-NN accuracy in [0, 1].
        neighbours_retrained: the same of retrained models.

    Raises:
        BadParameter: names that are missing or too many, a share outside [0, 1], a CKA that is not
            finite.
    """
    _refuse_names("accuracies", accuracies, ACCURACIES)
    _refuse_names("retrained accuracies", retrained, ACCURACIES)
    _refuse_names("retrained k-NN accuracies", neighbours_retrained, sorted(neighbours))
    logit = tuple(_gap_part(name, accuracies[name], retrained[name]) for name in ACCURACIES)
    near = [_gap_part(n, neighbours[n], neighbours_retrained[n]) for n in sorted(neighbours)]
    cka = [] if normalised_cka is None else [_cka_part(normalised_cka)]
    undefined = "" if near else "There is no downstream set."
    if not cka:
        undefined = f"The normalised CKA is undefined. {undefined}".strip()
    agl, parts = prod(part.factor for part in logit), (*cka, *near)
    agr = None if undefined else prod(part.factor for part in parts)
    return Scores(agl, agr, None if agr is None else h_lr(agl, agr), logit, parts, undefined)


def h_lr(agl: float, agr: float) -> float:
    """2 AGL AGR / (AGL + AGR), and 0 if either is 0 (our reading of arXiv 2503.06991).

    Raises:
        BadParameter: a score outside [0, 1].
    """
    for name, value in (("AGL", agl), ("AGR", agr)):
        _refuse_share(name, value)
    if agl == 0.0 or agr == 0.0:
        return 0.0
    low, high = sorted((agl, agr))
    return 2.0 * low / (1.0 + low / high)  # the product of two small scores could underflow


def saving(
    cost: Cost, retraining: Cost, weighting: Weighting = "balanced", cap: float = CAP
) -> float:
    """Weighted geometric mean of how many times less a method took than retraining.

    Each ratio is held within 1/cap and cap: what costs nothing is at most ``cap`` times cheaper, so
    that being instant wins no more than being fast. Two zeros are a ratio of 1.

    Raises:
        BadParameter: an unknown weighting, a cost that is negative or not finite, a cap below 1.
    """
    if weighting not in WEIGHTS:
        raise BadParameter(
            f"There is no weighting {weighting!r}.", do=f"Use one of {', '.join(WEIGHTS)}."
        )
    if not 1.0 <= cap < float("inf"):
        raise BadParameter(f"The cap is {cap}.", "It is the largest saving that counts.")
    _refuse_costs(cost, retraining)
    pairs = zip(WEIGHTS[weighting], astuple(cost), astuple(retraining), strict=True)
    return exp(sum(w * log(_ratio(theirs, ours, cap)) for w, ours, theirs in pairs))


def rank(
    entries: Sequence[Entry],
    retraining: Cost,
    weighting: Weighting = "balanced",
    cap: float = CAP,
) -> tuple[Ranked, ...]:
    """Admissible methods by saving, then the other methods by saving, then the controls by name.

    Only admissible methods have a rank, equal savings the same one: to be cheap and wrong wins
    nothing, also where no method is admissible. Controls are never ranked, whatever their verdict.

    Raises:
        BadParameter: a name given twice, and what ``saving`` refuses.
    """
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadParameter(f"{', '.join(twice)} is listed twice.", do="Give each line a name.")
    # rounded: savings that are equal but for the last bits share a rank
    savings = {e.name: float(f"{saving(e.cost, retraining, weighting, cap):.9g}") for e in entries}
    winners = [savings[e.name] for e in entries if _ranks(e)]
    lines = [
        Ranked(
            entry=entry,
            saving=savings[entry.name],
            rank=1 + sum(w > savings[entry.name] for w in winners) if _ranks(entry) else None,
        )
        for entry in entries
    ]
    return tuple(sorted(lines, key=_place))


def _ranks(entry: Entry) -> bool:
    return entry.verdict == "admissible" and not entry.control


def _place(line: Ranked) -> tuple[bool, bool, float, str]:
    by_saving = 0.0 if line.entry.control else -line.saving
    return line.entry.control, line.rank is None, by_saving, line.entry.name


def _ratio(theirs: float, ours: float, cap: float) -> float:
    if theirs == ours:
        return 1.0
    if ours == 0.0:
        return cap
    return min(max(theirs / ours, 1.0 / cap), cap)


def _gap_part(name: str, value: float, retrained: float) -> Part:
    _refuse_share(name, value)
    _refuse_share(f"{name} of retrained models", retrained)
    return Part(name, value, retrained, 1.0 - abs(value - retrained))


def _cka_part(value: float) -> Part:
    if not isfinite(value):
        raise BadParameter(
            f"The normalised CKA is {value}.",
            "Where floor and ceiling are too close it has no value.",
            "Pass None where it is undefined.",
        )
    return Part("CKA", value, None, min(max(value, 0.0), 1.0))


def _refuse_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise BadParameter(f"{name} is {value}.", "It is a share between 0 and 1, not in percent.")


def _refuse_names(what: str, given: Mapping[str, float], wanted: Sequence[str]) -> None:
    missing, more = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or more:
        raise BadParameter(
            f"The {what} lack {missing} and have {more} too many.",
            "A factor that is left out would count as a perfect one.",
            f"Pass exactly {list(wanted)}.",
        )


def _refuse_costs(cost: Cost, retraining: Cost) -> None:
    wrong = [v for v in (*astuple(cost), *astuple(retraining)) if not 0.0 <= v < float("inf")]
    if wrong:
        raise BadParameter(
            f"Costs of {wrong} are given.",
            "A cost is a finite number, at least 0.",
            "Measure the run again.",
        )
