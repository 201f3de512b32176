"""The job that reads both models for an audit: a score for each record, and features before.

What it reads is kept as an artifact that this request's erasure finds, like all per-record scores.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rescind import rows, state
from rescind.codes_read import read_codes
from rescind.core.audit import HAS, MODELS, Need
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import BadData, BadParameter, Diverged, InsufficientEvidence
from rescind.core.protocols import Progress
from rescind.core.run import Snapshot
from rescind.data.manifest import entries_from
from rescind.jobs import Desk, Place, open_desk
from rescind.metrics.features import PENULTIMATE, listen
from rescind.readings import AT_ONCE
from rescind.shadow_models import ShadowDraws
from rescind.treated_models import Fates

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.training.models import TrainedModel

STEADY = 1e-3  # far above what rounding does, far below what a draw does
UNTRIED = (BadData, BadParameter, Diverged)  # by which records or a model cannot be relearned


@dataclass(frozen=True, slots=True)
class ReadPair:
    """Score the requested records, retained ones and held-out ones in the models before and after.

    ``place`` allows the sampled retained and test records; ``forget`` is the allow-list of the
    requested ones, an artifact; what is read is kept under ``name`` with ``labels``. ``retrained``
    and ``shadows`` models are read for the audits that need them; ``draws`` says what these had.
    So are shadow models before and after the audited method, ``untreated`` and ``treated``, with
    their ``fates``. ``reads`` names what else is read: codes of seeded records ("codes"), losses
    after rounding ("rounded"), scores while records are learned again ("relearned").
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
    untreated: tuple[Snapshot, ...] = ()
    treated: tuple[Snapshot, ...] = ()
    fates: Fates | None = None
    reads: frozenset[Need] = frozenset()
    seed: int = 0

    def run(self, progress: Progress) -> None:
        """One pass of each part over each set.

        Raises:
            MissingSource: the rows cannot be read again.
            BadData: rows have changed.
            DamagedArtifact: a snapshot is lost.
            InsufficientEvidence: a model answers the same records differently each time.
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
            _check_steady(desk, parts, trained, scores)
            progress("models read for the audits", done, 2)
        if self.retrained:
            found |= self._retrained(desk, trained, outside, progress)
        if self.draws is not None:
            found["inside"] = _inside(self.draws, forget, retain, len(self.shadows))
            found["shadows"] = self._read_each(desk, self.shadows, trained, "shadow", progress)
        if self.fates is not None:
            found["fate"] = _fates(self.fates, forget, retain)
            for name, shadows in (("untreated", self.untreated), ("treated", self.treated)):
                what = f"{name} shadow"
                found[name] = self._read_each(desk, shadows, trained, what, progress)
        own = {name: t[: len(forget)] for name, t in trained.items()}
        if "codes" in self.reads:
            models = {"before": self.before, "after": self.after}
            found |= read_codes(desk, forget, own, outside, models)
        found |= self._attacked(desk, own, trained, progress)
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

    def _read_each(
        self,
        desk: Desk,
        models: Sequence[Snapshot],
        trained: Mapping[str, Tensor],
        what: str,
        progress: Progress,
    ) -> Tensor:
        import torch

        scores = []
        for done, model in enumerate(models, 1):
            scores.append(read(desk, (model,), trained, False)[0])
            progress(f"{what} models read for the audits", done, len(models))
        return torch.stack(scores)

    def _attacked(
        self,
        desk: Desk,
        own: Mapping[str, Tensor],
        trained: Mapping[str, Tensor],
        progress: Progress,
    ) -> dict[str, Tensor]:
        """What the attacks give that work on weights; they are refused for several parts."""
        wanted = self.reads & {"rounded", "relearned"}
        if not wanted or not self.retrained:
            return {}
        from rescind import attacks_read

        n = len(own["labels"])
        whole = attacks_read.whole_classes(own["labels"].tolist(), trained["labels"][n:].tolist())
        models = self.before[0], self.after[0], self.retrained
        given = attacks_read.Attacked(desk, *models, own, whole)
        found: dict[str, Tensor] = {}
        if "rounded" in wanted:
            found |= attacks_read.read_rounded(given, progress)
        if "relearned" in wanted:
            with suppress(*UNTRIED):  # the audit says that nothing was read; the others are run
                found |= attacks_read.read_relearned(given, self.seed, progress)
        return found


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


def _check_steady(
    desk: Desk, parts: Sequence[Snapshot], batch: Mapping[str, Tensor], scores: Tensor
) -> None:
    """Ask for some of the records again: a draw in evaluation mode would be taken for a change."""
    import torch

    some = {name: t[:AT_ONCE] for name, t in batch.items()}
    again, _ = read(desk, parts, some, False)
    if not torch.allclose(again, scores[: len(again)], rtol=STEADY, atol=STEADY):
        raise InsufficientEvidence(
            "A model answers the same records differently each time it is asked.",
            "What it draws would be taken for what was forgotten.",
            "Draw nothing in evaluation mode: `self.training` says which one it is.",
        )


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


def _fates(
    fates: Fates, forget: Sequence[ManifestEntry], retain: Sequence[ManifestEntry]
) -> Tensor:
    """(models, n): what each treated shadow model is to each record."""
    import torch

    drawn = fates.drawn([e.key for e in forget], [e.key for e in retain])
    rest = (HAS,) * MODELS
    return torch.tensor([drawn.get(e.key, rest) for e in (*forget, *retain)]).T.contiguous()


def _mask(first: int, others: int) -> Tensor:
    import torch

    return torch.arange(first + others) < first
