from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.dataset import Record, Source, Split
from rescind.core.errors import BadParameter
from rescind.core.guarantee import Exact
from rescind.core.partition import Cell, Partition
from rescind.core.protocols import Editable, Planner, Unlearner, Withdrawer
from rescind.core.run import Environment, Order, Recipe, Run, Snapshot
from rescind.core.version import selection
from rescind.methods.retrain import Retrain
from rescind.methods.s3t import S3T, rebuild_orders
from rescind.methods.sisa import Sisa
from rescind.training.layout import adapted_blocks
from rescind.training.tasks import TextClassification

RECIPE = Recipe(task=TextClassification("nowhere", ("a", "b")), partition=Partition(2, 3), orders=3)
NOTHING = Split(forget=(), retain=())


def snapshots(orders: Sequence[Order], mark: str = "") -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(
            name=f"{mark}{order.shard}/{order.index}/{stage}",
            shard=order.shard,
            order=order.index,
            slices=order.slices[: stage + 1],
            blocks=order.blocks[: stage + 1],
            digest="",
            records=stage + 1,
        )
        for order in orders
        for stage in range(len(order.slices))
    )


def run_of(recipe: Recipe, parts: tuple[Snapshot, ...]) -> Run:
    environment = Environment("", "", "", "", "", 1, "")
    return Run("run", recipe, "manifest", Source("path"), environment, 6, parts)


@dataclass
class Handle:
    """A model that remembers what it was asked to train."""

    parts: tuple[Snapshot, ...]
    asked: tuple[Order, ...] | None = None
    digest: str = "weights"

    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]:
        assert records is None
        self.asked = tuple(orders)
        return snapshots(orders, mark="new ")

    def load(self, part: Snapshot) -> Editable:
        raise NotImplementedError

    def save(self, part: Snapshot, edited: Editable) -> Snapshot:
        raise NotImplementedError


def test_s3t_goes_down_from_the_top_with_blocks_of_its_own() -> None:
    orders = S3T().orders(replace(RECIPE, blocks_per_slice=2), 8)
    assert [(o.shard, o.index) for o in orders] == [(q, i) for q in range(2) for i in range(3)]
    assert {o.blocks for o in orders} == {((7, 6), (5, 4), (3, 2))}
    assert orders[0].slices == (0, 1, 2)
    assert {o.slices[0] for o in orders if o.shard == 1} == {0, 1, 2}


def test_s3t_puts_what_is_likely_deleted_last_where_probabilities_are_known() -> None:
    known = replace(
        RECIPE,
        partition=Partition(2, 4),
        orders=1,
        deletion_probabilities=(0.4, 0.3, 0.2, 0.1),
    )
    assert {o.slices for o in S3T().orders(known, 6)} == {(3, 2, 1, 0)}
    with pytest.raises(BadParameter, match="has 2 values for 4 slices"):
        S3T().orders(replace(known, deletion_probabilities=(0.5, 0.5)), 6)


def test_sisa_trains_all_adapted_blocks_in_every_stage() -> None:
    orders = Sisa().orders(RECIPE, 6)
    assert orders == tuple(Order(q, 0, (0, 1, 2), ((3, 4, 5),) * 3) for q in range(2))


def test_plain_training_has_one_order_and_refuses_more_cells() -> None:
    alone = replace(RECIPE, method="retrain", partition=Partition(1, 1), blocks_per_slice=3)
    assert Retrain().orders(alone, 6) == (Order(0, 0, (0,), ((3, 4, 5),)),)
    with pytest.raises(BadParameter, match="not 2 shards of 3 slices"):
        Retrain().orders(RECIPE, 6)


@pytest.mark.parametrize("method", [S3T(), Sisa()])
def test_more_slices_than_blocks_is_refused(method: Planner) -> None:
    with pytest.raises(BadParameter, match=r"need 3 blocks, and the encoder has 2.*at most 2"):
        method.orders(RECIPE, 2)


def test_a_slice_can_be_too_wide_for_the_encoder_altogether() -> None:
    wide = replace(RECIPE, blocks_per_slice=5)
    with pytest.raises(BadParameter, match="slices x blocks_per_slice to at most 4"):
        adapted_blocks(wide, 4)


@given(
    slices=st.integers(1, 4),
    budget=st.integers(1, 4),
    hits=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=5),
)
def test_withdrawal_equals_cutting_each_order_before_the_slice(
    slices: int, budget: int, hits: set[tuple[int, int]]
) -> None:
    recipe = replace(RECIPE, partition=Partition(2, slices), orders=min(budget, slices))
    orders = S3T().orders(recipe, 8)
    cells = frozenset(Cell(q, k % slices) for q, k in hits)
    kept: list[str] = []
    for order in orders:  # Algorithm 4 as printed: look for the place of each slice, cut there
        cut = len(order.slices)
        for place, k in enumerate(order.slices):
            if Cell(order.shard, k) in cells:
                cut = min(cut, place)
        kept += [f"{order.shard}/{order.index}/{stage}" for stage in range(cut)]
    done = S3T().withdraw(snapshots(orders), cells)
    assert [part.name for part in done.kept] == kept
    assert {p.name for p in (*done.kept, *done.cut)} == {p.name for p in snapshots(orders)}
    assert not {p.name for p in done.kept} & {p.name for p in done.cut}


def test_withdrawing_twice_equals_withdrawing_both() -> None:
    parts, a, b = snapshots(S3T().orders(RECIPE, 6)), Cell(0, 1), Cell(1, 2)
    once = S3T().withdraw(parts, frozenset({a, b})).kept
    twice = S3T().withdraw(S3T().withdraw(parts, frozenset({a})).kept, frozenset({b})).kept
    assert once == twice


def test_slice_1_is_not_slice_10() -> None:
    order = Order(0, 0, (10, 1), ((1,), (0,)))
    done = S3T().withdraw(snapshots([order]), frozenset({Cell(0, 1)}))
    assert [part.slices for part in done.kept] == [(10,)]


def test_s3t_serves_the_longest_prefix_left_and_claims_it_never_saw() -> None:
    parts = snapshots(S3T().orders(RECIPE, 6))
    kept = S3T().withdraw(parts, frozenset({Cell(0, 1)})).kept
    handle = Handle(kept)
    done = S3T().unlearn(handle, NOTHING, run_of(RECIPE, parts))
    assert handle.asked is None
    assert (done.parts, done.guarantee, done.from_scratch) == (kept, Exact("never_saw"), False)
    assert [part.slices for part in selection(done.parts)] == [(2, 0), (0, 1, 2)]


def test_sisa_retrains_the_shard_that_was_hit_and_no_other() -> None:
    recipe = replace(RECIPE, method="sisa")
    parts = snapshots(Sisa().orders(recipe, 6))
    handle = Handle(Sisa().withdraw(parts, frozenset({Cell(1, 2)})).kept)
    done = Sisa().unlearn(handle, NOTHING, run_of(recipe, parts))
    assert handle.asked == (Sisa().orders(recipe, 6)[1],)
    assert [p.name for p in done.parts] == [
        *("0/0/0", "0/0/1", "0/0/2"),
        *("new 1/0/0", "new 1/0/1", "new 1/0/2"),
    ]
    assert (done.guarantee, done.from_scratch) == (Exact("retrain"), False)


def test_sisa_brings_back_a_shard_of_which_nothing_is_left() -> None:
    recipe = replace(RECIPE, method="sisa")
    parts = snapshots(Sisa().orders(recipe, 6))
    kept = Sisa().withdraw(parts, frozenset({Cell(0, 0), Cell(1, 0)})).kept
    assert kept == ()
    handle = Handle(kept)
    Sisa().unlearn(handle, NOTHING, run_of(recipe, parts))
    assert handle.asked == Sisa().orders(recipe, 6)


@pytest.mark.parametrize("name", ["s3t", "sisa", "retrain"])
def test_retraining_takes_the_layout_of_the_run(name: str) -> None:
    planners: dict[str, Planner] = {"s3t": S3T(), "sisa": Sisa(), "retrain": Retrain()}
    planner = planners[name]
    recipe = replace(RECIPE, method=name)
    if name == "retrain":
        recipe = replace(recipe, partition=Partition(1, 1))
    orders = planner.orders(recipe, 6)
    handle = Handle(())
    done = Retrain().unlearn(handle, NOTHING, run_of(recipe, snapshots(orders)))
    assert handle.asked == orders
    assert done.parts == snapshots(orders, mark="new ")
    assert (done.guarantee, done.from_scratch) == (Exact("retrain"), True)


def test_retraining_a_foreign_layout_needs_its_planner() -> None:
    recipe = replace(RECIPE, method="acme/mine")
    run = run_of(recipe, snapshots(Sisa().orders(recipe, 6)))
    with pytest.raises(BadParameter, match="laid out by 'acme/mine'"):
        Retrain().unlearn(Handle(()), NOTHING, run)
    handle = Handle(())
    Retrain(layout=Sisa()).unlearn(handle, NOTHING, run)
    assert handle.asked == Sisa().orders(recipe, 6)


def test_rebuilding_takes_the_orders_of_these_shards_that_lack_a_stage() -> None:
    orders = S3T().orders(RECIPE, 6)
    dead = frozenset({Cell(1, k) for k in range(3)})
    kept = S3T().withdraw(snapshots(orders), dead | {Cell(0, 2)}).kept
    assert rebuild_orders(orders, kept, [1]) == orders[3:]
    assert rebuild_orders(orders, kept, []) == ()
    assert rebuild_orders(orders, snapshots(orders), [0, 1]) == ()
    # every order of shard 0 holds slice 2 somewhere, so all of them lack a stage
    assert rebuild_orders(orders, kept, [0]) == orders[:3]


def test_methods_are_what_they_say() -> None:
    for method in (S3T(), Sisa(), Retrain()):
        assert isinstance(method, Unlearner)
        assert isinstance(method, Planner)
    assert isinstance(S3T(), Withdrawer)
    assert isinstance(Sisa(), Withdrawer)
    assert not isinstance(Retrain(), Withdrawer)
