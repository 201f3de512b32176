"""What a judgement reads of a model: numbers on the forget, retain and test set, one pass each.

Only plain numbers leave the job. Features, those of the forget set among them, are never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypedDict, TypeVar

from rescind import controls, rows, state
from rescind.core.control import Kind
from rescind.core.dataset import ManifestEntry, Row
from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.protocols import Progress
from rescind.core.run import Recipe, Snapshot
from rescind.core.task import Target, Task
from rescind.data.manifest import entries_from
from rescind.jobs import Desk, Place, open_desk
from rescind.metrics.cka import SMALLEST, LinearCka
from rescind.metrics.features import PENULTIMATE, listen

if TYPE_CHECKING:
    from collections.abc import Callable

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


Columns = dict[str, list[float]]  # by metric one value a model


class Readings(TypedDict):
    """What was read, by metric one value a model. ``controls`` hold one model each, the original
    among them; ``refused`` says why one is lacking.
    """

    candidates: Columns
    retrained: Columns
    controls: dict[Kind, Columns]
    refused: dict[Kind, str]


@dataclass(frozen=True, slots=True)
class Material:
    """What models are read on: by set its sampled tensors, and rows for an edit, by key."""

    sets: dict[str, dict[str, Tensor]]
    forget: list[Row]
    retain: list[Row]


@dataclass(frozen=True, slots=True)
class ReadModels:
    """Read metrics of candidates, original, retrained models and, if wanted, other controls.

    ``place`` allows the retain records, all of them where a control is to be trained on them, and
    the sampled test records; ``forget`` is the allow-list of the sampled forget set, an artifact
    that this request's erasure would find.
    """

    place: Place
    forget: str
    metrics: tuple[str, ...]
    candidates: tuple[Snapshot, ...]
    original: Snapshot
    retrained: tuple[Snapshot, ...]
    every_control: bool = False

    def run(self, progress: Progress) -> Readings:
        """Each model in one pass over the sets; what a control is made of ends with the job.

        Raises:
            InsufficientEvidence: a set is empty, or too small for CKA.
            MissingSource: the rows cannot be read again.
            BadData: rows have changed, or a model's features are the same for all examples.
            DamagedArtifact: a snapshot is lost.
        """
        desk = open_desk(self.place)
        found, looks = self._material(desk), list[Look]()
        stored = (*self.retrained, self.original, *self.candidates)
        for done, snapshot in enumerate(stored, 1):
            looks.append(self._look(_loaded(desk, snapshot), found.sets))
            progress("models read", done, len(stored))
        count = len(self.retrained)
        retrained, [original, *candidates] = looks[:count], looks[count:]
        columns = Readings(
            candidates=self._columns(candidates, retrained),
            retrained=self._columns(retrained, retrained),
            controls={"original": self._columns([original], retrained)},
            refused={},
        )
        if self.every_control:
            self._add_controls(desk, found, retrained, columns)
        return columns

    def _add_controls(
        self, desk: Desk, found: Material, retrained: Sequence[Look], columns: Readings
    ) -> None:
        makers: dict[Kind, Callable[[], TrainedModel]] = {
            "random_weights": lambda: controls.untrained(desk),
            "last_layer": lambda: controls.last_layer(
                desk, self.original, found.forget, found.retain
            ),
        }
        for kind, make in makers.items():
            try:
                look = self._look(make(), found.sets)
                columns["controls"][kind] = self._columns([look], retrained)
            except controls.REFUSALS as error:
                columns["refused"][kind] = controls.refusal(error)

    def _material(self, desk: Desk) -> Material:
        """The sets that a metric needs, read in one go."""
        forget = entries_from(desk.b.artifacts.get(self.forget))
        allowed = [e for entries in desk.by_cell.values() for e in entries]
        found = rows.read(desk.b, [*forget, *allowed], desk.run.source)
        row_of: dict[str, Row] = {r.key: r.row for r in found}

        def rows_of(entries: Sequence[ManifestEntry]) -> list[Row]:
            return [row_of[e.key] for e in entries]

        retain = sorted((e for e in allowed if e.cell != "test"), key=lambda e: e.key)
        members = {
            "forget": forget,
            "retain": sample(retain),
            "test": [e for e in allowed if e.cell == "test"],
        }
        wanted = sorted({name.split()[0] for name in self.metrics})
        check_sizes(self.metrics, {name: len(members[name]) for name in wanted})
        sets = {n: desk.model.inputs(rows_of(members[n])) for n in wanted}
        return Material(sets, rows_of(forget), rows_of(retain))

    def _look(self, model: TrainedModel, sets: Mapping[str, dict[str, Tensor]]) -> Look:
        values, features = dict[str, float](), None
        for name, batch in sets.items():
            wants = name == "forget" and CKA in self.metrics
            read, heard = read_set(model, batch, wants)
            values |= {f"{name} {what}": value for what, value in read.items()}
            features = heard if wants else features
        return Look(values, features)

    def _columns(self, looks: Sequence[Look], retrained: Sequence[Look]) -> Columns:
        """A retrained model is compared with the other ones."""
        if CKA in self.metrics:
            for look in looks:
                look.values[CKA] = fmean(_cka(look, r) for r in retrained if r is not look)
        return {name: [look.values[name] for look in looks] for name in self.metrics}


def _loaded(desk: Desk, snapshot: Snapshot) -> TrainedModel:
    from rescind.training.snapshots import from_bytes

    desk.model.load(from_bytes(state.weights(desk.b, snapshot)))
    return desk.model


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
