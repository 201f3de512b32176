"""What a server that only moved the margins cannot hide: its utility, and what comes back.

A first-order step away from the requested records moves what tests of influence and of margins
look at, at the price of accuracy and of depth: in the probes of this project, with 100 records, the
accuracy fell from .851 to .789. *Rebound*: the auditor trains the model after for one epoch on
public records of their own and asks the same question again. In the probes, with 100 records,
retrained models were still found in all sets, with an extent of .44 and .51, and the first-order
step in .11 of them, with -.06. A server that fitted margins while it held the outputs elsewhere was
found in .89, at an accuracy of .850: neither check is sound against all servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from rescind.audits.intervals import TAILS, resampled_means
from rescind.audits.margin_difference import MarginDifference, Question, changes, measure
from rescind.audits.permutation import DRAWS
from rescind.core.errors import BadParameter
from rescind.metrics.statistics import paired_difference

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 0.02  # of accuracy, that retrained models lose or win by their seed

Came = Literal["nothing_to_lose", "held", "came_back", "partly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebound:
    """The question before and after the auditor's own training of the model after.

    ``interval`` (95 %, over records) is that of ``left``; None where margins did not fall at first.
    """

    first: MarginDifference
    second: MarginDifference
    interval: tuple[float, float] | None

    @property
    def left(self) -> float | None:
        """The drop that is left as a share of the first; None where there was none."""
        return self.second.drop / self.first.drop if self.first.drop > 0 else None

    @property
    def told(self) -> Came:
        """What became of the change.

        * nothing_to_lose: there was no significant fall of margins at first.
        * held: it is still significant.
        * came_back: it is not, and the interval of what is left lies below a half: what was changed
          was shallow.
        * partly: it is not significant any more, and could be half of what it was. With few records
          this happens to retrained models too.
        """
        if self.first.p >= self.first.level or self.first.drop <= 0 or self.interval is None:
            return "nothing_to_lose"
        if self.second.p < self.second.level and self.second.drop > 0:
            return "held"
        return "came_back" if self.interval[1] < 0.5 else "partly"


def rebound(
    question: Question,
    after: Tensor,
    trained_on: Callable[[], Tensor],
    *,
    level: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Rebound:
    """Ask twice: of the model after, and of it after one more epoch on public records.

    Args:
        question: as ``margin_difference.prepare`` gives it.
        after: margins (n,) of the training records in the model after.
        trained_on: trains a copy of the model after, for one epoch, on records of the auditor that
            no model was trained on and none of which is requested; returns its margins (n,). It is
            called once.
        level: of both tests.
        draws: of both tests.
        seed: of draws and resamples.

    Raises:
        BadData: margins of other records.
        InsufficientEvidence: as ``margin_difference.measure``.
    """
    first = measure(question, after, level=level, draws=draws, seed=seed)
    later = trained_on()
    second = measure(question, later, level=level, draws=draws, seed=seed)
    if first.drop <= 0:
        return Rebound(first=first, second=second, interval=None)
    drops = [_drops(changes(question, margins)) for margins in (after, later)]
    return Rebound(first=first, second=second, interval=_ratio(drops[1], drops[0], seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility:
    """Accuracy after minus before on the same held-out records, with its paired 95 % interval."""

    n: int
    change: float
    interval: tuple[float, float]
    margin: float

    @property
    def told(self) -> Literal["kept", "fell", "cannot_tell"]:
        """kept: the fall is surely below the margin; fell: surely above; else too few records."""
        if self.interval[0] > -self.margin:
            return "kept"
        return "fell" if self.interval[1] < -self.margin else "cannot_tell"


def utility(before: Sequence[bool], after: Sequence[bool], margin: float = MARGIN) -> Utility:
    """How much accuracy the model after has lost, by Newcombe's interval for paired proportions.

    Args:
        before: whether the model before is right on each held-out record.
        after: the same of the model after.
        margin: the fall that retraining with another seed could bring, fixed beforehand.

    Raises:
        BadParameter: no records, not the same number, or a margin outside (0, 1).
    """
    if not 0.0 < margin < 1.0:
        raise BadParameter(
            f"The margin is {margin}.",
            "It is a share of records, such as retrained models differ by.",
            "Use 0.02, or twice the spread of your own retrained models.",
        )
    change, low, high = paired_difference(before, after)
    return Utility(n=len(after), change=change, interval=(low, high), margin=margin)


def _drops(found: Tensor) -> Tensor:
    """How far each record fell below its controls, (n,)."""
    drops: Tensor = found[:, 1:].mean(1) - found[:, 0]
    return drops


def _ratio(later: Tensor, first: Tensor, seed: int) -> tuple[float, float]:
    """Interval of sum(later) / sum(first) over records drawn with replacement.

    Where the first sum comes to 0 or below, the ratio has no bound: such resamples count beyond
    both ends, and more of them than an end leaves out make the interval unbounded.
    """
    import torch

    if len(first) == 1:
        return -inf, inf
    generator = torch.Generator().manual_seed(seed)
    above, base = resampled_means(torch.stack([later, first]), generator)
    low, high = (
        torch.where(base > 0, above / base, end).quantile(tail, interpolation=to)
        for end, tail, to in ((-inf, TAILS[0], "lower"), (inf, TAILS[1], "higher"))
    )
    return float(low), float(high)
