"""What a request would do and cost, worked out by index look-ups before anything is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rescind import methods_of, state
from rescind.backends import Backends
from rescind.core.partition import Cell
from rescind.core.plan import Plan, ShardPlan
from rescind.core.protocols import Withdrawal, Withdrawer
from rescind.core.request import Goal, Target
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.core.version import selection
from rescind.methods.retrain import Retrain
from rescind.metrics.equivalence import DECIDES


def plan(
    b: Backends,
    request: str,
    cells: frozenset[str],
    target: Target,
    due_at: str,
    method: str | None = None,
    goal: Goal = "influence",
) -> Plan:
    """The plan for a forget set that lies in ``cells``; nothing is changed and no content read."""
    run = state.run(b)
    live = state.parts(b)
    counts = Counter(state.manifest(b).cells)  # acceptance must not wait for the whole manifest
    chosen = methods_of.make(method or run.recipe.method)
    after = withdrawal(chosen, live, cells).kept
    shards = tuple(_shard(q, live, after) for q in range(run.recipe.partition.shards))
    dead = [s.shard for s in shards if not s.slices_after]
    outage = len(dead) == len(shards)
    return Plan(
        request=request,
        method=method or run.recipe.method,
        cells=cells,
        records=target.records,
        test_records=target.test_records,
        snapshots_cut=len(live) - len(after),
        shards=shards,
        retained_share=retained_share(after, run.recipe),
        outage=outage,
        passes=passes(after, run.recipe, counts),
        rebuild_passes=_rebuild(run, dead, counts),
        expected_accuracy=expected_accuracy(run, shards),
        due_at=due_at,
        warnings=(
            *_warnings(dead, outage, isinstance(chosen, Withdrawer)),
            *(_judging(run, chosen, counts) if goal == "influence" else ()),
        ),
    )


def withdrawal(method: object, parts: Sequence[Snapshot], cells: Iterable[str]) -> Withdrawal:
    """What a method would take out of service; one that edits weights takes out nothing yet."""
    training = frozenset(Cell.parse(c) for c in cells if c != "test")
    if not isinstance(method, Withdrawer) or not training:
        return Withdrawal(tuple(parts), ())
    return method.withdraw(parts, training)


def retained_share(parts: Iterable[Snapshot], recipe: Recipe) -> float:
    """Slices served over all slices."""
    served = sum(s.stage + 1 for s in selection(parts))
    return served / (recipe.partition.shards * recipe.partition.slices)


def passes(parts: Iterable[Snapshot], recipe: Recipe, counts: Counter[str]) -> int:
    """Record-epochs that training every surviving order again takes, each prefix of it once."""
    longest = {(s.shard, s.order): s for s in sorted(parts, key=lambda s: s.stage)}
    return sum(_order_passes(s.shard, s.slices, recipe, counts) for s in longest.values())


def _order_passes(shard: int, slices: Sequence[int], recipe: Recipe, counts: Counter[str]) -> int:
    sizes = [counts[str(Cell(shard, k))] for k in slices]
    return recipe.epochs * sum(sum(sizes[: i + 1]) for i in range(len(sizes)))


def _rebuild(run: Run, dead: Sequence[int], counts: Counter[str]) -> int:
    first: dict[int, Order] = {}
    for order in methods_of.orders(run.recipe, run.blocks):
        first.setdefault(order.shard, order)
    return sum(_order_passes(q, first[q].slices, run.recipe, counts) for q in dead)


def expected_accuracy(run: Run, shards: Sequence[ShardPlan]) -> float | None:
    """The estimate that the plan quotes; None where it was not measured or nothing is left."""
    known = [run.expected.get(str(s.slices_after)) for s in shards if s.slices_after]
    numbers = [value for value in known if value is not None]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(known) else None


def _shard(shard: int, before: Sequence[Snapshot], after: Sequence[Snapshot]) -> ShardPlan:
    kept = [s for s in after if s.shard == shard]
    return ShardPlan(
        shard=shard,
        slices_before=max((s.stage + 1 for s in before if s.shard == shard), default=0),
        slices_after=max((s.stage + 1 for s in kept), default=0),
        orders_after=len({s.order for s in kept}),
    )


def _judging(run: Run, method: object, counts: Counter[str]) -> Iterator[str]:
    """What it costs to judge an edited model, beside what retraining costs."""
    if not run.recipe.margins or isinstance(method, Withdrawer | Retrain):
        return
    first = methods_of.orders(run.recipe, run.blocks)[0]
    once = _order_passes(first.shard, first.slices, run.recipe, counts)
    total = f"{DECIDES * once:,} record passes of training, and exact retraining {once:,}"
    yield (
        f"Judging takes {DECIDES} retrained models, {total}: it pays only where several requests"
        " or methods share them."
    )


def _warnings(dead: Sequence[int], outage: bool, withdraws: bool) -> tuple[str, ...]:
    found = []
    if outage:
        found.append("No shard would be left to answer: accept the outage, or rebuild first.")
    elif dead:
        names = ", ".join(str(q) for q in dead)
        found.append(f"Shard {names} would have no survivor; `rescind rebuild` brings it back.")
    if not withdraws:
        found.append("This method edits weights: the old model answers until the new one is out.")
    return tuple(found)
