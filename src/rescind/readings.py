"""What a judgement reads of a model: numbers on the forget, retain and test set, one pass each.

Only plain numbers leave the job. Features, those of the forget set among them, are never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from rescind import rows, state
from rescind.core.dataset import Row
from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.protocols import Progress
from rescind.core.run import Recipe, Snapshot
from rescind.core.task import Target, Task
from rescind.data.manifest import entries_from
from rescind.jobs import Desk, Place, open_desk
from rescind.metrics.cka import SMALLEST, LinearCka
from rescind.metrics.features import PENULTIMATE, listen

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.training.models import TrainedModel

T = TypeVar("T")
SAMPLE = 2_000  # examples of each set, at most
AT_ONCE = 256
CKA = "forget CKA to retrained"
# the first word is the set
KNOWN: dict[Target, tuple[str, ...]] = {
    "classes": ("forget accuracy", "forget confidence", CKA, "retain accuracy", "test accuracy"),
    "numbers": ("forget rmse", "retain rmse", "test rmse"),
    "tokens": ("forget loss", "retain loss", "test loss"),
}


def check_margins(recipe: Recipe) -> None:
    """Refuse a margin for what is not read of this kind of task.

    Read are: of classes, the share of right answers, the mean probability of the true label, and
    the mean unbiased linear CKA of the last layer's inputs to those of the retrained models; of
    numbers, the root of the mean squared error; of tokens, the mean over texts of their mean loss.

    Raises:
        BadParameter: it lists the known names.
    """
    known = KNOWN[recipe.task.target]
    unknown = [m.metric for m in recipe.margins if m.metric not in known]
    if unknown:
        raise BadParameter(
            f"The recipe has margins for {', '.join(map(repr, unknown))}.",
            f"Of a task that answers with {recipe.task.target}, these are read: "
            f"{', '.join(known)}.",
            "Correct metric under [[margins]] in the recipe.",
        )


def sample(ordered: Sequence[T], most: int = SAMPLE) -> list[T]:
    """At most so many, evenly spaced; the same ones each time."""
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[i * len(ordered) // most] for i in range(most)]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one model gave: numbers by name, and its features (n, d) of the forget set."""

    values: dict[str, float]
    features: Tensor | None


@dataclass(frozen=True, slots=True)
class ReadModels:
    """Read metrics of candidates, original and retrained models.

    ``place`` allows the sampled retain and test records; ``forget`` is the allow-list of the
    sampled forget set, an artifact that this request's erasure would find.
    """

    place: Place
    forget: str
    metrics: tuple[str, ...]
    candidates: tuple[Snapshot, ...]
    original: Snapshot
    retrained: tuple[Snapshot, ...]

    def run(self, progress: Progress) -> tuple[dict[str, list[float]], ...]:
        """For candidates, original and retrained models: by metric one value a model.

        Raises:
            InsufficientEvidence: a set is empty, or too small for CKA.
            MissingSource: the rows cannot be read again.
            BadData: rows have changed, or a model's features are the same for all examples.
            DamagedArtifact: a snapshot is lost.
        """
        desk = open_desk(self.place)
        sets = self._sets(desk)
        groups = (self.retrained, (self.original,), self.candidates)
        total, done, looks = sum(map(len, groups)), 0, list[list[Look]]()
        for group in groups:
            looks.append([])
            for snapshot in group:
                looks[-1].append(self._look(desk, snapshot, sets))
                done += 1
                progress("models read", done, total)
        retrained, original, candidates = looks
        return tuple(self._columns(g, retrained) for g in (candidates, original, retrained))

    def _sets(self, desk: Desk) -> dict[str, dict[str, Tensor]]:
        """The tensors of each set that a metric needs, read in one go."""
        forget = entries_from(desk.b.artifacts.get(self.forget))
        allowed = [e for entries in desk.by_cell.values() for e in entries]
        found = rows.read(desk.b, [*forget, *allowed], desk.run.source)
        row_of: dict[str, Row] = {r.key: r.row for r in found}
        members = {
            "forget": forget,
            "retain": [e for e in allowed if e.cell != "test"],
            "test": [e for e in allowed if e.cell == "test"],
        }
        wanted = sorted({name.split()[0] for name in self.metrics})
        check_sizes(self.metrics, {name: len(members[name]) for name in wanted})
        return {n: desk.model.inputs([row_of[e.key] for e in members[n]]) for n in wanted}

    def _look(self, desk: Desk, snapshot: Snapshot, sets: Mapping[str, dict[str, Tensor]]) -> Look:
        from rescind.training.snapshots import from_bytes

        desk.model.load(from_bytes(state.weights(desk.b, snapshot)))
        values, features = dict[str, float](), None
        for name, batch in sets.items():
            wants = name == "forget" and CKA in self.metrics
            read, heard = read_set(desk.model, batch, wants)
            values |= {f"{name} {what}": value for what, value in read.items()}
            features = heard if wants else features
        return Look(values, features)

    def _columns(self, looks: Sequence[Look], retrained: Sequence[Look]) -> dict[str, list[float]]:
        """A retrained model is compared with the other ones."""
        if CKA in self.metrics:
            for look in looks:
                look.values[CKA] = fmean(_cka(look, r) for r in retrained if r is not look)
        return {name: [look.values[name] for look in looks] for name in self.metrics}


def check_sizes(metrics: Sequence[str], sizes: Mapping[str, int]) -> None:
    """Refuse what cannot be read of so few examples.

    Raises:
        InsufficientEvidence: a set is empty, or has fewer than 4 examples for CKA.
    """
    empty = [name for name, size in sizes.items() if not size]
    if empty:
        raise InsufficientEvidence(f"There is no record in the {' and '.join(empty)} set.")
    if CKA in metrics and sizes["forget"] < SMALLEST:
        raise InsufficientEvidence(
            f"CKA needs {SMALLEST} examples, and the forget set has {sizes['forget']}."
        )


def read_set(
    model: TrainedModel, batch: Mapping[str, Tensor], features: bool
) -> tuple[dict[str, float], Tensor | None]:
    """Metrics of one set by name, and the features (n, d) entering the last layer if wanted."""
    import torch

    from rescind.training.batches import pieces

    each, heard = list[dict[str, "Tensor"]](), list["Tensor"]()
    for piece in pieces(batch, AT_ONCE):
        with torch.no_grad(), ExitStack() as stack:
            found = stack.enter_context(listen(model.module, [PENULTIMATE])) if features else {}
            outputs = model.outputs(piece)
        each.append(_of_each(model.task, outputs, piece))
        heard += found.values()
    means = {n: float(torch.cat([e[n] for e in each]).double().mean()) for n in each[0]}
    if model.task.target == "numbers":
        means = {"rmse": means["rmse"] ** 0.5}
    return means, torch.cat(heard) if features else None


def _of_each(task: Task, outputs: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """One number an example, shape (n,); of numbers the squared error."""
    if task.target == "classes":
        true = batch["labels"].unsqueeze(1)
        confidence = outputs.softmax(dim=1).gather(1, true).squeeze(1)
        return {"accuracy": task.score(outputs, batch), "confidence": confidence}
    return {"rmse" if task.target == "numbers" else "loss": task.loss(outputs, batch)}


def _cka(first: Look, second: Look) -> float:
    if first.features is None or second.features is None:
        raise InsufficientEvidence("No features were kept.")
    found = LinearCka()
    found.add(first.features, second.features)
    return found.value()
