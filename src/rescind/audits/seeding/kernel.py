"""The kernel test: do features of records, without any read-out, foretell the records' codes?

    T = sum over bits of c^T K (K + ridge tr(K) / n I)^-1 c,

with a bit's codes c in -1 and 1 (n) and the Gram matrix K of the features, centred and each row of
length 1. It is how much of the codes kernel ridge regression on the features explains. K does not
change when hidden units are permuted or rotated, which fools every read-out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.audits.seeding.bits import LEVEL
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.equivalence import mean_interval

if TYPE_CHECKING:
    from torch import Tensor

AUDIT = "seeding_kernel"
RIDGE = 0.3
DRAWS = 9999
FEWEST = 20  # records; the probes found about none of the sets of 10, .2 to .8 of 20, all of 50
AT_ONCE = 500  # random codes held in memory together
TIE = 1e-9  # relative; rounding must not decide between equal statistics


def kernel_test(
    features: Tensor,
    codes: Tensor,
    *,
    seed: int,
    draws: int = DRAWS,
    ridge: float = RIDGE,
    level: float = LEVEL,
    power: float | None = None,
) -> Finding:
    """The one-sided test of features (n, width) against codes (n, bits).

    p is the share of codes of fresh keys, which are fair bits, that reach T, with the right code
    counted among them: exact for every n, whatever the features are. The effect is z, T in standard
    deviations from its mean under the null, with the interval that the bits among themselves give.

    Raises:
        BadData: not one code a record, codes other than 0 and 1, fewer than three records or two
            bits, or features that are not finite or all the same.
        BadParameter: too few draws for ``level``, which two tests share, or a ridge not above 0.
    """
    _refuse_settings(draws, ridge, level)
    smooth = smoother(features, ridge)
    each = statistics(smooth, _signs(codes, len(smooth)))
    observed = float(each.sum())
    bar = observed - TIE * abs(observed)
    chance = _of_fresh_keys(smooth, codes.shape[1], draws, seed)
    reached = sum(int((some >= bar).sum()) for some in chance)
    effect, interval = _standardised(smooth, each)
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=len(smooth),
        p=(1 + reached) / (1 + draws),
        effect=effect,
        interval=interval,
        unit="standard deviations from chance",
        level=level,
        power=power,
    )


def apart(features: Tensor, blocks: Sequence[int]) -> Tensor:
    """A block of columns for each number in ``blocks`` (n,), less the mean of the block's records:
    features (n, width) of two models, or of two users' read-outs, are not alike or unlike.
    """
    import torch

    order, where = sorted(set(blocks)), torch.tensor(blocks)
    found = features.new_zeros(len(features), len(order) * features.shape[1])
    for place, block in enumerate(order):
        rows = (where == block).nonzero().flatten()
        columns = slice(place * features.shape[1], (place + 1) * features.shape[1])
        found[rows, columns] = features[rows] - features[rows].mean(0)
    return found


def smoother(features: Tensor, ridge: float = RIDGE) -> Tensor:
    """K (K + ridge tr(K) / n I)^-1, symmetric (n, n) in float64, of features (n, width).

    Raises:
        BadData: fewer than three records, or features that are not finite or all the same.
    """
    import torch

    if features.dim() != 2 or len(features) < 3 or not features.isfinite().all():
        raise BadData(
            f"Features of shape {tuple(features.shape)}, or not finite, for the kernel test.",
            f"It compares three records or more, and sees little with fewer than {FEWEST}.",
            "Pass (n, width) of a model that did not diverge, or test bits alone.",
        )
    exact = features.double()
    rows = exact - exact.mean(0)
    length = rows.norm(dim=1, keepdim=True)
    # a constant leaves rounding errors, and divided by their length these would be features
    still = length <= 1e-6 * exact.norm(dim=1, keepdim=True).max()
    rows = torch.where(still, 0.0, rows / length.clamp(min=torch.finfo(torch.float64).tiny))
    gram = rows @ rows.T
    trace = float(gram.trace())
    if trace == 0.0:
        raise BadData(
            "All records have the same features.",
            "Features that do not differ foretell nothing, and nothing could be seen in them.",
            "Look for a model that answers one thing; it fails on utility.",
        )
    ridged = gram + ridge * trace / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    smooth: Tensor = torch.linalg.solve(ridged, gram)
    return (smooth + smooth.T) / 2


def statistics(smooth: Tensor, signs: Tensor) -> Tensor:
    """c^T S c for each column c of ``signs`` (..., n, bits), giving (..., bits)."""
    found: Tensor = (signs * (smooth @ signs)).sum(-2)
    return found


def _of_fresh_keys(smooth: Tensor, bits: int, draws: int, seed: int) -> Iterator[Tensor]:
    """T of codes under fresh keys, some at a time."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for start in range(0, draws, AT_ONCE):
        shape = (min(AT_ONCE, draws - start), len(smooth), bits)
        drawn = torch.randint(2, shape, generator=generator).double() * 2 - 1
        yield statistics(smooth, drawn).sum(-1)


def _standardised(smooth: Tensor, each: Tensor) -> tuple[float, tuple[float, float]]:
    """Effect z and its interval: by chance a bit's statistic has the mean tr S and the variance
    2 (sum of squares of S off its diagonal), and bits are independent.
    """
    spread = float(2 * (smooth.square().sum() - smooth.diagonal().square().sum())) ** 0.5
    scores = ((each - smooth.trace()) / spread).tolist()
    root = len(scores) ** 0.5
    low, high = mean_interval(scores) or (0.0, 0.0)
    return root * sum(scores) / len(scores), (root * low, root * high)


def _signs(codes: Tensor, n: int) -> Tensor:
    if codes.dim() != 2 or len(codes) != n or codes.shape[1] < 2:
        raise BadData(
            f"Codes of shape {tuple(codes.shape)} for {n} records.",
            "Each record has one code, of two bits or more.",
            "Pass (n, bits) for the same records in the same order.",
        )
    if not ((codes == 0) | (codes == 1)).all():
        raise BadData(
            "Codes hold values other than 0 and 1.",
            "The test compares with fair bits.",
            "Take the codes that codes_of(key, rows) gives.",
        )
    return codes.double() * 2 - 1


def _refuse_settings(draws: int, ridge: float, level: float) -> None:
    if not 0.0 < level < 1.0 or draws + 1 <= 2 / level:
        raise BadParameter(
            f"{draws} draws for a test at {level}.",
            "The smallest p is 1 / (draws + 1); corrected for two tests it must go below the"
            " level, which lies between 0 and 1.",
            f"Use {DRAWS} draws.",
        )
    if not 0.0 < ridge < float("inf"):
        raise BadParameter(f"ridge is {ridge}.", "It must be above 0.", f"Use {RIDGE}.")
