"""Whether unlearning changed the margins of the requested records, and by how much of what it must.

The auditor has both models and the records, and no part in training, as in TAPE (arXiv 2502.19770).
The statistic is not TAPE's, whose first-order signal was at chance for another seed in the probes
of this project, but

    c_i = [m_after(i) - m_before(i)] - mean over its 10 nearest neighbours of the same,

with the margin m of ``metrics.membership`` and neighbours among retained records of the class, in
the features of the model before. Excluded records (cell-mates that a cut of S3T drops too) are
neither requested nor neighbours.

**The test.** c is standardised within strata of one class and like margins (``strata``) to z_i, and

    s_i = (1 - p_i)^(1/4) log(1 + exp(-z_i - 1)),

with the probability p_i that the model before gives the class of the record. The sum over the
request is compared with those of other requests with as many records of each stratum, which has its
level by construction. Both factors were chosen on models of their own: what is learned easily is
not lost with the record, so that nearly all is seen of the quarter with the smallest margins, and a
rise says nothing of a removal. s is 0 where nothing changed beyond rounding, neither the record nor
the middle of its stratum: else the first factor alone would tell hard requests from others, in a
model that is the same. The mean of c beside matches, which was tested before, finds
33 of 40 requests of 20 in ``benchmarks/margin_difference.py``, and s 39.

**The drop** is the mean of c beside that of retained records matched by class and margin.

**Extent.** Retraining makes a requested record a record that was held out of training. How far
margins fall then is estimated by the *holdout gap*: the mean margin, in the model before, of
retained records minus that of holdout records, by class, weighted as the request is. It is right
on average for requests that are drawn as the holdout is, and needs no other model. It says nothing
of single records: for a request of hard records the extent is too high, and ``rank`` is far from a
half. Three other estimates are dishonest. The request's own margin minus the holdout's holds the
difficulty of its records. Holdout neighbours of a record, in features that saw the record, have its
margin by construction, and tell no gap. The gap in the model after is in the hands of the server.

Without a holdout there is no extent. A small p then says that something was done about the records
and not that they were removed: significance is not removal. Interval and p are about records, given
two models; several requests to one model are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.extent import Told, as_removal, told
from rescind.audits.finding import Finding
from rescind.audits.holdout_gap import Gap, Holdout, holdout_gap
from rescind.audits.intervals import TAILS, Z95, resampled_means
from rescind.audits.matched import CONTROLS, Groups, match
from rescind.audits.neighbours import NEIGHBOURS, centred, nearest_retained
from rescind.audits.permutation import DRAWS, Permuted, adjusted, permuted
from rescind.audits.rows import checked_kinds, checked_mask
from rescind.audits.strata import Strata, moved, p_high, standardised, stratified
from rescind.core.errors import BadData
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """All that is fixed before the model after is seen: groups, neighbours, the expected fall.

    ``rank`` is the mean share of the request's classmates whose margin before is lower; about a
    half for a random request.
    """

    before: Tensor
    groups: Groups
    nearest: Tensor
    strata: Strata
    near_strata: Tensor
    rank: float
    gap: Gap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginDifference:
    """How far the margins of ``n`` requested records fell beside those of ``controls`` each.

    ``p_fell`` is one-sided, the margins fell, and decides about a removal; ``p_rose`` is the same
    test of a rise, which removes nothing. ``drop`` is in nats. ``extent`` is
    drop / expected, None without a holdout or where the model before tells members no better from
    the holdout than by chance; ``interval`` (95 %) is the extent's, or else the drop's.
    """

    n: int
    controls: int
    p_fell: float
    p_rose: float
    drop: float
    extent: float | None
    interval: tuple[float, float]
    expected: float | None
    p_present: float | None
    rank: float
    level: float

    @property
    def p(self) -> float:
        """Two-sided: twice the smaller of both."""
        return min(1.0, 2 * min(self.p_fell, self.p_rose))

    @property
    def told(self) -> Told:
        """See ``extent.told``; which way they moved is said by the test."""
        fell = self.p_fell <= self.p_rose
        p = self.p_fell if fell else self.p
        return told(p, self.level, 1.0 if fell else -1.0, self.extent, self.interval)

    def finding(self, power: float | None = None) -> Finding:
        """The finding, by the one-sided p: an overshoot lies on the same side, and a rise is none.

        ``effect`` is the extent; without one the drop, and the unit says so.
        """
        return Finding(
            audit="margin_difference",
            null="nothing_removed",
            n=self.n,
            p=self.p_fell,
            effect=self.drop if self.extent is None else self.extent,
            interval=self.interval,
            unit="nats of margin" if self.extent is None else "share of what retraining changes",
            level=self.level,
            power=power,
            as_removal=as_removal(self.told, None if self.extent is None else self.interval),
        )


def prepare(
    before: Tensor,
    labels: Tensor,
    features: Tensor,
    requested: Tensor,
    *,
    excluded: Tensor | None = None,
    holdout: Holdout | None = None,
    neighbours: int = NEIGHBOURS,
    controls: int = CONTROLS,
    seed: int = 0,
) -> Question:
    """Choose controls and neighbours from the model before alone.

    Args:
        before: margins (n,) of the training records in the model before.
        labels: (n,) whole numbers.
        features: (n, d), penultimate, of the model before.
        requested: (n,) bool.
        excluded: (n,) bool, records that are neither controls nor neighbours: other requests, and
            all of the cells that were cut.
        holdout: without it there is no extent.
        neighbours: of each record.
        controls: of each requested record, at most.
        seed: of the draws of ``p_present``.

    Raises:
        BadData: shapes that do not fit, values that are not finite, too few neighbours, a class of
            the request with fewer than two records in the holdout.
        BadParameter: no neighbours or no controls asked for.
        InsufficientEvidence: a class has fewer controls than requested records.
    """
    import torch

    margins = checked_values(before, "margins before").cpu()
    kinds = checked_kinds(labels, len(margins))
    asked = checked_mask(requested, len(margins), "requested")
    retained = ~asked
    if excluded is not None:
        retained &= ~checked_mask(excluded, len(margins), "excluded")
    groups = match(margins, kinds, asked, retained, controls)
    strata = stratified(margins, kinds, asked, asked | retained)
    every, place = torch.unique(torch.cat([groups.flat, strata.rows]), return_inverse=True)
    near = nearest_retained(features, kinds, every, retained, neighbours).cpu()[place]
    gap = None
    if holdout is not None:
        gap = holdout_gap(margins, kinds, asked, retained, holdout, seed)
    return Question(
        before=margins,
        groups=groups,
        nearest=near[: len(groups.flat)],
        strata=strata,
        near_strata=near[len(groups.flat) :],
        rank=_rank(margins, kinds, groups.records, retained),
        gap=gap,
    )


def changes(question: Question, after: Tensor) -> Tensor:
    """The statistic c (n, 1 + controls) of the requested records, first, and of their controls.

    Raises:
        BadData: not the margins (n,) of the same training records.
    """
    rows = question.groups.rows
    found = centred(_changed(question, after), question.groups.flat, question.nearest)
    return adjusted(found.reshape(rows.shape), question.before[rows])


def scores(question: Question, after: Tensor) -> Tensor:
    """The scores s (2, m) of a fall and of a rise, of the records of the strata.

    Raises:
        BadData: as ``changes``.
    """
    import torch
    from torch.nn.functional import logsigmoid, softplus

    strata = question.strata
    c = centred(_changed(question, after), strata.rows, question.near_strata)
    z = standardised(c, strata)
    weight = (logsigmoid(-question.before[strata.rows]) / 4).exp()
    return (weight * softplus(torch.stack([-z, z]) - 1)).where(moved(c, strata), 0.0)


def _changed(question: Question, after: Tensor) -> Tensor:
    margins, before = checked_values(after, "margins after").cpu(), question.before
    if len(margins) != len(before):
        raise BadData(
            f"There are {len(before)} margins before and {len(margins)} after.",
            "The change of a margin compares the same record.",
            "Score both models on the same records, in the same order.",
        )
    return margins - before


def measure(
    question: Question, after: Tensor, *, level: float = 0.05, draws: int = DRAWS, seed: int = 0
) -> MarginDifference:
    """Compare the model after: its margins (n,) of the same training records.

    Raises:
        BadData: as ``changes``.
        InsufficientEvidence: too few records, controls or draws for any p below ``level``.
    """
    fell, rose = p_high(scores(question, after), question.strata, draws, seed, level)
    test = permuted(changes(question, after), draws, seed, level)
    gap = question.gap
    known = gap is not None and gap.expected > Z95 * gap.error
    expected = gap.expected if gap is not None and known else None
    return MarginDifference(
        n=len(question.groups.rows),
        controls=question.groups.rows.shape[1] - 1,
        p_fell=fell,
        p_rose=rose,
        drop=-test.gap,
        extent=None if expected is None else -test.gap / expected,
        interval=_interval(test, gap if known else None, seed),
        expected=None if gap is None else gap.expected,
        p_present=None if gap is None else gap.p_present,
        rank=question.rank,
        level=level,
    )


def _interval(test: Permuted, gap: Gap | None, seed: int) -> tuple[float, float]:
    """Of the extent, or of the drop without a gap: the wider of two, on both sides.

    A bootstrap over the requested records, which sees that they were changed unequally and nothing
    where there is only one; and the spread of the controls, which is about as wide for one record.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    resampled = -resampled_means(test.gaps, generator)
    ends = []
    for drops in (resampled, test.null - test.gap):
        scale: Tensor | float = 1.0
        if gap is not None:
            noise = torch.randn(len(drops), generator=generator, dtype=torch.float64)
            # above 0 by at least its error, since the gap is twice that
            scale = (gap.expected + gap.error * noise).clamp(min=gap.error + 1e-12)
        tails = torch.tensor(TAILS, dtype=torch.float64)
        ends.append(torch.quantile(drops / scale, tails).tolist())
    return min(low for low, _ in ends), max(high for _, high in ends)


def _rank(margins: Tensor, kinds: Tensor, records: Tensor, retained: Tensor) -> float:
    """Mean share of classmates below, ties counted half."""
    shares = []
    for row in records.tolist():
        others = margins[retained & (kinds == kinds[row])]
        lower, equal = (others < margins[row]).double(), (others == margins[row]).double()
        shares.append(float((lower + equal / 2).mean()))
    return sum(shares) / len(shares)
