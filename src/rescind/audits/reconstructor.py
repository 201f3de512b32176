"""Whether the records that were requested can be reconstructed from what unlearning changed.

TAPE (arXiv 2502.19770): an auditor with records of their own imitates the removal of each by a
first-order step (``posterior_difference``), trains a reconstructor from posterior differences to
records on these pairs, and shows it the difference that the server made. If what comes out is the
requested record, the change held information about it.

The reconstructor here sees the posterior difference *and nothing else*. The released code adds 30 %
of the true pixels and a skip of them to its output, and so resembles the record whatever it is fed;
it divides one difference among the records of a batch by random factors, from which no single one
can be told; it trains and tests on the same records. Here records that fitted the reconstructor are
refused as requested records and as controls, and records that share a difference share what is
reconstructed from it. Resemblance is

    s_ij = cos(x^_i - c_i, x_ij - c_i),    c_i = mean_j x_ij,

of the reconstruction for record i with that record (j = 0) and with controls like it (``matched``).
Were nothing done about the record, any of its group could be the one that was requested: the
permutation test has its level exactly. The effect is s_i0 minus the mean over controls.

Always measured beside it, with the same test: the reconstruction of *zeros*, of the removal of
*other* records, of *retraining without deletion* and, where there are several requests, of the
imitated removal of *another request* (shuffled), none of which may resemble the requested records;
and of their own *imitated* removal, without which nothing can be seen. The shuffled control is the
sharpest: a reconstructor that gives the requested records for any step of that kind fires it.

**What it cannot show.** That records were removed: the imitated difference is a server that makes
the first-order step and nothing else, and no other resembles its records so well; it is told by
``utility_check`` and not here. Nor, where nothing is seen, that nothing was removed: the difference
of two trainings holds far more than one record. Nor which of the records that share a difference.
In ``benchmarks/results/reconstructor.json`` it saw first-order steps away from single records with
two originals and was blind with one; it saw no retraining, and nothing at all where ten records
shared a difference. Its shadows and its network cost as much as three to five retrainings there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rescind.audits.finding import Finding
from rescind.audits.intervals import TAILS, resampled_means
from rescind.audits.matched import Groups
from rescind.audits.permutation import DRAWS, Permuted, permuted
from rescind.audits.reconstructor_network import Reconstructor
from rescind.audits.rows import checked_rows
from rescind.core.errors import BadData
from rescind.metrics.equivalence import holm

if TYPE_CHECKING:
    from torch import Tensor

AUDIT = "reconstructor"
UNIT = "cosine above matched records"


Told = Literal["void", "blind", "nothing_seen", "resembles"]


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """What was found, beside its controls; ``found`` (g, *shape) is what was reconstructed.

    ``controls`` are those that must see nothing: zeros, others, kept, and shuffled where there is
    another request. ``imitated`` must see the records.
    """

    difference: Finding
    controls: Mapping[str, Finding]
    imitated: Finding
    found: Tensor

    @property
    def fired(self) -> tuple[str, ...]:
        """The controls that resemble the requested records, after Holm's correction."""
        corrected = holm([one.p for one in self.controls.values()])
        level = self.difference.level
        return tuple(name for name, p in zip(self.controls, corrected, strict=True) if p < level)

    @property
    def told(self) -> Told:
        """One of four.

        * void: a control resembles the requested records too, so that resemblance says nothing.
        * blind: not even their imitated removal does.
        * nothing_seen: the difference does not; see above for what that leaves open.
        * resembles: the change holds information about these records. It is not shown that they
          were removed.
        """
        if self.fired:
            return "void"
        if self.imitated.p >= self.imitated.level:
            return "blind"
        return "resembles" if self.difference.p < self.difference.level else "nothing_seen"

    def finding(self, power: float | None = None) -> Finding:
        """The finding, which never supports a removal: ``as_removal`` is not known.

        Args:
            power: measured on retrained models with a known answer. That of the imitated difference
                is no such power. It is dropped where the audit is void or blind.
        """
        sees = self.told in ("nothing_seen", "resembles")
        return replace(self.difference, power=power if sees else None)


def measure(
    reconstructor: Reconstructor,
    images: Tensor,
    groups: Groups,
    differences: Tensor,
    *,
    others: Tensor,
    kept: Tensor,
    imitated: Tensor,
    of: Tensor | None = None,
    level: float = 0.05,
    draws: int = DRAWS,
    seed: int = 0,
) -> Reconstruction:
    """Reconstruct from the server's differences, and from all that must or must not resemble.

    Args:
        reconstructor: fitted on records that are in no group.
        images: (n, *shape), the same as in ``fit``.
        groups: of rows of ``images``, requested records first (``matched.match``).
        differences: (g, p), model after minus model before; one for each request.
        others: (m, p), of removals of records that are in no group.
        kept: (m, p), of models retrained on everything: the auditor trains at least one.
        imitated: (g, p), the first-order removal of what each request asked for.
        of: (records,), which difference belongs to which requested record; the first to the first
            and so on, if not given. Controls go round in the same order.
        level: of each test, one-sided.
        draws: of each permutation test.
        seed: of draws and resamples.

    Raises:
        BadData: shapes that do not fit, or a group with a record that fitted the reconstructor.
        InsufficientEvidence: no p could be below ``level``.
    """
    import torch

    rows = groups.rows
    belongs = torch.arange(len(rows)) if of is None else of
    _refuse(reconstructor, images, rows, differences, imitated, belongs)

    def test(given: Tensor) -> Finding:
        found = reconstructor(given)
        values = resemblance(found, images, rows, belongs % len(found))
        return _finding(values, level, draws, seed)

    return Reconstruction(
        difference=test(differences),
        controls={
            "zeros": test(torch.zeros(1, reconstructor.queried)),
            "others": test(others),
            "kept": test(kept),
            **({"shuffled": test(imitated.roll(1, 0))} if len(imitated) > 1 else {}),
        },
        imitated=test(imitated),
        found=reconstructor(differences),
    )


def resemblance(found: Tensor, images: Tensor, rows: Tensor, of: Tensor) -> Tensor:
    """The s_ij (n, 1 + controls): reconstructions (g, *shape) beside the records of each group.

    The mean of the group is taken from both, since all clothes of a kind look alike. It is that of
    the requested record and its controls together, so that the test treats them alike.
    """
    from torch.nn.functional import cosine_similarity

    there = images[rows].double().flatten(2)
    centre = there.mean(1, keepdim=True)
    made = found[of].double().flatten(1)[:, None]
    alike: Tensor = cosine_similarity(made - centre, there - centre, dim=2)
    return alike


def _finding(values: Tensor, level: float, draws: int, seed: int) -> Finding:
    test = permuted(values, draws, seed, level)
    return Finding(
        audit=AUDIT,
        null="nothing_removed",
        n=len(values),
        p=test.above,
        effect=test.gap,
        interval=_interval(test, seed),
        unit=UNIT,
        level=level,
    )


def _interval(test: Permuted, seed: int) -> tuple[float, float]:
    """The wider of two, on both sides: a bootstrap over records, and the spread of the controls."""
    import torch

    resampled = resampled_means(test.gaps, torch.Generator().manual_seed(seed))
    tails = torch.tensor(TAILS, dtype=torch.float64)
    both = (resampled, test.gap - test.null)
    ends = [torch.quantile(means, tails).tolist() for means in both]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _refuse(
    reconstructor: Reconstructor,
    images: Tensor,
    rows: Tensor,
    differences: Tensor,
    imitated: Tensor,
    of: Tensor,
) -> None:
    import torch

    checked_rows(rows.flatten(), len(images), "rows of the groups")
    if bool(torch.isin(rows, reconstructor.rows).any()):
        raise BadData(
            "A requested record or a control has fitted the reconstructor.",
            "It would be remembered and not reconstructed.",
            "Fit on other records, and leave these out of the candidates for controls.",
        )
    if tuple(of.shape) != (len(rows),) or sorted(set(of.tolist())) != [*range(len(differences))]:
        raise BadData(
            f"{len(differences)} differences belong to {len(rows)} requested records by an index of"
            f" shape {tuple(of.shape)}.",
            "Each record has one difference, and each difference a record.",
            "Pass for each requested record the row of its difference.",
        )
    if imitated.shape != differences.shape:
        raise BadData(
            f"There are imitated differences {tuple(imitated.shape)} and real ones"
            f" {tuple(differences.shape)}.",
            "Each request is imitated once, with the same queries.",
            "Give first_order one batch for each request.",
        )
