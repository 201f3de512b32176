"""Does rounding the weights bring back what an edit only hid?

Z. Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", ICLR 2025 (arXiv
2410.16454): an edit smaller than half a step of rounding is undone where the weights before lay on
the grid, or near it. Weights are rounded to nearest by tensor, and the losses of the requested
records are looked at before and after.

Two controls are needed. Retrained models, rounded alike: rounding changes every model's losses.
And weights moved by random noise of the same size, to which rounding is compared in each model: a
model that was driven to high losses loses some of them by any noise, with nothing brought back.
What counts is by how much the loss after rounding lies below that after such noise, beyond what it
does in retrained models.

There is no power where the weights before were not near the grid: whether a small edit moves a
weight over the edge of its step is then a matter of chance, and on average as much of the edit
stays as there was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.equivalence import compare, mean_interval, require_references
from rescind.metrics.loss import correct, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn

    Logits = Callable[[nn.Module], Tensor]

AUDIT = "quantisation"
UNIT = "nats of loss per record, beyond noise and retrained models"
NOISES = 39  # random draws beside the one rounding: with 20 or more p can be below 0.05
MOST_BITS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Recovery:
    """One model on the n requested records: as it is, rounded, and under noise of the same size.

    ``losses`` and ``rounded`` (n,) and ``noisy`` (draws, n) are cross entropies in nats;
    ``accuracy`` and ``rounded_accuracy`` are shares, None where they were not read.
    """

    bits: int
    losses: Tensor
    rounded: Tensor
    noisy: Tensor
    accuracy: float | None = None
    rounded_accuracy: float | None = None

    @property
    def recovered(self) -> Tensor:
        """By how much each loss (n,) after rounding lies below its mean after noise."""
        return self.noisy.mean(0) - self.rounded

    @property
    def p_noise(self) -> float:
        """The p-value of the null that rounding is one more draw of noise."""
        as_low = int((self.noisy.mean(1) <= self.rounded.mean()).sum())
        return (1 + as_low) / (1 + len(self.noisy))


def rounded(module: nn.Module, bits: int) -> nn.Module:
    """A copy whose weights are rounded to nearest on 2 ** bits - 1 values, by tensor.

        w -> step round(w / step), step = max |w| / (2 ** (bits - 1) - 1).

    Tensors of one dimension and buffers stay as they are, as is usual: they are few, and sensitive.

    Raises:
        BadParameter: bits outside 2..16.
    """
    found = copy.deepcopy(module)
    for weight, step in _steps(found, bits):
        weight.copy_((weight / step).round() * step)
    return found


def noised(module: nn.Module, bits: int, seed: int) -> nn.Module:
    """A copy whose weights are moved by uniform noise of at most half a step each.

    Raises:
        BadParameter: as ``rounded``.
    """
    import torch

    found, generator = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    for weight, step in _steps(found, bits):
        noise = torch.rand(weight.shape, generator=generator) - 0.5
        weight.add_(noise.to(weight) * step)
    return found


def recovery(
    module: nn.Module, logits: Logits, labels: Tensor, bits: int = 4, noises: int = NOISES
) -> Recovery:
    """Losses of the requested records before and after rounding.

    Args:
        module: in evaluation mode; it is not changed.
        logits: of a module, (n, classes), on the requested records.
        labels: (n,) of the same records.
        bits: of a rounded weight, 4 or 8.
        noises: draws of noise; the seeds are 0, 1, 2 and so on, the same for all models.

    Raises:
        BadData: logits or labels that ``cross_entropy`` refuses.
        BadParameter: bits as ``rounded``; no noise.
    """
    import torch

    if noises < 1:
        raise BadParameter(f"{noises} draws of noise are asked for.", do=f"Use {NOISES}.")
    with torch.no_grad():
        own, after = logits(module), logits(rounded(module, bits))
        beside = [cross_entropy(logits(noised(module, bits, s)), labels) for s in range(noises)]
    return Recovery(
        bits=bits,
        losses=cross_entropy(own, labels),
        rounded=cross_entropy(after, labels),
        noisy=torch.stack(beside),
        accuracy=float(correct(own, labels).mean()),
        rounded_accuracy=float(correct(after, labels).mean()),
    )


def quantisation_finding(
    unlearned: Recovery,
    retrained: Sequence[Recovery],
    level: float = 0.05,
    power: float | None = None,
) -> Finding:
    """Test that rounding brings back no more than it does in retrained models.

    Three tests must all reject, and p is the largest: that rounding is one more draw of noise; that
    the mean over records is one more draw from those of the retrained models, by Student's t; and
    that it is 0 over records, by Student's t. Without the first, losses of another size than the
    retrained models' decide; without the second, a retrained model's own rounding is taken for a
    trace; without the third, a single record decides. The effect is the mean over records; its 95 %
    interval is the wider, on both sides, of Student's over the records and that of one more
    retrained model.

    Args:
        unlearned: of the audited model.
        retrained: the same of three retrained models or more.
        level: the p-value below which the null is rejected.
        power: from ``quantisation_power``; None leaves it unsaid.

    Raises:
        BadData: other records or bits.
        InsufficientEvidence: fewer than three retrained models, or so few draws of noise that no p
            is below the level.
        MissingExtra: scipy is not installed.
    """
    import torch

    require_references(len(retrained), display=True)
    _refuse_others(unlearned, retrained)
    _refuse_few(len(unlearned.noisy), level)
    control = torch.stack([r.recovered for r in retrained])
    excess = (unlearned.recovered - control.mean(0)).tolist()
    between = compare([float(unlearned.recovered.mean())], control.mean(1).tolist(), margin=1.0)
    one_sided = between.p_different / 2 if between.gap > 0 else 1 - between.p_different / 2
    ends = [between.interval, mean_interval(excess) or between.interval]
    return Finding(
        audit=f"{AUDIT}, {unlearned.bits} bits",
        null="no_trace",
        n=len(excess),
        p=max(unlearned.p_noise, one_sided, _p_above_zero(excess)),
        effect=fmean(excess),
        interval=(min(low for low, _ in ends), max(high for _, high in ends)),
        unit=UNIT,
        level=level,
        power=power,
    )


def quantisation_power(
    hiding: Sequence[Recovery], retrained: Sequence[Recovery], level: float = 0.05
) -> float:
    """Share of models known to hide the records that ``quantisation_finding`` rejects.

    Raises:
        BadParameter: no models; as ``quantisation_finding``.
    """
    if not hiding:
        raise BadParameter(
            "No model is known to hide the records.",
            "Power is a share of models.",
            "Edit models that hold the records by less than half a step, and measure them.",
        )
    return fmean(quantisation_finding(r, retrained, level).p < level for r in hiding)


def _steps(module: nn.Module, bits: int) -> Iterator[tuple[Tensor, float]]:
    """Each tensor that is rounded, with its step; the ones that are 0 throughout need none."""
    if not 2 <= bits <= MOST_BITS:
        raise BadParameter(f"bits is {bits}.", "It lies between 2 and 16.", "Use 4 or 8.")
    for parameter in module.parameters():
        weight = parameter.detach()
        step = float(weight.abs().max()) / (2 ** (bits - 1) - 1) if weight.dim() > 1 else 0.0
        if step > 0.0:
            yield weight, step


def _p_above_zero(values: Sequence[float]) -> float:
    """One-sided p of Student's test that the mean is not above 0; of one record it says nothing."""
    from scipy.stats import ttest_1samp

    if len(values) == 1:
        return 0.0
    if min(values) == max(values):
        return 0.0 if values[0] > 0 else 1.0
    return float(ttest_1samp(values, 0.0, alternative="greater").pvalue)


def _refuse_others(unlearned: Recovery, retrained: Sequence[Recovery]) -> None:
    kinds = {(len(r.losses), r.bits) for r in (unlearned, *retrained)}
    if len(kinds) > 1:
        raise BadData(
            f"The models were measured on (records, bits) {sorted(kinds)}.",
            "Rounding differs by record and by bits.",
            "Measure all models on the same records with the same bits.",
        )


def _refuse_few(noises: int, level: float) -> None:
    if 1 / (noises + 1) >= level:
        raise InsufficientEvidence(
            f"{noises} draws of noise give no p below 1/{noises + 1}.",
            f"No result could be significant at {level:g}.",
            f"Draw {int(1 / level + 1e-9)} or more.",
        )
