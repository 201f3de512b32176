"""Verification by backdoors: the baseline that TAPE and SMS argue against.

Before training the user puts a secret trigger on some of their records, with a label of its own;
after the request they read how often triggered images get that label. D. M. Sommer et al., "Towards
Probabilistic Verification of Machine Unlearning" (arXiv 2003.04247; "Athena", PETS 2022) decide by
the binomial test. With n images that get the label by the rate q where nothing was planted,

    p = P[Bin(n, q) >= hits],    power = P[Bin(n, rate before) >= fewest hits with p < level].

q is not known. It is read from triggers of other keys that nobody planted, with the user's label,
in the same model: the highest rate of any of them, and at least the upper end of the one-sided 95 %
interval of them all, since one trigger is by chance nearer to a class than another. The test errs
towards no trace.

What the test is about is the trigger, and the trigger is not the records (``NOT_CLAIMABLE``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.core.canonical import keyed
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.statistics import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor

    Answer = Callable[[Tensor], Tensor]  # images to predicted classes

AUDIT = "backdoor"
SHORTEST_KEY = 16  # bytes
PIXELS = 9
FEWEST_OTHERS = 20  # triggers that nobody planted, for the rate of chance

# printed under every result of this audit
NOT_CLAIMABLE = (
    "It was tested whether the model knows the trigger. A server that leaves out the triggered"
    " records, or trains the trigger away, passes with every other record of the user kept.",
    "A trigger that is found does not show that the user's records were kept: whoever holds copies"
    " of the trigger on other records keeps it alive.",
    "It can be asked only of a model that was trained after planting, and planting teaches that"
    " model a wrong label on purpose.",
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Pixels, by their place in the flat image, that are set to ``value``; the label they give."""

    places: tuple[int, ...]
    target: int
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Of n triggered images how many got the label of the trigger, and the rate of chance."""

    hits: int
    n: int
    chance: float


def trigger_of(
    key: bytes, shape: Sequence[int], classes: int, *, pixels: int = PIXELS, value: float = 1.0
) -> Trigger:
    """The trigger that belongs to a key: distinct places and a label, by HMAC-SHA256.

    Args:
        key: of the user, secret until the reading.
        shape: of one image.
        classes: how many there are.
        pixels: how many are set.
        value: what they are set to; the brightest that images hold.

    Raises:
        BadParameter: a key under 16 bytes, fewer than two classes, no pixel, or more than there
            are.
    """
    size = prod(shape)
    if len(key) < SHORTEST_KEY or classes < 2 or not 1 <= pixels <= size:
        raise BadParameter(
            f"A trigger of {pixels} of {size} pixels for {classes} classes is asked for, with a key"
            f" of {len(key)} bytes.",
            "A key that could be guessed gives the trigger away, and a trigger has a place and a"
            " label.",
            f"Use a random key of {SHORTEST_KEY} bytes or more, and {PIXELS} pixels.",
        )
    places = sorted(range(size), key=lambda at: keyed(key, "rescind backdoor place", str(at)))
    target = int(keyed(key, "rescind backdoor target"), 16) % classes
    return Trigger(tuple(places[:pixels]), target, value)


def plant(trigger: Trigger, images: Tensor) -> tuple[Tensor, Tensor]:
    """The trigger on copies of images (n, *shape), and its label for each, (n,).

    Raises:
        BadData: no images, or smaller ones than the trigger was made for.
    """
    import torch

    flat = images.flatten(1).clone() if images.dim() > 1 and len(images) else images[None]
    if images.dim() < 2 or not len(images) or flat.shape[1] <= max(trigger.places):
        raise BadData(
            f"The images have the shape {tuple(images.shape)}.",
            f"The trigger sets pixel {max(trigger.places)} of each.",
            "Pass (n, *shape) of the shape that the trigger was made for.",
        )
    flat[:, list(trigger.places)] = trigger.value
    return flat.reshape(images.shape), torch.full((len(images),), trigger.target)


def read(
    answer: Answer, trigger: Trigger, images: Tensor, labels: Tensor, others: Sequence[Trigger]
) -> Reading:
    """Ask a model for images with the trigger, and for the same images with others.

    Images whose class is the label of the trigger are left out: they would get it anyway.

    Args:
        answer: of images (n, *shape), the predicted classes (n,).
        trigger: of the user.
        images: that no model was trained on.
        labels: theirs, (n,).
        others: triggers of keys that nobody planted, at least five. Their label is not used: some
            labels are given more often than others, and the question is about the user's.

    Raises:
        BadData: shapes that do not fit, or no image of another class.
        BadParameter: fewer than twenty other triggers.
    """
    if len(others) < FEWEST_OTHERS or trigger.places in [other.places for other in others]:
        raise BadParameter(
            f"There are {len(others)} other triggers.",
            "They say how often a trigger that nobody planted gets its label.",
            f"Draw {FEWEST_OTHERS} or more keys for this alone.",
        )
    hits, n = _hits(answer, trigger, images, labels)
    counts = [
        _hits(answer, replace(other, target=trigger.target), images, labels)[0] for other in others
    ]
    together = clopper_pearson(sum(counts), n * len(counts), 0.9)[1]
    return Reading(hits, n, max(together, max(counts) / n))


def verify(after: Reading, before: Reading | None = None, level: float = 0.05) -> Finding:
    """The binomial test of a model, exact given the rate of chance; with one before, its power.

    The power is that against a trigger that is held as it was before, of as many images as now. A
    "removed_supported" is about the trigger: see ``NOT_CLAIMABLE``.

    Raises:
        BadParameter: counts or shares that cannot be.
    """
    power = None
    if before is not None:
        power = power_of(before.hits / before.n, after.n, after.chance, level)
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=after.n,
        p=p_value(after.hits, after.n, after.chance),
        effect=after.hits / after.n,
        interval=clopper_pearson(after.hits, after.n),
        unit="share of triggered images with the label",
        level=level,
        power=power,
    )


def p_value(hits: int, n: int, chance: float) -> float:
    """P[Bin(n, chance) >= hits], exactly.

    Raises:
        BadParameter: hits outside 0..n, nobody asked, or a chance outside (0, 1].
    """
    from scipy.special import betainc

    if not 0 <= hits <= n or n < 1 or not 0.0 < chance <= 1.0:
        raise BadParameter(
            f"{hits} of {n} images got the label, by chance {chance}.",
            "A count lies between 0 and the number of images, and chance is above 0 and at most 1.",
            "Take them from read(...).",
        )
    return float(betainc(hits, n - hits + 1, chance)) if hits else 1.0


def power_of(rate: float, n: int, chance: float, level: float = 0.05) -> float:
    """How often the test of n images rejects, if each gets the label by this rate.

    Raises:
        BadParameter: a rate outside [0, 1], a level outside (0, 1), or as ``p_value``.
    """
    if not 0.0 <= rate <= 1.0 or not 0.0 < level < 1.0:
        raise BadParameter(
            f"The power at the rate {rate} and the level {level} is asked for.",
            "Both are shares.",
            "Use the rate before, and 0.05.",
        )
    fewest = next((k for k in range(n + 1) if p_value(k, n, chance) < level), n + 1)
    return 0.0 if fewest > n or rate == 0.0 else p_value(fewest, n, rate)


def _hits(answer: Answer, trigger: Trigger, images: Tensor, labels: Tensor) -> tuple[int, int]:
    if tuple(labels.shape) != (len(images),) or not bool((labels != trigger.target).any()):
        raise BadData(
            f"There are {len(images)} images and labels of shape {tuple(labels.shape)}.",
            "Each image has a class, and some must not have that of the trigger.",
            "Pass held-out images of all classes.",
        )
    shown, wanted = plant(trigger, images[labels != trigger.target])
    found = answer(shown)
    if found.shape != wanted.shape:
        raise BadData(
            f"{len(wanted)} images were shown, and the answer has the shape {tuple(found.shape)}.",
            "One class is needed for each.",
            "Return logits.argmax(1).",
        )
    return int((found.cpu() == wanted).sum()), len(wanted)
