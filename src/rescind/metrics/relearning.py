"""How soon a model learns the forget set again: it is shown a few examples and scored on others.

A model whose knowledge is only hidden, by its last layer say, finds it again in fewer steps than a
model that never had it: the relearn time of V. S. Chundawat et al., IEEE TIFS 2023 (arXiv
2201.05629), whose anamnesis index divides two of them. Here the score is on forget examples that
were not shown, so that nothing can be recited, and whole curves are compared. Nothing follows from
one curve: retrained models learn as well, and from like classes they learn fast. They are the
control; the original model, which starts high, is the other end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log2
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal

from rescind.core.errors import BadData, BadParameter, Diverged
from rescind.metrics.equivalence import compare, require_references

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]
    Loss = Callable[[nn.Module, Batch], Tensor]
    Score = Callable[[nn.Module, Batch], float]

LABELS = "labels"  # the entry of a batch that is no input


@dataclass(frozen=True, slots=True)
class Budget:
    """What a model is given to relearn with, declared beforehand and the same for all.

    ``steps`` gradient steps at rate ``lr`` on batches of at most ``size`` of the examples shown;
    "sgd" is without momentum.
    """

    steps: int = 64
    lr: float = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    size: int = 16

    def __post_init__(self) -> None:
        known = self.optimizer in ("adam", "sgd")
        if self.steps < 1 or self.size < 1 or not 0.0 < self.lr < float("inf") or not known:
            raise BadParameter(
                f"{self}.",
                "Steps and size must be 1 or more, lr above 0, the optimizer 'adam' or 'sgd'.",
                "Correct the budget in the recipe.",
            )

    @property
    def marks(self) -> tuple[int, ...]:
        """After how many steps a model is scored: 0, 1, 2, 4, 8 and so on, and at the end."""
        powers = [1 << i for i in range(self.steps.bit_length())]
        return tuple(dict.fromkeys((0, *powers, self.steps)))


@dataclass(frozen=True, slots=True)
class Curve:
    """Scores on held-out forget examples after each of ``steps``; higher is better known.

    ``shown`` and ``held_out`` count the examples that were trained on and scored.
    """

    budget: Budget
    scores: tuple[float, ...]
    shown: int
    held_out: int

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.steps) or not all(map(isfinite, self.scores)):
            raise BadData(
                f"Scores {self.scores} for the steps {self.steps}.",
                "There must be one finite score for each.",
                "Look at what the score function returns.",
            )

    @property
    def steps(self) -> tuple[int, ...]:
        """Where the scores were taken: ``Budget.marks``."""
        return self.budget.marks

    @property
    def start(self) -> float:
        """The score before any step: what is known, not what is relearned."""
        return self.scores[0]

    @property
    def area(self) -> float:
        """Mean height, in units of the score: trapezoids over log2(steps), 0 lying where 1/2 is.

        So the points 0, 1, 2, 4, ... are evenly spaced, and the early steps, in which models
        differ, count as much as the many late ones.
        """
        places = [log2(step) if step else -1.0 for step in self.steps]
        widths = [b - a for a, b in pairwise(places)]
        heights = [(a + b) / 2 for a, b in pairwise(self.scores)]
        return sum(w * h for w, h in zip(widths, heights, strict=True)) / sum(widths)


def few(forget: Batch, share: float, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Examples to show, drawn with ``seed``, and those to score on, as tensors by name.

    At least one is shown, and never all. The share is taken of each label where examples have one
    and labels are at most half as many as examples. An example whose inputs equal those of one that
    is shown is not scored on.

    Raises:
        BadData: fewer than two examples, or only copies of those shown are left.
        BadParameter: ``share`` outside (0, 1).
    """
    import torch

    if not 0.0 < share < 1.0:
        raise BadParameter(f"share is {share}.", "Some must be shown, and some scored on.")
    n = _rows(forget, "forget")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    shown, prints = torch.zeros(n, dtype=torch.bool), _prints(forget)
    for group in _groups(forget, order):
        shown[group[: max(1, min(round(share * len(group)), len(group) - 1))]] = True
    seen = {prints[i] for i in shown.nonzero().flatten().tolist()}
    rest = torch.tensor([i for i in range(n) if prints[i] not in seen], dtype=torch.long)
    if not len(rest):
        raise BadData(
            f"Of {n} examples to forget none is left to score on.",
            "What was shown can be recited; only other examples tell what was relearned.",
            "Relearning needs a forget set of several examples, that are not all alike.",
        )
    chosen = shown.nonzero().flatten()
    return {k: t[chosen] for k, t in forget.items()}, {k: t[rest] for k, t in forget.items()}


def relearn(
    module: nn.Module,
    loss: Loss,
    score: Score,
    shown: Batch,
    held_out: Batch,
    budget: Budget | None = None,
    seed: int = 0,
) -> Curve:
    """Train a copy of ``module`` on ``shown`` and score it on ``held_out`` on the way.

    The copy stays in evaluation mode: a few examples have no batch statistics, and nothing but
    their order is drawn. Parameters that require gradients are trained, or all where none does.

    Args:
        module: in evaluation mode; it is not changed.
        loss: of the copy and a batch, a tensor, whose mean is descended.
        score: of the copy and all held-out examples, higher where they are better known; called
            without gradients.
        shown: tensors by name, first dimension the examples.
        held_out: the same of other examples.
        budget: the default is ``Budget()``.
        seed: of the order of batches.

    Raises:
        BadParameter: the module is in training mode, or has no parameters.
        BadData: no examples, an example that is both shown and held out (its inputs, whatever the
            labels), a score that is not finite.
        Diverged: a loss or a gradient is no finite number.
    """
    import torch

    budget = Budget() if budget is None else budget
    _refuse(module, shown, held_out)
    learner = copy.deepcopy(module)
    trained = _trainable(learner)
    optimizer: torch.optim.Optimizer
    if budget.optimizer == "adam":
        optimizer = torch.optim.Adam(trained, lr=budget.lr, foreach=False)
    else:
        optimizer = torch.optim.SGD(trained, lr=budget.lr, foreach=False)
    scores = []
    batches = _batches(shown, budget.size, seed)
    for done in range(budget.steps + 1):
        if done:
            _step(learner, loss, next(batches), optimizer, trained, done)
        if done in budget.marks:
            with torch.no_grad():
                scores.append(float(score(learner, held_out)))
    return Curve(budget, tuple(scores), _rows(shown, "shown"), _rows(held_out, "held-out"))


def steps_to(curve: Curve, level: float) -> int | None:
    """The first of ``curve.steps`` at which the score is ``level`` or more; None if it never is.

    0 means that the model knew from the start, not that it relearned at once.
    """
    reached = (s for s, score in zip(curve.steps, curve.scores, strict=True) if score >= level)
    return next(reached, None)


@dataclass(frozen=True, slots=True)
class RelearningGap:
    """Areas of a candidate's curves against those of retrained models, in units of the score.

    ``gap`` is the mean area of the candidate minus that of retrained models, with its 95 %
    ``interval``; above 0 the forget set comes back sooner than to a model that never saw it.
    ``start`` is the part that was there before any step: the same difference at step 0.
    ``natural_spread`` is the standard deviation of the area between retrained models.
    """

    gap: float
    interval: tuple[float, float]
    start: float
    natural_spread: float
    references: int


def relearning_gap(candidate: Sequence[Curve], retrained: Sequence[Curve]) -> RelearningGap:
    """The area between the curves of a candidate, one a seed, and those of retrained models.

    The interval is Welch's (see ``equivalence.compare``); of a single candidate it is that which
    predicts one more retrained model, and holds 0 for 95 % of them.

    Raises:
        BadData: curves of different budgets or of different numbers of examples.
        BadParameter: no candidate.
        InsufficientEvidence: fewer than three retrained models.
    """
    require_references(len(retrained), display=True)
    conditions = {(c.budget, c.shown, c.held_out) for c in (*candidate, *retrained)}
    if len(conditions) > 1:
        raise BadData(
            f"The curves are of {len(conditions)} budgets or numbers of examples.",
            "They tell models apart only where all were given the same.",
            "Relearn with one budget and one choice of examples to show.",
        )
    areas = [c.area for c in retrained]
    # the margin bears on the test alone, and only the interval is read
    found = compare([c.area for c in candidate], areas, margin=1.0)
    start = mean(c.start for c in candidate) - mean(c.start for c in retrained)
    return RelearningGap(found.gap, found.interval, start, stdev(areas), len(retrained))


def _step(
    learner: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[nn.Parameter],
    done: int,
) -> None:
    import torch

    with torch.enable_grad():
        value = loss(learner, batch).mean()
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.abs().sum() for p in trained if p.grad is not None]
    if not bool(torch.isfinite(sum(gradients, start=value.detach().abs()))):
        raise Diverged(
            f"Step {done} of relearning gave a loss or a gradient that is no finite number.",
            "A curve that breaks off is no measurement.",
            "Use a smaller lr in the budget, for all models alike.",
        )
    optimizer.step()


def _batches(shown: Batch, size: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Epoch after epoch, each in a new order."""
    import torch

    generator, n = torch.Generator().manual_seed(seed), _rows(shown, "shown")
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n, size):
            yield {name: t[order[start : start + size]] for name, t in shown.items()}


def _trainable(learner: nn.Module) -> list[nn.Parameter]:
    parameters = list(learner.parameters())
    chosen = [p for p in parameters if p.requires_grad]
    if not chosen:
        chosen = [p for p in parameters if p.is_floating_point()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    if not chosen:
        raise BadParameter(
            f"{type(learner).__name__} has no parameters.",
            "Nothing in it can learn.",
            "Pass the module of a model.",
        )
    return chosen


def _groups(forget: Batch, order: Tensor) -> list[Tensor]:
    """The order, split by label where labels are whole numbers, one an example, and come again."""
    import torch

    labels = forget.get(LABELS)
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return [order]
    values = labels[order.to(labels.device)].cpu()
    known = torch.unique(values)
    return [order[values == v] for v in known] if 2 * len(known) <= len(order) else [order]


def _prints(batch: Batch) -> list[bytes]:
    """The bytes of each example's inputs."""
    inputs = [t for name, t in sorted(batch.items()) if name != LABELS]
    import torch

    flat = [t.detach().cpu().contiguous().reshape(len(t), -1).view(torch.uint8) for t in inputs]
    return [b"".join(t[i].numpy().tobytes() for t in flat) for i in range(len(inputs[0]))]


def _rows(batch: Batch, which: str) -> int:
    counts = {len(t) for name, t in batch.items()}
    if not any(name != LABELS for name in batch) or len(counts) != 1 or 0 in counts:
        raise BadData(
            f"The {which} examples are tensors of {sorted(counts)} rows.",
            "There must be examples, and each tensor must have a row for each.",
            "Pass tensors by name, first dimension the examples.",
        )
    return counts.pop()


def _refuse(module: nn.Module, shown: Batch, held_out: Batch) -> None:
    if any(m.training for m in module.modules()):
        raise BadParameter(
            "The module, or a part of it, is in training mode.",
            "Dropout and batch statistics would be part of the curve.",
            "Call module.eval() first.",
        )
    _rows(shown, "shown")
    _rows(held_out, "held-out")
    both = len(set(_prints(shown)) & set(_prints(held_out)))
    if both:
        raise BadData(
            f"{both} examples are both shown and held out.",
            "Their score would say what was recited and not what was relearned.",
            "Split the forget set with few(forget, share, seed).",
        )
