"""Whether the requested records look removed, beside shadow models that had them and had not.

The auditor trains S shadow models by the recipe, each candidate record in with probability 1/2, and
reads the neighbour-centred margin (``neighbours.centred``) of every candidate in every shadow and
in the model after. Of record i in shadow s

    x_si = level_i + (+1/2 if in, else -1/2) gap_i + noise,   noise ~ N(0, v),

v pooled over all records, level_i and gap_i shrunk towards their means over records: few shadows
know a single record badly. It is the online attack of N. Carlini et al., S&P 2022 (arXiv
2112.03570) with pooled variance, turned round: with in_i and gap_i as found, a record at y_i adds

    t_i = gap_i (in_i - y_i) / v

to T, which is the log of the likelihood ratio out / in up to a constant. T is 0 on average for
records that were kept, and E = sum of gap_i^2 / v for records that were removed; T / E is the
extent. Each shadow in turn is judged by the others: sets of records that it had give the null, sets
that it had not give the power.

The p is about sets of records. Draws from one shadow are not independent, so that a request must
also lie beyond what Student's t foretells of one more model (``few_models``). S models cannot show
a rate of false positives below about 3 / S; that needs many models with a known answer, as in
``benchmarks/shadow_null.py``. Shadows must be fresh: those that chose a method or a parameter do
not decide. A server that moves margins to where shadows without the records have them passes this
test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.extent import Told, as_removal, told
from rescind.audits.few_models import critical, p_above
from rescind.audits.finding import Finding
from rescind.audits.intervals import Z95
from rescind.audits.rows import checked_mask
from rescind.audits.shadows import Shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Generator, Tensor

FEWEST = 4  # shadow models
SETS = 500  # drawn from each shadow
NEGLIGIBLE = 1e-6  # of the noise: the least variance between records, so that it can be inverted


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """What shadows foretell of records (m,): the margin of a kept one, the gap, and the noise.

    ``variance`` (m,) is that of a new model's margin about ``kept``.
    """

    kept: Tensor
    gap: Tensor
    variance: Tensor
    noise: float

    def scores(self, observed: Tensor) -> Tensor:
        """(3, m): t, its expectation if removed, its variance if kept."""
        import torch

        weight = self.gap / self.noise
        return torch.stack(
            [weight * (self.kept - observed), weight * self.gap, weight**2 * self.variance]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowDifference:
    """T of ``n`` requested records beside ``shadows`` models; ``extent`` is T / E[T | removed].

    ``z`` is T in standard deviations of its null; ``power`` the share of sets that a shadow had not
    seen, and that the test finds at ``level``. ``p_present`` is of the other null, that the model
    never had the records: a small one is evidence that it has them.
    """

    n: int
    shadows: int
    p: float
    p_present: float
    z: float
    extent: float
    interval: tuple[float, float]
    power: float
    level: float

    @property
    def told(self) -> Told:
        """See ``extent.told``; the rule for removal is an extent of at least a half."""
        return told(self.p, self.level, self.z, self.extent, self.interval)

    def finding(self) -> Finding:
        """The finding, with the power that the shadows have shown."""
        return Finding(
            audit="shadow_difference",
            null="nothing_removed",
            n=self.n,
            p=self.p,
            effect=self.extent,
            interval=self.interval,
            unit="share of what retraining changes",
            level=self.level,
            power=self.power,
            as_removal=as_removal(self.told, self.interval),
        )


def measure(
    shadows: Shadows,
    observed: Tensor,
    requested: Tensor,
    *,
    level: float = 0.05,
    sets: int = SETS,
    seed: int = 0,
    ranks_alone: bool = False,
) -> ShadowDifference:
    """Judge the model after by the shadows.

    Args:
        shadows: neighbour-centred margins of the requested records and of further candidates,
            in four models or more; best, each had twice as many of them as are requested.
        observed: neighbour-centred margins (m,) in the model after, of the same records.
        requested: (m,) bool.
        level: of the test, one-sided: an overshoot lies on the same side, and the extent tells it.
        sets: drawn from each shadow, of as many records as are requested if it had so many.
        seed: of the draws.
        ranks_alone: leave out what ``few_models`` asks beside them; then p is too small.

    Raises:
        BadData: shapes that do not fit, no requested record, a margin that is not finite.
        BadParameter: ``level`` outside (0, 1), or too few sets for it.
        InsufficientEvidence: the shadows do not tell in from out at all.
        MissingExtra: scipy is not installed.
    """
    import torch

    margins = shadows.margins_of(observed).cpu()
    asked = _refuse(shadows, requested, level, sets)
    n = int(asked.sum())
    t, e, v = (float(x) for x in foretold(shadows).scores(margins)[:, asked].sum(1))
    kept, removed = _drawn_sets(shadows, n, sets, torch.Generator().manual_seed(seed))
    z, count = t / v**0.5, len(shadows.margins)
    null, found = (part[0] / part[2].sqrt() for part in (kept, removed))
    # how far sets that a shadow had not fall behind what a removal is expected to take
    behind = (removed[1] - removed[0]) / removed[2].sqrt()
    half = Z95 * max(float((part[0] / part[1]).std()) for part in (kept, removed))
    least = critical(null, level, count, ranks_alone=ranks_alone)
    return ShadowDifference(
        n=n,
        shadows=count,
        p=p_above(z, null, count, ranks_alone=ranks_alone),
        p_present=p_above((e - t) / v**0.5, behind, count, ranks_alone=ranks_alone),
        z=z,
        extent=t / e,
        interval=(t / e - half, t / e + half),
        power=float((found > least).double().mean()),
        level=level,
    )


def foretold(shadows: Shadows) -> Records:
    """Levels and gaps of the records: posterior means under normal priors.

    The priors are those of all records, by moments of the ones that are known in both worlds.

    Raises:
        InsufficientEvidence: the margins do not vary, or fewer than two records are known in both.
    """
    import torch

    margins = shadows.margins.cpu()
    masks = torch.stack([shadows.inside, shadows.outside]).cpu().double()
    count = masks.sum(1)
    mean = torch.einsum("gsm,sm->gm", masks, margins) / count.clamp(min=1)
    noise = _noise(margins, masks, count, mean)
    prior, spread = _priors(mean, count, noise)
    # (2, S, m): what a model's margin tells of level and gap; nothing where it is in neither world
    design = torch.stack([masks.sum(0), (masks[0] - masks[1]) / 2])
    precision = torch.einsum("asm,bsm->mab", design, design) / noise + torch.diag(1 / spread)
    told_by = torch.einsum("asm,sm->ma", design, margins) / noise + prior / spread
    estimate = torch.linalg.solve(precision, told_by)
    kept = torch.tensor([1.0, 0.5], dtype=torch.float64)
    doubt = torch.einsum("a,mab,b->m", kept, torch.linalg.inv(precision), kept)
    return Records(estimate @ kept, estimate[:, 1], noise + doubt, noise)


def _priors(mean: Tensor, count: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and variance over records of level and gap, without what noise alone scatters them."""
    import torch

    ready = (count > 0).all(0)
    if int(ready.sum()) < 2:
        raise InsufficientEvidence(
            f"{int(ready.sum())} records were in one shadow model and out of another.",
            "Two such records are the fewest that tell in from out.",
            "Train more shadows, each with a random half of the candidates.",
        )
    both = torch.stack([(mean[0] + mean[1]) / 2, mean[0] - mean[1]])[:, ready]
    scatter = noise * (1 / count[:, ready]).sum(0).mean()
    own = both.var(1) - scatter * torch.tensor([0.25, 1.0], dtype=torch.float64)
    return both.mean(1), own.clamp(min=NEGLIGIBLE * noise)


def _noise(margins: Tensor, masks: Tensor, count: Tensor, mean: Tensor) -> float:
    """The variance of a margin between models of one world, pooled over records and worlds."""
    free = float((count - 1).clamp(min=0).sum())
    left = (margins - mean[:, None]) * masks
    noise = float((left**2).sum()) / free if free else 0.0
    if not noise > 0:
        raise InsufficientEvidence(
            "The margins do not vary between shadow models that are alike in a record.",
            "Without the spread of retraining nothing is large or small.",
            "Train more shadows, with seeds and records of their own.",
        )
    return noise


def _drawn_sets(shadows: Shadows, n: int, sets: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """(3, draws) of sums over sets of n records that a shadow had, and of n that it had not.

    Each shadow is judged by the others. No record comes twice in a set, which would spread the
    null; where a shadow had fewer than n records, the set is all of them.
    """
    import torch

    kept: list[Tensor] = []
    removed: list[Tensor] = []
    for s in range(len(shadows.margins)):
        scores = foretold(shadows.without(s)).scores(shadows.margins[s].cpu())
        for found, mask in ((kept, shadows.inside[s]), (removed, shadows.outside[s])):
            rows = mask.cpu().nonzero().flatten()
            if len(rows):
                order = torch.rand(sets, len(rows), generator=generator)
                index = order.topk(min(n, len(rows)), dim=1).indices
                found.append(scores[:, rows[index]].sum(2))
    return torch.cat(kept, 1), torch.cat(removed, 1)


def _refuse(shadows: Shadows, requested: Tensor, level: float, sets: int) -> Tensor:
    models, records = shadows.margins.shape
    if models < FEWEST:
        raise InsufficientEvidence(
            f"There are {models} shadow models.",
            f"Each is judged by the others, and {FEWEST} are the fewest that say anything.",
            "Train more shadows, or measure without them: margin_difference.",
        )
    asked = checked_mask(requested, records, "requested")
    if not bool(asked.any()):
        raise BadData("No record is requested.", "There is nothing to judge.", "Mark the request.")
    if not 0.0 < level < 1.0 or sets < 1 or sets * models * level < 1:
        raise BadParameter(
            f"level is {level}, with {sets} sets a shadow.",
            "Less than one set of the null would lie beyond it.",
            "Use 0.05 and some hundred sets.",
        )
    return asked
