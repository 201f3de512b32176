"""What a benchmark is made of. A plug-in is a frozen dataclass that gives one ``Setting``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from rescind.core.dataset import Record
from rescind.core.errors import BadData
from rescind.core.judgement import Margin
from rescind.core.run import Recipe

Kind = Literal["random", "class", "top class", "subgroup", "record"]
REFERENCES = 8  # retrained models where something is decided
SHOWN = 3  # and where it is only shown


@dataclass(frozen=True, slots=True)
class ForgetSet:
    """Records to forget. ``classes`` are those that go as a whole; ``decides``: eight retrained
    models are trained and not three.
    """

    name: str
    kind: Kind
    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Downstream:
    """Labelled records that the model never trains on: what its features are worth elsewhere."""

    name: str
    records: tuple[Record, ...]
    label: str = "label"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Trained classes by likeness to a downstream set, the likest first, by two rules.

    ``agreement`` is Spearman's correlation of the two orders; ``text`` is empty and the agreement
    None where there is no text encoder. ``model`` is whose predictions they are.
    """

    downstream: str
    predictions: tuple[str, ...]
    text: tuple[str, ...] = ()
    agreement: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One benchmark at one size.

    ``train`` is all that the original model sees. ``validation`` is what a search may look at and
    ``test`` what is reported; neither is trained on. ``searched`` is the forget set of the search
    and in no table. ``models`` are recipes by name, ``subgroup`` the column that names the subgroup
    of a row; ``quick`` is a size for a look.
    """

    name: str
    what: str
    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    models: Mapping[str, Recipe]
    forget_sets: tuple[ForgetSet, ...]
    searched: ForgetSet
    margins: tuple[Margin, ...]
    methods: tuple[str, ...]
    downstream: tuple[Downstream, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    not_applicable: tuple[str, ...] = ()
    subgroup: str | None = None
    sample: int = 2_000
    seeds: int = 3
    trials: int = 8
    quick: bool = False
    sequence: tuple[int, ...] = field(default=(1, 2, 5, 10))

    def __post_init__(self) -> None:
        _refuse(self)


@runtime_checkable
class Benchmark(Protocol):
    """A plug-in of the group ``rescind.benchmarks``: its fields are its sizes."""

    def setting(self, quick: bool) -> Setting:
        """Raises ``MissingExtra`` naming the package where its data are not installed."""


def _refuse(setting: Setting) -> None:
    sets = (*setting.forget_sets, setting.searched)
    problems = [p for forget in sets for p in _problems(forget, setting)]
    train = {r.key for r in setting.train}
    for name, records in (("validation", setting.validation), ("test", setting.test)):
        if train & {r.key for r in records}:
            problems.append(f"the {name} set holds records that were trained on")
    if len({f.name for f in sets}) < len(sets):
        problems.append("two forget sets have one name")
    if problems:
        raise BadData(f"The benchmark {setting.name!r} cannot be run: {'; '.join(problems)}.")


def _problems(forget: ForgetSet, setting: Setting) -> Iterator[str]:
    keys, train = {r.key for r in forget.records}, {r.key for r in setting.train}
    if not keys:
        yield f"{forget.name!r} is empty"
    elif keys >= train:
        yield f"{forget.name!r} is all there is"
    elif not keys <= train:
        yield f"{forget.name!r} holds {len(keys - train)} records never trained on"
    for down in setting.downstream:
        if both := len(keys & {r.key for r in down.records}):
            yield f"{forget.name!r} shares {both} records with {down.name!r}"
