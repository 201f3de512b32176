"""The audit of membership: do the records still look more trained on than held-out records do?

The scores of the requested records in the model after are ranked among those of held-out records of
the same class, as population attacks do (``population``); no model is trained. The p-value is that
of the stratified rank-sum test by permutation, one-sided. A request drawn unlike the held-out
records, such as one of easy records, is flagged though nothing is left of it: the test is of a
difference between two sets.

What was never seen cannot be removed. So the same test is first put to the model before: where it
does not find the records there, that they are not found afterwards supports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from rescind.audits.finding import Finding
from rescind.audits.intervals import ENTRIES, TAILS, resampled_means
from rescind.audits.results import UNSEEN, result_of
from rescind.audits.roc import Roc, log_points, rate_at, roc
from rescind.core.audit import AuditResult, Case, Curve, Need, Sizes
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Generator, Tensor

NAME = "membership"
FEWEST = 5  # records on both sides: the rank test has no p below 5 % for fewer, or hardly one
POINTS, DRAWN_FROM = 20, 50  # points of a curve, and records from which it is drawn
LOW = (0.001, 0.01)  # false-positive rates at which true positives are told
POWER_SETS = 200  # of retained records, as many as are requested, to which the test is put
PUSHED = "the records look less trained on than held-out ones: they may have been pushed away"
NOT_CLAIMABLE = (
    "Membership: a record can be remembered without looking more familiar than records never seen;"
    " attacks with shadow models find more."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipAudit:
    """Requested against held-out records, in the model after.

    Its power is the share of sets of retained records, which the model has surely seen, that it
    flags; there is none where the model before does not show the requested ones. ``draws`` are
    those of the permutation test.
    """

    draws: int = 9_999

    needs: ClassVar[frozenset[Need]] = frozenset()

    def __post_init__(self) -> None:
        if self.draws < 99:
            raise BadParameter(f"draws is {self.draws}.", "With fewer than 99 no p is small.")

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if min(sizes.forget, sizes.test, sizes.retain) < FEWEST:
            return f"it needs {FEWEST} records each to forget, to retain and held out"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core, without reading the models: one draw for each record and permutation."""
        return 1.0 + 3e-8 * self.draws * (sizes.forget + sizes.test)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, its power at level / tests, and the AUC with its interval over records.

        The model before decides only whether there is a power, at level / tests as well: a residue
        in the model after is one whatever the model before shows.

        Raises:
            BadData: a class of the request has no held-out record.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        test = RankTest.of(case, self.draws, generator)
        asked = case.requested.nonzero().flatten()
        ranks = test.ranks(case.after[asked], case.labels[asked])
        seen = test.seen_before(case, level / tests)
        power = self._power(case, test, level / tests, generator)
        interval = _interval(ranks, generator)
        pushed = interval[1] < 0.5  # forgotten by pushing away is a trace that this test cannot see
        finding = Finding(
            audit=NAME,
            null="no_trace",
            n=len(asked),
            p=test.p(float(ranks.sum())),
            effect=float(ranks.mean()),
            interval=interval,
            unit="AUC against held-out records",
            level=level,
            power=power if seen and not pushed else None,
        )
        note = PUSHED if pushed else "" if seen else UNSEEN
        result = result_of(finding, NOT_CLAIMABLE, seed, note)
        return replace(result, curves=_curves(case))

    def _power(
        self, case: Case, test: RankTest, level: float, generator: Generator
    ) -> float | None:
        """None where a class has fewer retained than requested records."""
        import torch

        retained = ~case.requested
        drawn = []
        for kind, count in test.counts.items():
            pool = (retained & (case.labels == kind)).nonzero().flatten()
            if len(pool) < count:
                return None
            keys = torch.rand(POWER_SETS, len(pool), generator=generator)
            drawn.append(pool[keys.topk(count, dim=1).indices])
        rows = torch.cat(drawn, 1)
        ranks = test.ranks(case.after[rows.flatten()], case.labels[rows.flatten()])
        seen = [test.p(total) < level for total in ranks.reshape(rows.shape).sum(1).tolist()]
        return sum(seen) / len(seen)


@dataclass(frozen=True, slots=True, eq=False)
class RankTest:
    """The rank-sum test of so many records of each class against held-out records of that class.

    ``outside`` are sorted scores by class, ``counts`` requested records by class, and ``null``
    (draws,) sums of ranks under the null: they depend on the counts alone, ties aside.
    """

    outside: dict[int, Tensor]
    counts: dict[int, int]
    null: Tensor

    @classmethod
    def of(cls, case: Case, draws: int, generator: Generator) -> RankTest:
        """For the classes of the request."""
        import torch

        asked = case.labels[case.requested].tolist()
        counts = {kind: asked.count(kind) for kind in sorted(set(asked))}
        outside = {k: case.outside_after[case.outside_labels == k].sort().values for k in counts}
        lacking = [kind for kind, scores in outside.items() if not len(scores)]
        if lacking:
            raise BadData(
                f"No held-out record has the class {', '.join(map(str, lacking))}.",
                "Requested records are compared with held-out ones of their class.",
                "Hold out more records, or use another audit.",
            )
        nulls = [_null(n, len(outside[k]), draws, generator) for k, n in counts.items()]
        return cls(outside, counts, torch.stack(nulls).sum(0))

    def ranks(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Share (n,) of held-out records of the class that lie below, ties counted half."""
        import torch

        found = torch.empty(len(scores), dtype=torch.float64)
        for kind, below in self.outside.items():
            here = labels == kind
            low = torch.searchsorted(below, scores[here].contiguous(), right=False)
            high = torch.searchsorted(below, scores[here].contiguous(), right=True)
            found[here] = (low + high).double() / (2 * len(below))
        return found

    def seen_before(self, case: Case, level: float) -> bool:
        """Whether the same test finds the requested records in the model before; its null is that
        of as many records, whatever the model.
        """
        places = case.outside_labels
        outside = {k: case.outside_before[places == k].sort().values for k in self.counts}
        asked = case.requested
        ranks = replace(self, outside=outside).ranks(case.before[asked], case.labels[asked])
        return self.p(float(ranks.sum())) < level

    def p(self, total: float) -> float:
        """Of a sum of ranks as high, what was seen counted as one."""
        return (1 + int((self.null >= total - 1e-9).sum())) / (1 + len(self.null))


def _null(n: int, m: int, draws: int, generator: Generator) -> Tensor:
    """Sums (draws,) of the shares of m others below each of n, all in random order."""
    import torch

    sums, step = [], max(1, ENTRIES // (n + m))
    for start in range(0, draws, step):
        keys = torch.rand(min(step, draws - start), n + m, generator=generator)
        order = keys.argsort(dim=1).argsort(dim=1)[:, :n].sort(dim=1).values
        # of the i-th lowest of the n, its place less the i of the n below it
        sums.append((order - torch.arange(n)).double().sum(1) / m)
    return torch.cat(sums)


def _curves(case: Case) -> tuple[Curve, ...]:
    """Requested against all held-out records, in both models; of few records none, since a step
    would be one of them.
    """
    if int(case.requested.sum()) < DRAWN_FROM:
        return ()
    pairs: tuple[tuple[Literal["before", "after"], Tensor, Tensor], ...] = (
        ("before", case.before, case.outside_before),
        ("after", case.after, case.outside_after),
    )
    drawn = [(model, roc(scores[case.requested], outside)) for model, scores, outside in pairs]
    return tuple(Curve(m, tuple(log_points(one, POINTS)), _rates(one)) for m, one in drawn)


def _rates(curve: Roc) -> tuple[tuple[float, float, float, float], ...]:
    """At 0.1 % and 1 % false positives, where there are held-out records enough to know them."""
    found = (rate_at(curve, at_most) for at_most in LOW)
    return tuple((r.at_most, r.true, *r.interval) for r in found if r is not None)


def _interval(ranks: Tensor, generator: Generator) -> tuple[float, float]:
    import torch

    ends = torch.quantile(resampled_means(ranks, generator), torch.tensor(TAILS).double())
    return float(ends[0]), float(ends[1])
