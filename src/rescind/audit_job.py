"""The job that reads both models for an audit: a score for each record, and features before.

What it reads is kept as an artifact that this request's erasure finds, like all per-record scores.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rescind import rows, state
from rescind.codes_read import read_codes
from rescind.core.dataset import ManifestEntry
from rescind.core.protocols import Progress
from rescind.core.run import Snapshot
from rescind.data.manifest import entries_from
from rescind.jobs import Desk, Place, open_desk
from rescind.metrics.features import PENULTIMATE, listen
from rescind.readings import AT_ONCE
from rescind.shadow_models import ShadowDraws

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.training.models import TrainedModel


@dataclass(frozen=True, slots=True)
class ReadPair:
    """Score the requested records, retained ones and held-out ones in the models before and after.

    ``place`` allows the sampled retained and test records; ``forget`` is the allow-list of the
    requested ones, an artifact; what is read is kept under ``name`` with ``labels``. ``retrained``
    and ``shadows`` models are read for the audits that need them; ``draws`` says what these had.
    With ``codes``, the bits of seeded records are read too.
    """

    place: Place
    forget: str
    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    name: str
    labels: frozenset[str]
    retrained: tuple[Snapshot, ...] = ()
    shadows: tuple[Snapshot, ...] = ()
    draws: ShadowDraws | None = None
    codes: bool = False

    def run(self, progress: Progress) -> None:
        """One pass of each part over each set.

        Raises:
            MissingSource: the rows cannot be read again.
            BadData: rows have changed.
            DamagedArtifact: a snapshot is lost.
        """
        from rescind.training.snapshots import to_bytes

        desk = open_desk(self.place)
        forget = sorted(entries_from(desk.b.artifacts.get(self.forget)), key=lambda e: e.key)
        allowed = [e for entries in desk.by_cell.values() for e in entries]
        retain = [e for e in allowed if e.cell != "test"]
        test = [e for e in allowed if e.cell == "test"]
        trained, outside = _inputs(desk, [*forget, *retain], test)
        found = {"requested": _mask(len(forget), len(retain))}
        for done, (when, parts) in enumerate((("before", self.before), ("after", self.after)), 1):
            scores, features = read(desk, parts, trained, when == "before")
            found |= {when: scores, **({"features": features} if features is not None else {})}
            found[f"outside_{when}"], _ = read(desk, parts, outside, False)
            progress("models read for the audits", done, 2)
        if self.retrained:
            found |= self._retrained(desk, trained, outside, progress)
        if self.draws is not None:
            found["inside"] = _inside(self.draws, forget, retain, len(self.shadows))
            found["shadows"] = self._shadows(desk, trained, progress)
        if self.codes:
            models = {"before": self.before, "after": self.after}
            own = {name: t[: len(forget)] for name, t in trained.items()}
            found |= read_codes(desk, forget, own, outside, models)
        for name, batch in (("labels", trained), ("outside_labels", outside)):
            found[name] = _classes(desk, batch)
        desk.b.artifacts.put(self.name, "audit", to_bytes(found), self.labels)

    def _retrained(
        self,
        desk: Desk,
        trained: Mapping[str, Tensor],
        outside: Mapping[str, Tensor],
        progress: Progress,
    ) -> dict[str, Tensor]:
        import torch

        scores = []
        for done, model in enumerate(self.retrained, 1):
            scores.append([read(desk, (model,), batch, False)[0] for batch in (trained, outside)])
            progress("retrained models read for the audits", done, len(self.retrained))
        own, others = (torch.stack(each) for each in zip(*scores, strict=True))
        return {"retrained": own, "retrained_outside": others}

    def _shadows(self, desk: Desk, trained: Mapping[str, Tensor], progress: Progress) -> Tensor:
        import torch

        scores = []
        for done, model in enumerate(self.shadows, 1):
            scores.append(read(desk, (model,), trained, False)[0])
            progress("shadow models read for the audits", done, len(self.shadows))
        return torch.stack(scores)


@dataclass(frozen=True, slots=True)
class TimePair:
    """How many seconds of one core a record takes in what is served: to be read, and to pass."""

    place: Place
    parts: tuple[Snapshot, ...]

    def run(self, progress: Progress) -> list[float]:
        """Means over the allowed records: with the rows read and snapshots loaded, and without."""
        desk = open_desk(self.place)
        entries = [e for found in desk.by_cell.values() for e in found]
        moments = [time.process_time()]
        batch, _ = _inputs(desk, entries, [])
        read(desk, self.parts, batch, True)
        moments.append(time.process_time())
        _pass(desk.model, batch, False)
        moments.append(time.process_time())
        progress("timing a reading", 1, 1)
        return [(b - a) / len(entries) for a, b in pairwise(moments)]


def read(
    desk: Desk, parts: Sequence[Snapshot], batch: Mapping[str, Tensor], features: bool
) -> tuple[Tensor, Tensor | None]:
    """Scores (n,) of the records of a batch, and penultimate features (n, d) of all parts."""
    import torch

    from rescind.training.snapshots import from_bytes

    outputs, heard = [], []
    for part in parts:
        desk.model.load(from_bytes(state.weights(desk.b, part)))
        given, seen = _pass(desk.model, batch, features)
        outputs.append(given)
        heard.append(seen)
    task, weights = desk.run.recipe.task, [float(s.records) for s in parts]
    answers = outputs[0] if len(outputs) == 1 else task.combine(outputs, weights)
    if len(outputs) > 1 and task.target != "numbers":
        answers = answers.clamp(min=1e-300).log()  # the combination is of probabilities
    found = _scores(desk, answers, batch)
    return found, torch.cat(heard, 1).float() if features else None


def _pass(
    model: TrainedModel, batch: Mapping[str, Tensor], features: bool
) -> tuple[Tensor, Tensor]:
    """Outputs in double precision, so that sure answers do not round to 1, and features."""
    import torch

    from rescind.training.batches import pieces

    given, heard = [], []
    for piece in pieces(batch, AT_ONCE):
        with torch.no_grad(), listen(model.module, [PENULTIMATE]) as found:
            given.append(model.outputs(piece).double())
        heard.append(found[PENULTIMATE] if features else torch.zeros(0))
    return torch.cat(given), torch.cat(heard)


def _scores(desk: Desk, answers: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The margin of the true class, or minus the loss."""
    from rescind.metrics.membership import margin

    task = desk.run.recipe.task
    if task.target == "classes":
        return margin(answers, batch["labels"]).double()
    return -task.loss(answers, dict(batch)).double()


def _classes(desk: Desk, batch: Mapping[str, Tensor]) -> Tensor:
    import torch

    labels = batch["labels"]
    if desk.run.recipe.task.target == "classes":
        return labels.long()
    return torch.zeros(len(labels), dtype=torch.long)


def _inputs(
    desk: Desk, trained: Sequence[ManifestEntry], outside: Sequence[ManifestEntry]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of both sets, the source read once."""
    found = rows.read(desk.b, [*trained, *outside], desk.run.source)
    row_of = {r.key: r.row for r in found}
    first = desk.model.inputs([row_of[e.key] for e in trained])
    return first, desk.model.inputs([row_of[e.key] for e in outside]) if outside else {}


def _inside(
    draws: ShadowDraws,
    forget: Sequence[ManifestEntry],
    retain: Sequence[ManifestEntry],
    models: int,
) -> Tensor:
    """(models, n): which shadow model had which record."""
    import torch

    keys = [e.key for e in (*forget, *retain)]
    some = draws.candidates(keys[: len(forget)], keys[len(forget) :])
    rows = [[k not in some or draws.has(m, k) for k in keys] for m in range(models)]
    return torch.tensor(rows)


def _mask(first: int, others: int) -> Tensor:
    import torch

    return torch.arange(first + others) < first
