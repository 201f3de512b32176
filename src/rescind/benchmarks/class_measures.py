"""What is measured of a classifier: outputs and features, alone and beside retrained models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.benchmarks.readings import (
    DOWN_LABELS,
    DOWNSTREAM,
    FORGET,
    RETAIN,
    TEST,
    TEST_FORGET,
    Batch,
    Look,
    Looks,
    Values,
)
from rescind.core.task import Task
from rescind.metrics import calibration, divergence, knn_transfer, loss, membership
from rescind.metrics.cka import LinearCka, biased_cka
from rescind.metrics.features import PENULTIMATE

if TYPE_CHECKING:
    from torch import Tensor

FEWEST = 4  # examples: with fewer HSIC_1 has no value
NEIGHBOURS = 5
PER_BIN = 5  # examples: with fewer a calibration error is mostly noise
RATE = 0.01  # of false positives, ten of them at least, and shares of forget examples as fine
OUTSIDE, INSIDE = 1_000, 100
SPLIT = 5  # every fifth downstream example is a query, the others are references


class ClassMeasures:
    """For tasks that answer with one of some classes."""

    def reduce(self, task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits (n, classes), and the labels of the task or of a downstream one."""
        labels = {name: batch[name] for name in ("labels", DOWN_LABELS) if name in batch}
        return {"logits": outputs, **labels}

    def alone(self, looks: Looks) -> Values:
        """Accuracy, loss, confidence, calibration, membership, k-NN on downstream sets."""
        found: Values = {}
        for name in (FORGET, RETAIN, TEST, TEST_FORGET):
            if name in looks:
                found |= _outputs(name, looks[name])
        found |= _membership(looks[FORGET], looks.get(TEST_FORGET, looks[TEST]))
        for name, seen in looks.items():
            if name.startswith(DOWNSTREAM):
                found[f"k-NN {name.removeprefix(DOWNSTREAM)}"] = transfer(seen)
        return found

    def beside(self, looks: Looks, retrained: Looks) -> Values:
        """Agreement, KL, JS and CKA on forget and test examples."""
        found: Values = {}
        for name in (FORGET, TEST):
            theirs, ours = retrained[name].outputs["logits"], looks[name].outputs["logits"]
            found[f"{name} agreement with retrained"] = divergence.agreement(theirs, ours)
            found[f"{name} KL to retrained"] = divergence.mean_kl(theirs, ours)
            found[f"{name} JS to retrained"] = divergence.mean_jensen_shannon(theirs, ours)
        return found | likeness(looks, retrained)


def likeness(looks: Looks, retrained: Looks) -> Values:
    """CKA of penultimate features on forget and test examples, and on forget ones the biased CKA,
    which decides nothing. A set of fewer than four examples has none.
    """
    found: Values = {}
    for name in (FORGET, TEST):
        if len(looks[name].features[PENULTIMATE]) >= FEWEST:
            found[f"{name} CKA to retrained"] = similarity(looks[name], retrained[name])
    ours, theirs = (seen[FORGET].features[PENULTIMATE] for seen in (looks, retrained))
    if len(ours) >= FEWEST and not (flat(ours) or flat(theirs)):
        found["forget biased CKA to retrained"] = biased_cka(ours, theirs)
    return found


def similarity(one: Look, other: Look, layer: str = PENULTIMATE) -> float:
    """Unbiased linear CKA of two models' features of the same examples.

    Features without variation, as a collapsed model gives them, are like nothing: 0. Raises
    ``BadData`` for fewer than four examples.
    """
    first, second = one.features[layer], other.features[layer]
    if flat(first) or flat(second):
        return 0.0
    cka = LinearCka()
    cka.add(first, second)
    return cka.value()


def flat(features: Tensor) -> bool:
    """Whether all examples have the same features, up to rounding."""
    spread = float((features - features.mean(dim=0)).abs().max())
    return spread <= 1e-6 * max(1e-30, float(features.abs().max()))


def transfer(seen: Look) -> float:
    """Accuracy of 5 nearest neighbours by cosine, every fifth example asked of the others.

    Features that are all zero have no direction: such an example is nobody's neighbour, and counts
    as guessed, 1 / classes.
    """
    import torch

    features, labels = seen.features[PENULTIMATE], seen.outputs[DOWN_LABELS]
    place = torch.arange(len(labels), device=labels.device)
    points = features.abs().sum(dim=1) > 0
    asked, known = place % SPLIT == 0, (place % SPLIT != 0) & points
    told, guess = asked & points, 1 / len(set(labels.tolist()))
    if int(known.sum()) < NEIGHBOURS or not bool(told.any()):
        return guess
    found = knn_transfer.accuracy(
        features[known], labels[known], features[told], labels[told], k=NEIGHBOURS
    )
    share = float(told.sum() / asked.sum())
    return share * found + (1 - share) * guess


def _outputs(name: str, seen: Look) -> Values:
    logits, labels = seen.outputs["logits"], seen.outputs["labels"]
    found = {
        f"{name} accuracy": loss.accuracy(logits, labels),
        f"{name} loss": loss.mean_cross_entropy(logits, labels),
        f"{name} confidence": float(membership.confidence(logits, labels).mean()),
        f"{name} Brier score": calibration.brier_score(logits, labels),
    }
    if len(labels) >= PER_BIN * calibration.BINS:
        found[f"{name} calibration error"] = calibration.calibration_error(logits, labels)
    return found


def _membership(forget: Look, outside: Look) -> Values:
    """How well a score tells forget examples from examples never trained on; and how many forget
    examples the surest answers give away, where there are enough to count one in a hundred.
    """
    pairs = [(seen.outputs["logits"], seen.outputs["labels"]) for seen in (forget, outside)]
    sure = [membership.confidence(*pair) for pair in pairs]
    even = [membership.negative_entropy(logits) for logits, _ in pairs]
    modified = [membership.negative_modified_entropy(*pair) for pair in pairs]
    found = {
        "membership by confidence": membership.auc(sure[0], sure[1]),
        "membership by entropy": membership.auc(even[0], even[1]),
        "membership by modified entropy": membership.auc(modified[0], modified[1]),
    }
    inner, outer = (membership.margin(*pair) for pair in pairs)
    if len(outer) >= OUTSIDE and len(inner) >= INSIDE:
        name = f"members found at {100 * RATE:g} % false positives"
        found[name] = membership.true_positive_rate(inner, outer, RATE)
    return found
