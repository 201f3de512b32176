"""U-LiRA for one request: do its records look as in models that the audited method has treated?

J. Hayes et al., 2024 (arXiv 2403.01218): the likelihood ratio of LiRA between two other worlds. Of
each candidate record i in shadow pair s, whose model was trained by the recipe and then treated by
the audited method,

    inside:   its margin in treated models that forgot it by the method,
    outside:  its margin in untreated ones that never saw it, which are retrained without it,

both normal (``worlds``), the pair that is judged held out as a whole: its partner would tell what
it saw. The statistic of a group is the sum of the log ratios of its records. Its null is that of as
many random records that a held-out untreated model never saw, from all pairs.

Power is measured on models that were not unlearned at all: random groups that an untreated model
*has*. Along the direction in which the method differs from retraining such models may look like
retrained ones; then the audit finds nothing in them, and its power says so. ``trace`` is the share
of groups that the method has forgotten and that are told from retrained ones all the same.

The p is about groups of records, drawn from a few models: it assumes that requested records were
drawn like the other candidates, and that margins do not move with the whole model. Centre each by
its neighbours first (``neighbours.centred``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.rows import checked_mask
from rescind.audits.shadows import Shadows
from rescind.audits.worlds import Worlds, worlds
from rescind.core.audit import FORGOT, HAS, NEVER
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Generator, Tensor

FEWEST = 4  # pairs
GROUPS = 500  # drawn from each model


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Margins (pairs, m) of shadow models before and after the method, and the ``fate`` (pairs, m)
    of each candidate in them: ``HAS``, ``FORGOT`` or ``NEVER`` of ``core.audit``.
    """

    untreated: Tensor
    treated: Tensor
    fate: Tensor

    def __post_init__(self) -> None:
        shapes = {tuple(t.shape) for t in (self.untreated, self.treated, self.fate)}
        known = bool(((self.fate >= HAS) & (self.fate <= NEVER)).all())
        if len(shapes) != 1 or self.fate.dim() != 2 or not known:
            raise BadData(
                f"Margins and fates have the shapes {sorted(shapes)}.",
                "Each pair needs two margins and one fate for each candidate.",
                "Pass (pairs, candidates) three times; a fate is 0, 1 or 2.",
            )

    def worlds(self, without: int | None = None) -> Worlds:
        """Both worlds of each candidate (m,), from all pairs but one."""
        import torch

        rows = [s for s in range(len(self.fate)) if s != without]
        fate, no = self.fate[rows], torch.zeros_like(self.fate[rows], dtype=torch.bool)
        return worlds(
            Shadows(
                torch.cat([self.untreated[rows], self.treated[rows]]),
                torch.cat([no, fate == FORGOT]),
                torch.cat([fate == NEVER, no]),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Treated:
    """What was seen of ``n`` requested records. ``effect`` is in nats a record above groups that
    were never seen, with the 95 % range of these about it.
    """

    n: int
    pairs: int
    p: float
    effect: float
    interval: tuple[float, float]
    power: float
    trace: float


def measure(
    pairs: Pairs,
    observed: Tensor,
    requested: Tensor,
    *,
    level: float = 0.05,
    groups: int = GROUPS,
    seed: int = 0,
) -> Treated:
    """Judge the model after by the pairs.

    Args:
        pairs: neighbour-centred margins of the requested records and of further candidates.
        observed: neighbour-centred margins (m,) in the model after, of the same records.
        requested: (m,) bool.
        level: below which p rejects; power and trace are those at it.
        groups: drawn from each model, of as many records as are requested.
        seed: of the groups.

    Raises:
        BadData: shapes that do not fit, no requested record, a margin that is not finite.
        BadParameter: too few groups for the level.
        InsufficientEvidence: fewer than four pairs, or a model that never saw fewer than twice as
            many candidates as are requested, or had fewer.
    """
    import torch

    asked = _refuse(pairs, observed, requested, level, groups)
    n, generator = int(asked.sum()), torch.Generator().manual_seed(seed)
    total = float(pairs.worlds().log_ratio(observed.double())[asked].sum())
    null: list[Tensor] = []
    had: list[Tensor] = []
    forgot: list[float] = []
    for s, fate in enumerate(pairs.fate):
        fitted = pairs.worlds(without=s)
        before, after = (fitted.log_ratio(x[s].double()) for x in (pairs.untreated, pairs.treated))
        null.append(_sums(before[fate == NEVER], n, groups, generator))
        had.append(_sums(before[fate != NEVER], n, groups, generator))
        forgot.append(float(after[fate == FORGOT].mean()) * n)
    return _found(n, total, torch.stack(null), torch.stack(had), forgot, level)


def _found(
    n: int, own: float, null: Tensor, had: Tensor, forgot: list[float], level: float
) -> Treated:
    import torch

    low, high = torch.quantile(null.flatten(), torch.tensor([0.025, 0.975]).double()).tolist()
    middle = float(null.mean())
    others = [torch.cat([null[t] for t in range(len(null)) if t != s]) for s in range(len(null))]
    held = [_p(sums, rest) < level for sums, rest in zip(had, others, strict=True)]
    seen = [
        bool(_p(torch.tensor([total]).double(), rest)[0] < level)
        for total, rest in zip(forgot, others, strict=True)
    ]
    return Treated(
        n=n,
        pairs=len(null),
        p=float(_p(torch.tensor([own]).double(), null.flatten())[0]),
        effect=(own - middle) / n,
        interval=((own - max(middle, high)) / n, (own - min(middle, low)) / n),
        power=float(torch.cat(held).double().mean()),
        trace=sum(seen) / len(seen),
    )


def _p(sums: Tensor, null: Tensor) -> Tensor:
    """Share (s,) of null groups, the judged one among them, that score at least as high."""
    import torch

    ordered = null.sort().values
    above = len(ordered) - torch.searchsorted(ordered, sums.to(ordered.dtype))
    return (1 + above).double() / (1 + len(ordered))


def _sums(ratios: Tensor, n: int, groups: int, generator: Generator) -> Tensor:
    """Sums (groups,) over random sets of n records."""
    import torch

    order = torch.rand(groups, len(ratios), generator=generator)
    return ratios.cpu()[order.topk(n, dim=1).indices].sum(1)


def _refuse(pairs: Pairs, observed: Tensor, requested: Tensor, level: float, groups: int) -> Tensor:
    count, m = pairs.fate.shape
    asked = checked_mask(requested, m, "requested")
    n = int(asked.sum())
    if not n or tuple(observed.shape) != (m,) or not bool(observed.isfinite().all()):
        raise BadData(
            f"{n} of {m} candidates are requested, with margins of shape {tuple(observed.shape)}.",
            "There must be a request, and a finite margin for each candidate.",
            "Score the same records with all models, in the same order.",
        )
    if 1 / (groups + 1) >= level:
        raise BadParameter(
            f"{groups} groups are drawn for a level of {level:g}.",
            f"The least p-value is 1/{groups + 1}.",
            f"Draw {int(1 / level + 1e-9)} or more.",
        )
    never = (pairs.fate == NEVER).sum(1)
    least = int(never.minimum(m - never).min()) if count else 0
    if count < FEWEST or least < 2 * n:
        raise InsufficientEvidence(
            f"There are {count} pairs of shadow models; one knows {least} records of a kind.",
            f"Groups of {n} need {FEWEST} pairs, and {2 * n} records that each never saw and"
            f" {2 * n} that it had.",
            "Train more pairs, on more candidates.",
        )
    return asked
