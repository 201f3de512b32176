"""Do the records of one request, together, look as if the model had seen them?

The statistic is the sum over the records of LiRA's log likelihood ratio (``lira``), which for
independent records is the likelihood ratio of the group. Its null distribution is not taken from a
formula: it is what the same statistic gives for shadow models held out in turn that never saw the
records. Nothing is assumed about margins; that they are normal only shapes the statistic.

Two nulls are offered. ``group_finding`` counts models: exact, and it needs 20 of them that saw none
of the records to say anything at a level of 5 %. ``drawn_finding`` makes do with four models, by
drawing other groups of records from each, and pays for it with assumptions that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.audits.shadows import Shadows
from rescind.audits.worlds import held_out_worlds
from rescind.core.errors import InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 0.05
UNIT = "nats per record above models that never saw them"


def group_finding(
    target: Tensor,
    shadows: Shadows,
    audit: str = "lira",
    level: float = LEVEL,
    power: float | None = None,
) -> Finding:
    """Test that the audited model is one more draw from the models that never saw the group.

        p = (1 + number of such models whose statistic is at least the target's) / (models + 1),

    each, the target too, being scored by worlds fitted to all others. Under the null all of them
    are exchangeable, so P(p <= level) <= level for any number of models and any dependence between
    the records. The effect is how far the target's mean ratio lies above that of the others;
    its 95 % interval is the range of theirs about it.

    Args:
        target: margins (n,) of the audited model on the n records of the request.
        shadows: margins (models, n); in some models all n records are inside, in others outside.
        audit: name of the finding.
        level: the p-value below which the null is rejected.
        power: from ``lira_power``; None leaves it unsaid.

    Raises:
        BadData, InsufficientEvidence: as ``lira``.
        InsufficientEvidence: so few models without the group that no p-value is below the level.
    """
    own, null = group_statistics(shadows.margins_of(target), shadows, level)
    n = shadows.margins.shape[1]
    low, middle, high = float(null.quantile(0.025)), float(null.mean()), float(null.quantile(0.975))
    return Finding(
        audit=audit,
        null="no_trace",
        n=n,
        p=rank_of(own, null),
        effect=(own - middle) / n,
        interval=((own - max(middle, high)) / n, (own - min(middle, low)) / n),
        unit=UNIT,
        level=level,
        power=power,
    )


def group_statistics(target: Tensor, shadows: Shadows, level: float) -> tuple[float, Tensor]:
    """The target's statistic and those (models,) of the models that never saw the group.

    Raises:
        BadData, InsufficientEvidence: as ``group_finding``.
    """
    never = shadows.outside.all(1).nonzero()[:, 0].tolist()
    if 1 / (len(never) + 1) >= level:
        raise InsufficientEvidence(
            f"{len(never)} shadow models have seen none of the records of the group.",
            f"The least p-value is then 1/{len(never) + 1}, which is not below {level:g}.",
            f"Train more than {int(1 / level - 1 + 1e-9)} without the group, or use drawn_finding.",
        )
    joined = shadows.joined_by(target)
    scored = [*never, len(shadows.margins)]
    sums = held_out_worlds(joined, models=scored).log_ratio(joined.margins[scored]).sum(1)
    return float(sums[-1]), sums[:-1]


def rank_of(own: float, null: Tensor) -> float:
    """The p-value: the share of all models, the target among them, with at least its statistic."""
    return (1 + int((null >= own).sum())) / (len(null) + 1)
