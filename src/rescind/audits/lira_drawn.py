"""The group test of ``lira_group`` with few shadow models: other groups of records as the null.

With four to eight models no p-value that counts models can fall below 5 %. Here each shadow model
is held out in turn, and groups of as many records as were requested are drawn from those that it
never saw. What that assumes is in ``drawn_finding``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.audits.lira_group import LEVEL, UNIT
from rescind.audits.shadows import Shadows
from rescind.audits.worlds import held_out_worlds
from rescind.core.errors import BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Generator, Tensor

MODELS = 4
DRAWS = 400  # groups from each model


def drawn_finding(
    target: Tensor,
    shadows: Shadows,
    group: Tensor,
    audit: str = "lira",
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """Test that the group's sum of log ratios is that of random records the model never saw.

    For each shadow model the worlds are fitted to the others; they score the target's group and
    random groups that the held-out model never saw. p is the share of these groups that score at
    least as high, the mean over the shadow models.

    Unlike ``group_finding`` this is no exact test. It assumes that the requested records were drawn
    like the others, and that margins do not move with the whole model: four models show little of
    how whole models differ, and where they do, the null is rejected too often. Centre each margin
    by that of its neighbours first.

    The power is that share of random groups that a held-out model *has* seen which are rejected.

    Args:
        target: margins (n,) of the audited model on all records.
        shadows: margins (models, n); each record is inside in some models and outside in others.
        group: the columns (k,) of the requested records.
        audit: name of the finding.
        level: the p-value below which the null is rejected.
        draws: groups from each model.
        seed: of the groups.

    Raises:
        BadData, InsufficientEvidence: as ``lira``, with each shadow model held out.
        BadParameter: columns that are none or not distinct, or too few draws for the level.
        InsufficientEvidence: fewer than four models, or one that never saw fewer than 2 k records.
    """
    import torch

    x = shadows.margins_of(target)
    _refuse(shadows, group, draws, level)
    generator, k = torch.Generator().manual_seed(seed), len(group)
    worlds = held_out_worlds(shadows)
    own, ratios = worlds.log_ratio(x)[:, group].sum(1), worlds.log_ratio(shadows.margins)
    never, has = (
        [_sums(row[known], k, draws, generator) for row, known in zip(ratios, mask, strict=True)]
        for mask in (shadows.outside, shadows.inside)
    )
    return _found(own, torch.stack(never), has, k, audit, level)


def _found(
    own: Tensor, never: Tensor, has: list[Tensor], k: int, audit: str, level: float
) -> Finding:
    import torch

    low, high = never.quantile(never.new_tensor([0.025, 0.975])).tolist()
    middle, mine = float(never.mean()), float(own.mean())
    kept = torch.cat([_p(sums, never[_but(m, len(never))]) for m, sums in enumerate(has)])
    return Finding(
        audit=audit,
        null="no_trace",
        n=k,
        p=sum(float(_p(t[None], row)) for t, row in zip(own, never, strict=True)) / len(own),
        effect=(mine - middle) / k,
        interval=((mine - max(middle, high)) / k, (mine - min(middle, low)) / k),
        unit=UNIT,
        level=level,
        power=float((kept < level).double().mean()) if len(kept) else None,
    )


def _p(sums: Tensor, null: Tensor) -> Tensor:
    """Share (s,) of null groups (models, draws) that score at least as high as the sums (s,)."""
    import torch

    flat = null.flatten().sort().values
    return (1 + len(flat) - torch.searchsorted(flat, sums)).double() / (1 + len(flat))


def _but(model: int, models: int) -> list[int]:
    return [m for m in range(models) if m != model]


def _sums(ratios: Tensor, k: int, draws: int, generator: Generator) -> Tensor:
    """Sums (draws,) over random sets of k records; none where there are fewer than 2 k."""
    import torch

    if len(ratios) < 2 * k:
        return ratios[:0]
    keys = torch.rand(draws, len(ratios), generator=generator)
    return ratios[keys.topk(k).indices.to(ratios.device)].sum(1)


def _refuse(shadows: Shadows, group: Tensor, draws: int, level: float) -> None:
    columns, n = group.tolist(), shadows.margins.shape[1]
    if not columns or len({*columns}) < len(columns) or not {*columns} <= {*range(n)}:
        raise BadParameter(
            f"The group names {len(columns)} of {n} records.",
            "It needs one record or more, each once.",
            "Pass the columns of the requested records.",
        )
    if 1 / (draws + 1) >= level:
        raise BadParameter(
            f"{draws} groups are drawn for a level of {level:g}.",
            f"The least p-value is 1/{draws + 1}.",
            f"Draw {int(1 / level + 1e-9)} or more.",
        )
    least = int(shadows.outside.sum(1).min()) if len(shadows.margins) else 0
    if len(shadows.margins) < MODELS or least < 2 * len(columns):
        raise InsufficientEvidence(
            f"There are {len(shadows.margins)} shadow models; one has not seen {least} records.",
            f"A null of groups of {len(columns)} needs {MODELS} models and {2 * len(columns)} "
            "records that each has not seen.",
            "Train more shadow models, on half of more records.",
        )
