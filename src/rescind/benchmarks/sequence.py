"""Requests one after another: how far methods drift from retraining, and when it is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rescind import methods_of
from rescind.benchmarks.cells import Made
from rescind.benchmarks.models import ANEW, Halves, with_seed
from rescind.benchmarks.readings import Looks, columns
from rescind.benchmarks.result import Point
from rescind.benchmarks.sets import Sets, sets_of
from rescind.benchmarks.setting import REFERENCES, SHOWN, ForgetSet
from rescind.benchmarks.subjects import ANEW_LINE, ORIGINAL_LINE, Bench
from rescind.core.dataset import Record
from rescind.core.errors import RescindError
from rescind.core.judgement import Margin
from rescind.core.protocols import Unlearner
from rescind.core.search import Search
from rescind.metrics.drift import Drift, drift, retraining_due
from rescind.search import OUTSIDE

METHODS = 3  # those that a search brought nearest to retrained models
AFTER = 400  # seeds of models retrained after some requests begin here
Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Stop:
    """A number of requests at which is measured: all that is forgotten, and models without it."""

    requests: int
    forgotten: ForgetSet
    sets: Sets
    retrained: Sequence[Looks]
    against: Columns


def points(bench: Bench, forget: ForgetSet) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """The forget set in as many requests as the setting's longest sequence, by a few methods.

    Eight retrained models at each stop where the forget set decides, else three: for display. The
    original and models retrained with other seeds stand beside the methods.

    Returns:
        The points, and what could not go on to the end, in words.
    """
    chunks = _chunks(forget.records, max(bench.setting.sequence))
    stops = [_stop(bench, forget, chunks[:n]) for n in bench.setting.sequence]
    found, stopped = _controls(bench, stops), list(_unmeasured(bench, stops))
    for name, search in _nearest(bench.searched.found):
        method = methods_of.make(name, search.chosen)
        try:
            found += _told(bench, name, _through(bench, name, method, chunks, stops), stops)
        except OUTSIDE:
            raise
        except RescindError as error:
            stopped.append(f"Requests in a row, {bench.name}: {name} stopped: {error.what}")
    return tuple(found), tuple(stopped)


def _controls(bench: Bench, stops: Sequence[Stop]) -> list[Point]:
    """The original, which no request changes, and models retrained with seeds of their own."""
    original = {s.requests: _seen(bench.originals, s) for s in stops}
    anew = {s.requests: _seen(_anew(bench, s), s) for s in stops}
    both = ((ORIGINAL_LINE, original), (ANEW_LINE, anew))
    return [point for name, values in both for point in _told(bench, name, values, stops)]


def _anew(bench: Bench, stop: Stop) -> list[Made]:
    retain = Halves.of(bench.setting.train, stop.forgotten.records).retain
    what = f"retrained anew after {stop.requests} requests"
    return bench.train(retain, ANEW, bench.setting.seeds, what)


def _seen(models: Sequence[Made], stop: Stop) -> Columns:
    looks = [stop.sets.looks(made.model) for made in models]
    return columns(stop.sets.measures, looks, stop.retrained)


def _nearest(searched: Mapping[str, Search]) -> list[tuple[str, Search]]:
    def best(search: Search) -> float:
        return min(t.distance for t in search.trials if t.distance is not None)

    return sorted(searched.items(), key=lambda pair: (best(pair[1]), pair[0]))[:METHODS]


def _chunks(records: Sequence[Record], count: int) -> list[list[Record]]:
    return [list(records[i::count]) for i in range(count)]


def _stop(bench: Bench, forget: ForgetSet, chunks: Sequence[Sequence[Record]]) -> Stop:
    """Models retrained without all of these requests, and what they are looked at on."""
    setting, gone = bench.setting, tuple(r for chunk in chunks for r in chunk)
    name = f"{len(chunks)} requests"
    forgotten = ForgetSet(name, forget.kind, gone, forget.classes, forget.decides)
    retain = Halves.of(setting.train, gone).retain
    count = REFERENCES if forget.decides else SHOWN
    retrained = bench.train(retain, AFTER, count, f"retrained after {len(chunks)} requests")
    sets = sets_of(bench.models.recipe.task, setting, forgotten, retain.records, setting.test)
    looks = [sets.looks(made.model) for made in retrained]
    return Stop(len(chunks), forgotten, sets, looks, columns(sets.measures, looks, looks))


def _through(
    bench: Bench,
    name: str,
    method: Unlearner,
    chunks: Sequence[Sequence[Record]],
    stops: Sequence[Stop],
) -> dict[int, Columns]:
    """One method through all requests, measured at the stops, one run a seed."""
    models, found = list(bench.originals), dict[int, Columns]()
    left = list(bench.setting.train)
    at = {stop.requests: stop for stop in stops}
    for done, chunk in enumerate(chunks, 1):
        bench.progress(f"{name}: requests", done - 1, len(chunks))
        halves = Halves.of(left, chunk)
        models = [_step(bench, method, m, halves, s) for s, m in enumerate(models)]
        left = list(halves.retain)
        if done in at:
            found[done] = _seen(models, at[done])
    bench.progress(f"{name}: requests", len(chunks), len(chunks))
    return found


def _told(
    bench: Bench, name: str, candidate: Mapping[int, Columns], stops: Sequence[Stop]
) -> list[Point]:
    """The gaps at the stops, and from which of them on retraining is due."""
    at = {stop.requests: stop for stop in stops}
    display = not all(stop.forgotten.decides for stop in stops)
    drifts: list[Drift] = []
    measured: list[Margin] = []
    for margin in bench.setting.margins:
        against = {n: stop.against for n, stop in at.items() if margin.metric in stop.against}
        if against:
            ours = {n: candidate[n] for n in against}
            drifts += drift(ours, against, [margin], display=display)
            measured.append(margin)
    due = retraining_due(drifts, measured, display=display)
    return [_point(bench, name, each, at, due) for each in drifts]


def _unmeasured(bench: Bench, stops: Sequence[Stop]) -> Iterator[str]:
    """The first requests may have too few examples for a metric, as CKA needs four."""
    for margin in bench.setting.margins:
        few = [str(s.requests) for s in stops if margin.metric not in s.against]
        if few:
            yield (
                f"Requests in a row, {bench.name}: {margin.metric} is not measured after"
                f" {', '.join(few)} requests: too few examples are forgotten."
            )


def _step(bench: Bench, method: Unlearner, model: Made, halves: Halves, seed: int) -> Made:
    return bench.models.edited(with_seed(method, seed), model, halves)


def _point(bench: Bench, name: str, found: Drift, at: Mapping[int, Stop], due: int | None) -> Point:
    width = {margin.metric: margin.width for margin in bench.setting.margins}[found.metric]
    return Point(
        model=bench.name,
        method=name,
        requests=found.requests,
        forgotten=len(at[found.requests].forgotten.records),
        metric=found.metric,
        value=found.value,
        retrained=found.value - found.gap,
        interval=found.interval,
        margin=width,
        retraining_due=due is not None and found.requests >= due,
    )
