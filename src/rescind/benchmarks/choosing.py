"""Which records a benchmark forgets, how it trains, and how far from retraining is near enough.

The margins of all benchmarks follow one rule: four standard deviations between models retrained
without a set, the largest of the sets that decide (of all, where none does), rounded up to
hundredths and at least .02 (`python benchmarks/margins.py NAME`, seeds that nothing else uses);
quick sizes have their own. Four, since a retrained model held against seven others must itself pass
a corrected equivalence test. No result of a method entered the rule, though runs had been made
under older margins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rescind.benchmarks.setting import ForgetSet, Kind
from rescind.core.canonical import keyed
from rescind.core.dataset import Record
from rescind.core.judgement import Margin, Role
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.core.task import Task
from rescind.data.records import records_from

# public on purpose: everyone must draw the same sets
SALT = b"rescind benchmarks"
CLASS_METRICS: tuple[tuple[str, Role], ...] = (
    ("forget accuracy", "forgetting"),
    ("forget confidence", "forgetting"),
    ("forget CKA to retrained", "forgetting"),
    ("retain accuracy", "utility"),
    ("test accuracy", "utility"),
)
TOKEN_METRICS: tuple[tuple[str, Role], ...] = (
    ("forget loss", "forgetting"),
    ("forget extraction", "forgetting"),
    ("forget CKA to retrained", "forgetting"),
    ("retain loss", "utility"),
    ("test loss", "utility"),
)


def named(rows: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
    """Records keyed by the column ``id``; equal content under two ids stays two records."""
    return records_from(rows, key="id", subject=None)


def drawn(records: Sequence[Record], count: int, name: str) -> tuple[Record, ...]:
    """``count`` of the records, those with the lowest keyed hash of ``name`` and key.

    Which ones does not depend on the order of ``records``; another name draws others.
    """
    ranked = sorted(records, key=lambda r: keyed(SALT, name, r.key))
    return tuple(sorted(ranked[:count], key=lambda r: r.key))


def without(records: Sequence[Record], gone: Sequence[Record]) -> tuple[Record, ...]:
    """The records that are not among ``gone``, in their order."""
    keys = {r.key for r in gone}
    return tuple(r for r in records if r.key not in keys)


def tenths(train: Sequence[Record], decides: bool) -> tuple[ForgetSet, ForgetSet]:
    """A random tenth to report on, and another one, without a record of the first, to search on."""
    count = max(1, len(train) // 10)
    first = drawn(train, count, "random tenth")
    second = drawn(without(train, first), count, "searched tenth")
    return (
        ForgetSet("random tenth", "random", first, decides=decides),
        ForgetSet("searched tenth", "random", second),
    )


def whole_classes(
    train: Sequence[Record],
    name: str,
    kind: Kind,
    classes: tuple[str, ...],
    decides: bool = False,
    label: str = "label",
) -> ForgetSet:
    """All records of some classes."""
    records = tuple(r for r in train if r.row[label] in classes)
    return ForgetSet(name, kind, records, classes, decides)


def one_record(train: Sequence[Record]) -> ForgetSet:
    """A single record."""
    return ForgetSet("one record", "record", drawn(train, 1, "one record"))


def group_and_one(
    random: ForgetSet, train: Sequence[Record], group: str, quick: bool
) -> tuple[ForgetSet, ...]:
    """A random set, a subgroup, which decides, and a single record; of the quick size no record."""
    records = tuple(r for r in train if r.row["subgroup"] == group)
    found = (random, ForgetSet(group, "subgroup", records, decides=not quick))
    return found if quick else (*found, one_record(train))


def margins(metrics: Sequence[tuple[str, Role]], widths: Sequence[float]) -> tuple[Margin, ...]:
    """A margin of each metric, in its units."""
    return tuple(Margin(name, w, role) for (name, role), w in zip(metrics, widths, strict=True))


def plain_recipe(task: Task, epochs: int, lr: float, batch_size: int = 64) -> Recipe:
    """Plain training of one model on all records at once."""
    return Recipe(
        task=task,
        method="retrain",
        partition=Partition(1, 1, 0.1),
        orders=1,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=AdamW(lr=lr),
    )
