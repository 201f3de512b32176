"""Steps saved in relearning the forget set, beside models that were retrained without it.

Savings are what H. Ebbinghaus measured of memory (1885): by how much fewer repetitions bring back
what seems forgotten. The curves are those of ``metrics.relearning``: every model is shown the same
few requested records and scored on others of them. The control is retrained models, which learn
them too; steps are counted on a logarithmic scale, so that savings are in doublings.

A model that was not unlearned is found at step 0, before any relearning; ``open`` tells that part
apart. What relearning adds is power over models that hide what they hold, and only where retrained
models find the records hard: a class that they never saw. In the tests of this audit the row of a
made-up class is taken out of the last layer. By accuracy, beside ten retrained models, all of six
such models are found where a class has four clusters (0.4 to 1 doublings saved), and four of six
where it has two: nothing to rely on without a power measured for the request at hand.

There is none for single records of known classes: models that never saw them answer others of the
kind as well, and showing a few does not better it. That is refused rather than tested. In the
project's own probes, too, relearning told no method from retraining there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from statistics import fmean, stdev

from rescind.audits.finding import Finding
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.equivalence import compare, require_references
from rescind.metrics.relearning import Curve

AUDIT = "relearning"
UNIT = "doublings of the steps that retrained models need"
ZERO = -1.0  # where step 0 lies on the scale of log2(steps), as in ``Curve.area``


@dataclass(frozen=True, slots=True)
class Savings:
    """Doublings saved by a candidate to reach ``level``, with the p of "no more than retrained".

    ``interval`` (95 %) predicts one more retrained model. ``share`` is Ebbinghaus's: the steps
    saved as a share of those that retrained models take, by geometric means. ``open`` is whether
    the candidate stood at the level before any step: then nothing was hidden, and nothing relearnt.
    """

    level: float
    doublings: float
    interval: tuple[float, float]
    p: float
    share: float
    open: bool


def savings(candidate: Curve, retrained: Sequence[Curve], level: float | None = None) -> Savings:
    """How much sooner the candidate reaches a score than retrained models do.

    Places on log2(steps) are interpolated between the scores taken. A retrained model that does not
    reach the level counts as if it had at its last step, and a candidate that does not as if it had
    at twice that: both make the savings smaller. p is that of the one-sided t-test that the
    candidate is one more retrained model; where a place is not known their spread is too small, and
    p is the rank of the candidate among them, (1 + those as soon) / (1 + all).

    Args:
        candidate: of the audited model.
        retrained: of three retrained models or more; the same budget and examples.
        level: the score that counts as known, fixed beforehand; by default half-way between the
            mean first and the mean last score of the retrained models.

    Raises:
        BadData: curves of different budgets or numbers of examples.
        InsufficientEvidence: fewer than three retrained models; half of them or more do not reach
            the level, stand there from the start, or all reach it at the same place.
        MissingExtra: scipy is not installed.
    """
    require_references(len(retrained), display=True)
    if len({(c.budget, c.shown, c.held_out) for c in (candidate, *retrained)}) > 1:
        raise BadData(
            "The curves are of different budgets or numbers of examples.",
            "Steps are saved only where all were given the same.",
            "Relearn with one budget and one choice of examples to show.",
        )
    wanted = half_way(retrained) if level is None else level
    end = log2(candidate.budget.steps)
    found = [place_of(c, wanted) for c in retrained]
    _refuse_empty(found, wanted)
    places = [end if place is None else place for place in found]
    own = place_of(candidate, wanted)
    place = own if own is not None else end + 1
    between = compare([place], places, margin=1.0)
    doublings, (low, high) = -between.gap, between.interval
    half = between.p_different / 2
    p = half if doublings > 0 else 1 - half
    if None in found:
        p = (1 + sum(other <= place for other in places)) / (1 + len(places))
    return Savings(
        level=wanted,
        doublings=doublings,
        interval=(-high, -low),
        p=p,
        share=1 - 2.0**-doublings,
        open=candidate.start >= wanted,
    )


def relearning_finding(
    candidate: Curve,
    retrained: Sequence[Curve],
    level_of_score: float | None = None,
    level: float = 0.05,
    power: float | None = None,
) -> Finding:
    """Test that the candidate relearns no sooner than retrained models do.

    Args:
        candidate: of the audited model.
        retrained: of three retrained models or more.
        level_of_score: as ``level`` of ``savings``.
        level: the p-value below which the null is rejected.
        power: from ``relearning_power``, measured on the same kind of request; None leaves it
            unsaid, and an audit that sees nothing then has none.

    Raises:
        BadData, InsufficientEvidence, MissingExtra: as ``savings``.
    """
    found = savings(candidate, retrained, level_of_score)
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=candidate.shown + candidate.held_out,
        p=found.p,
        effect=found.doublings,
        interval=found.interval,
        unit=UNIT,
        level=level,
        power=power,
    )


def relearning_power(
    hiding: Sequence[Curve],
    retrained: Sequence[Curve],
    level_of_score: float | None = None,
    level: float = 0.05,
) -> float:
    """Share of models known to hide the records that ``relearning_finding`` rejects.

    What is measured is the power over that way of hiding, such as a last layer that was drawn anew.

    Raises:
        BadParameter: no models; as ``relearning_finding``.
    """
    if not hiding:
        raise BadParameter(
            "No model is known to hide the records.",
            "Power is a share of models.",
            "Hide what models hold behind a new last layer, and take their curves.",
        )
    return fmean(relearning_finding(c, retrained, level_of_score, level).p < level for c in hiding)


def half_way(retrained: Sequence[Curve]) -> float:
    """Half-way between the mean first and the mean last score of the retrained models."""
    return fmean([c.start for c in retrained] + [c.scores[-1] for c in retrained])


def place_of(curve: Curve, level: float) -> float | None:
    """Where on log2(steps) the score first reaches the level, -1 for step 0; None if it does not.

    Between two scores the place is interpolated, so that models differ by less than a doubling.
    """
    places = [log2(step) if step else ZERO for step in curve.steps]
    if curve.start >= level:
        return ZERO
    steps = zip(pairwise(places), pairwise(curve.scores), strict=True)
    for (left, right), (low, high) in steps:
        if high >= level:
            return left + (right - left) * (level - low) / (high - low)
    return None


def _refuse_empty(places: Sequence[float | None], level: float) -> None:
    never, known = sum(p is None for p in places), sum(p == ZERO for p in places)
    if 2 * never >= len(places):
        raise InsufficientEvidence(
            f"{never} of {len(places)} retrained models do not reach a score of {level:g}.",
            "Without the steps that they need none can be saved.",
            "Give a larger budget, or a lower level.",
        )
    if 2 * known >= len(places):
        raise InsufficientEvidence(
            f"{known} of {len(places)} retrained models score {level:g} before any step.",
            "What they know without the records cannot be relearned.",
            "Give a higher level; of records that retrained models know there is no power.",
        )
    if not stdev(p for p in places if p is not None) > 0:
        raise InsufficientEvidence(
            "All retrained models reach the level at the same place.",
            "Their spread is the scale on which savings are read.",
            "Score more often, or on more examples.",
        )
