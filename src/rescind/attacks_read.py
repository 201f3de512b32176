"""Two attacks as a job reads them: weights rounded, and records learned again.

Each is tried on the models before and after, on models that hide what the model before holds, on
which the power is shown, and on the retrained models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind import state
from rescind.audits.hiding import behind_last_layer, below_half_a_step
from rescind.audits.quantisation import recovery
from rescind.audits.quantisation_audit import DRAWS, HIDING, RECORDS, WIDTHS
from rescind.audits.relearning_audit import MODELS, SHARE, STEPS
from rescind.core.protocols import Progress
from rescind.core.run import Snapshot
from rescind.jobs import Desk
from rescind.metrics.relearning import LABELS, Budget, few, relearn
from rescind.readings import sample

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]

CONTROL_DRAWS = 39  # of noise in a retrained model, of which the mean alone is read


@dataclass(frozen=True, slots=True)
class Attacked:
    """What is attacked: models by their one part, and the requested records' tensors.

    ``whole`` are the classes of which no record is retained.
    """

    desk: Desk
    before: Snapshot
    after: Snapshot
    retrained: tuple[Snapshot, ...]
    own: Batch
    whole: tuple[int, ...]

    def module(self, part: Snapshot) -> nn.Module:
        """A module of its own with the weights of a part, in evaluation mode."""
        from rescind.training.snapshots import from_bytes

        self.desk.model.load(from_bytes(state.weights(self.desk.b, part)))
        return copy.deepcopy(self.desk.model.module).eval().requires_grad_(False)

    def outputs(self, module: nn.Module, batch: Batch) -> Tensor:
        """Outputs (n, ...) of a module."""
        return self.desk.run.recipe.task.outputs(module, batch)

    def losses(self, module: nn.Module, batch: Batch) -> Tensor:
        """(n,)."""
        return self.desk.run.recipe.task.loss(self.outputs(module, batch), dict(batch))


def read_rounded(given: Attacked, progress: Progress) -> dict[str, Tensor]:
    """``Case.rounded`` and ``Case.rounded_retrained``; of at most 400 requested records."""
    import torch

    rows = torch.tensor(sample(range(len(given.own[LABELS])), RECORDS))
    batch = {name: t[rows] for name, t in given.own.items()}
    plain = given.module(given.before), given.module(given.after)
    total = len(plain) + len(WIDTHS) * HIDING + len(given.retrained)

    def measured(modules: Iterator[nn.Module], draws: int, done: int) -> Tensor:
        found = []
        for module in modules:
            found.append(torch.stack([_losses(given, module, batch, w, draws) for w in WIDTHS]))
            done += 1
            progress("models with rounded weights", done, total)
        return torch.stack(found)

    def mean_loss(module: nn.Module) -> Tensor:
        return given.losses(module, batch).mean()

    def first() -> Iterator[nn.Module]:
        yield from plain
        for width in WIDTHS:
            for seed in range(HIDING):
                yield below_half_a_step(plain[0], mean_loss, width, seed)

    rounded = measured(first(), DRAWS, 0)
    others = (given.module(part) for part in given.retrained)
    return {
        "rounded": rounded,
        "rounded_retrained": measured(others, CONTROL_DRAWS, len(rounded)),
    }


def _losses(given: Attacked, module: nn.Module, batch: Batch, width: int, draws: int) -> Tensor:
    """(2 + draws, r): as the model is, rounded, under noise."""
    import torch

    found = recovery(module, lambda m: given.outputs(m, batch), batch[LABELS], width, draws)
    return torch.cat([torch.stack([found.losses, found.rounded]), found.noisy]).float()


def read_relearned(given: Attacked, seed: int, progress: Progress) -> dict[str, Tensor]:
    """``Case.relearned`` and what belongs to it, of one choice of records for all models.

    Raises:
        BadData: too few records, or only copies of those that are shown.
        Diverged: a loss was no finite number.
    """
    import torch

    shown, held_out = few(given.own, SHARE, seed)
    budget = Budget(steps=STEPS, lr=given.desk.run.recipe.optimizer.lr)
    score = _score(given)
    before, after = given.module(given.before), given.module(given.after)
    hidden = [
        behind_last_layer(before, given.whole, lambda m: given.outputs(m, given.own), s)
        for s in range(MODELS)
        if given.whole
    ]
    models: list[Callable[[], nn.Module]] = [
        lambda: before,
        lambda: after,
        *(lambda m=m: m for m in hidden),
        *(lambda p=p: given.module(p) for p in given.retrained),
    ]
    curves = []
    for done, make in enumerate(models, 1):
        curve = relearn(make(), given.losses, score, shown, held_out, budget, seed)
        curves.append(torch.tensor(curve.scores, dtype=torch.float64))
        progress("models that learn the records again", done, len(models))
    every, count = torch.stack(curves), len(curves) - len(given.retrained)
    counts = [len(shown[LABELS]), len(held_out[LABELS])]
    return {
        "relearned": every[:count],
        "relearned_retrained": every[count:],
        "relearned_counts": torch.tensor(counts),
        "relearned_lr": torch.tensor([budget.lr], dtype=torch.float64),
    }


def _score(given: Attacked) -> Callable[[nn.Module, Batch], float]:
    """The share of right answers, or minus the mean loss where the task has no classes."""
    classes = given.desk.run.recipe.task.target == "classes"

    def score(module: nn.Module, batch: Batch) -> float:
        if not classes:
            return -float(given.losses(module, batch).mean())
        return float((given.outputs(module, batch).argmax(1) == batch[LABELS]).float().mean())

    return score


def whole_classes(own: Sequence[int], retained: Sequence[int]) -> tuple[int, ...]:
    """Classes of the first that the second has none of."""
    return tuple(sorted({*own} - {*retained}))
