"""Measure the served ensemble on the test records that are left, before and after a request.

Only outputs of single snapshots are stored, with their lineage; any ensemble's follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rescind import state
from rescind.backends import Backends
from rescind.core.dataset import ManifestEntry
from rescind.core.evidence import Evaluation, Measurement
from rescind.core.lineage import label
from rescind.core.protocols import Job, Progress
from rescind.core.run import Run, Snapshot
from rescind.core.version import selection
from rescind.data.manifest import manifest_bytes
from rescind.jobs import AllowList, Place, ScoreSnapshots, content, keep, prediction_name
from rescind.metrics.accuracy import accuracy, change
from rescind.metrics.agreement import agreement

if TYPE_CHECKING:
    from torch import Tensor


def before_and_after(
    b: Backends,
    before: Sequence[Snapshot],
    after: Sequence[Snapshot],
    versions: tuple[str, str],
    progress: Progress,
) -> tuple[Evaluation, Evaluation]:
    """Both versions on the same test records: accuracy, its change, and how often they agree.

    A side that serves nothing has no measurements, nor has any where no test record is left: a
    deletion must not wait for data to measure it on (decision 6), nor for what was served before
    and is lost.
    """
    run, test = state.run(b), _test(b)
    if not test:
        return _unmeasured(versions[0], before), _unmeasured(versions[1], after)
    lost = _lost(b, before, test)
    old, new = _measured(b, run, () if lost else before, after, versions, progress)
    empty = Evaluation(versions[0], ()) if lost else _unmeasured(versions[0], before)
    return (
        Evaluation(versions[0], old) if old else empty,
        Evaluation(versions[1], new) if new else _unmeasured(versions[1], after),
    )


def _measured(
    b: Backends,
    run: Run,
    before: Sequence[Snapshot],
    after: Sequence[Snapshot],
    versions: tuple[str, str],
    progress: Progress,
) -> tuple[tuple[Measurement, ...], tuple[Measurement, ...]]:
    """The measurements of both sides; a comparison belongs to the later one."""
    score_all(b, run, (*before, *after), progress)
    test = _test(b)
    old = _right(b, run, before, test) if before else []
    new = _right(b, run, after, test) if after else []
    first = (accuracy("test_accuracy", versions[0], old, "none"),) if old else ()
    if not new:
        return first, ()
    measured = [accuracy("test_accuracy", versions[1], new, "original" if old else "none")]
    if old:
        told = _answers(b, run, before), _answers(b, run, after)
        measured.append(change("accuracy_change", versions[1], old, new))
        measured.append(agreement("agreement", versions[1], *told))
    return first, tuple(measured)


def _lost(b: Backends, served: Sequence[Snapshot], test: Sequence[ManifestEntry]) -> bool:
    """Whether some of it was never scored on these test records and cannot be read any more."""
    unscored = (s for s in served if b.artifacts.find(prediction_name(b, s, test)) is None)
    return not all(state.intact(b, s) for s in unscored)


def _unmeasured(version: str, served: Sequence[Snapshot]) -> Evaluation:
    return Evaluation(version, (), "no_test_record" if served else "nothing_served")


def by_length(
    b: Backends, run: Run, snapshots: Sequence[Snapshot], progress: Progress
) -> dict[str, float]:
    """Test accuracy of the ensemble when every shard has 1, 2, ... slices left."""
    test = _test(b)
    first = {s for s in snapshots if s.order == 0}
    score_all(b, run, sorted(first, key=lambda s: s.name), progress)
    found = {}
    for length in range(1, run.recipe.partition.slices + 1):
        served = selection(s for s in first if s.stage < length)
        right = _right(b, run, served, test)
        found[str(length)] = sum(right) / len(right)
    return found


def score_all(b: Backends, run: Run, snapshots: Sequence[Snapshot], progress: Progress) -> None:
    """Have the outputs of these snapshots on the present test records in the store."""
    labels = {"test": label("test", state.generation(b, "test"))}
    test = _test(b)
    missing = tuple(
        s for s in dict.fromkeys(snapshots) if b.artifacts.find(prediction_name(b, s, test)) is None
    )
    if not missing:
        return
    name = f"manifest/test-{content(b, test, labels.values())}"
    keep(b, name, "manifest", manifest_bytes(test), frozenset(labels.values()))
    place = Place(str(b.folder), run.id, AllowList(name, labels))
    jobs: list[Job] = [ScoreSnapshots(place, (s,)) for s in missing]
    for _ in b.executor.run(jobs, progress):
        pass  # each leaves its outputs in the store


def _test(b: Backends) -> tuple[ManifestEntry, ...]:
    return tuple(sorted((e for e in state.allowed(b) if e.cell == "test"), key=lambda e: e.key))


def _outputs(b: Backends, snapshot: Snapshot, test: Sequence[ManifestEntry]) -> dict[str, Tensor]:
    from rescind.training.snapshots import from_bytes

    return from_bytes(b.artifacts.get(prediction_name(b, snapshot, test)))


def _combined(
    b: Backends, run: Run, served: Sequence[Snapshot], test: Sequence[ManifestEntry]
) -> tuple[Tensor, Tensor]:
    """Outputs of the ensemble and the labels, both over the test records."""
    members = [_outputs(b, s, test) for s in served]
    weights = [float(s.records) for s in served]
    combined = run.recipe.task.combine([m["outputs"] for m in members], weights)
    return combined, members[0]["labels"]


def _right(
    b: Backends, run: Run, served: Sequence[Snapshot], test: Sequence[ManifestEntry]
) -> list[bool]:
    combined, labels = _combined(b, run, served, test)
    return [bool(x) for x in run.recipe.task.score(combined, {"labels": labels})]


def classified(
    b: Backends, run: Run, served: Sequence[Snapshot]
) -> tuple[list[bool], list[int], int]:
    """Of a task that answers with classes, over the present test records by key: which answers of
    what is served are right, the index of each true label, and the number of classes.

    Raises:
        DamagedArtifact: not all of it was scored on these records; see ``before_and_after``.
    """
    combined, labels = _combined(b, run, served, _test(b))
    right = run.recipe.task.score(combined, {"labels": labels})
    return [bool(x) for x in right], [int(x) for x in labels], int(combined.shape[1])


def _answers(b: Backends, run: Run, served: Sequence[Snapshot]) -> list[str]:
    combined, _ = _combined(b, run, served, _test(b))
    return [str(a["label"]) for a in run.recipe.task.answers(combined)]
