"""Canonical JSON: every record survives it, equal records have equal digests, errors name names."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import math
import pkgutil
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rescind.core
from rescind.core import canonical
from rescind.core.audit import Case
from rescind.core.certificate import Certificate
from rescind.core.dataset import Split
from rescind.core.errors import BadParameter
from rescind.core.evidence import Measurement, Proof
from rescind.core.guarantee import Certified, Empirical, Exact, Guarantee
from rescind.core.partition import Cell, Partition
from rescind.core.run import AdamW, Lora, Recipe, Run
from rescind.core.search import Range
from rescind.core.version import ModelVersion

# why a record is not rebuilt by ``build`` alone
APART = {
    Certificate: "holds the signed bytes as they are",
    Split: "holds rows, which are never written",
    Recipe: "its task is rebuilt by the part that knows the tasks",
    Run: "holds a recipe",
    Case: "holds tensors, which are read and never written as a record",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)  # fmt: skip
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
RATES = st.floats(0, allow_nan=False, allow_infinity=False)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=3),
    int: st.integers(),
    float: FLOATS,
    bool: st.booleans(),
    type(None): st.none(),
    Any: JSON,
    Partition: st.builds(
        Partition, st.integers(1, 9), st.integers(1, 9), st.floats(0, 1, exclude_max=True)
    ),
    AdamW: st.builds(AdamW, RATES, RATES, RATES),
    Lora: st.builds(
        Lora,
        st.integers(1, 99),
        st.floats(0, 1e9, exclude_min=True),
        st.floats(0, 1, exclude_max=True),
        st.lists(st.text("abc.", min_size=1), min_size=1, max_size=2).map(tuple),
    ),
    Range: st.builds(Range, st.floats(0.1, 1), st.floats(2, 9), st.sampled_from(["linear", "log"]))
    | st.builds(Range, st.just(1.0), st.integers(2, 9).map(float), st.just("whole")),
}


def records() -> list[type]:
    """Every dataclass of core, found by looking, so that a new one is tested without an edit."""
    found = set()
    for module in pkgutil.iter_modules(rescind.core.__path__):
        names = vars(importlib.import_module(f"rescind.core.{module.name}"))
        found |= {v for v in names.values() if isinstance(v, type) and dataclasses.is_dataclass(v)}
    return sorted(found - set(APART), key=lambda cls: cls.__name__)


@functools.cache
def values(hint: Any) -> st.SearchStrategy[Any]:
    """A strategy for a field's type; few items each, since records hold records."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        names = [f.name for f in dataclasses.fields(hint)]
        return st.builds(typing.cast(Any, hint), **{n: values(hints[n]) for n in names})
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(arg) for arg in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is frozenset:
        return st.frozensets(values(args[0]), max_size=2)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values(args[0]), max_size=1).map(tuple)
    if origin is tuple:
        return st.tuples(*[values(arg) for arg in args])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=4), values(args[1]), max_size=1)
    raise TypeError(f"no strategy for {hint}")


def test_the_records_were_found() -> None:
    assert len(records()) >= 25
    assert {Exact, Cell, Measurement, ModelVersion} <= set(records())


@pytest.mark.parametrize("cls", records(), ids=lambda cls: cls.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_record_read_back_is_the_record(cls: type, data: st.DataObject) -> None:
    record = data.draw(values(cls))
    written = canonical.dumps(record)
    again: object = canonical.build(cls, json.loads(written))
    assert again == record
    assert canonical.dumps(again) == written


@dataclasses.dataclass(frozen=True)
class AnyTask:
    kind: str = "any"


def test_a_recipe_is_read_back_around_its_task() -> None:
    recipe: Any = Recipe(task=typing.cast(Any, AnyTask()), deletion_probabilities=(0.5, 1))
    data = {**json.loads(canonical.dumps(recipe)), "task": recipe.task}
    again = canonical.build(Recipe, data)
    assert again == recipe
    assert canonical.digest(again) == canonical.digest(recipe)


@given(JSON, JSON)
def test_different_values_have_different_bytes(a: Any, b: Any) -> None:
    same = canonical.dumps(a) == canonical.dumps(b)
    assert same == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical.dumps(value) == canonical.dumps(backwards)


def test_bytes_are_sorted_unspaced_utf8() -> None:
    value = {"b": (1, 2.5, None, True), "a": "é\n", "c": frozenset({"y", "x"})}
    assert canonical.dumps(value) == '{"a":"é\\n","b":[1,2.5,null,true],"c":["x","y"]}'.encode()


GOLDEN: list[tuple[object, str]] = [
    (Exact("retrain"), '{"kind":"exact","sense":"retrain"}'),
    (Exact("never_saw"), '{"kind":"exact","sense":"never_saw"}'),
    (
        Certified(1, 1e-5, "convex"),
        '{"assumption":"convex","delta":1e-05,"epsilon":1.0,"kind":"certified"}',
    ),
    (Empirical("no replay"), '{"because":"no replay","kind":"empirical"}'),
    (Cell(1, 2), '{"shard":1,"slice":2}'),
    (Partition(3, 3, 0.1), '{"shards":3,"slices":3,"test_share":0.1}'),
    (
        Lora(8, 16.0, 0.0, ("query", "value")),
        '{"alpha":16.0,"dropout":0.0,"rank":8,"targets":["query","value"]}',
    ),
    (AdamW(2e-3, 1e-2, 0.01), '{"head_lr":0.01,"lr":0.002,"weight_decay":0.01}'),
]


@pytest.mark.parametrize(("record", "text"), GOLDEN, ids=lambda value: str(value)[:24])
def test_bytes_never_change(record: object, text: str) -> None:
    assert canonical.dumps(record) == text.encode()
    assert canonical.digest(record) == hashlib.sha256(text.encode()).hexdigest()


def test_a_digest_never_changes() -> None:
    # from: printf '%s' '{"kind":"exact","sense":"retrain"}' | sha256sum
    expected = "1bfb1b8b9b1ddd802a5b1abf80689ad436d62d0def88c428e6bd69f6d46da670"
    assert canonical.digest(Exact("retrain")) == expected


def test_claims_of_different_kinds_have_different_digests() -> None:
    @dataclasses.dataclass(frozen=True)
    class Untagged:
        because: str

    claims = [Exact("retrain"), Exact("never_saw"), Empirical("x"), Untagged("x")]
    assert len({canonical.digest(claim) for claim in claims}) == len(claims)


def test_an_int_in_a_float_field_gives_the_digest_of_the_float() -> None:
    assert canonical.digest(Lora(alpha=16)) == canonical.digest(Lora(alpha=16.0))
    whole = Measurement("accuracy", "v1", 1, (0, 1), 9)
    assert canonical.digest(whole) == canonical.digest(
        Measurement("accuracy", "v1", 1.0, (0.0, 1.0), 9)
    )
    assert canonical.dumps(Lora(rank=8)).find(b'"rank":8,') > 0


def test_a_digest_of_bytes_is_of_those_bytes() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical.digest(b"") == empty


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_carry_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical.dumps({"x": [bad]})
    with pytest.raises(BadParameter, match="finite"):
        canonical.build(AdamW, {"lr": bad})


def test_sets_are_sorted_whatever_they_hold() -> None:
    assert canonical.plain(frozenset({"b", "a", "c"})) == ["a", "b", "c"]
    cells = {Cell(q, k) for q in range(3) for k in range(3)}
    assert canonical.dumps(cells) == canonical.dumps(frozenset(sorted(cells, reverse=True)))
    assert canonical.plain({"1", 1, None}) == ["1", 1, None]


def test_keys_that_become_the_same_text_are_refused() -> None:
    with pytest.raises(BadParameter, match="same text"):
        canonical.dumps({1: "a", "1": "b"})


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_keyed_hashes_tell_lists_apart(a: list[str], b: list[str]) -> None:
    assert (canonical.keyed(b"k", *a) == canonical.keyed(b"k", *b)) == (a == b)


def test_keyed_hashes_depend_on_the_key_and_take_bytes() -> None:
    assert canonical.keyed(b"k", "a") != canonical.keyed(b"l", "a")
    assert canonical.keyed(b"k", b"a") == canonical.keyed(b"k", "a")


WRONG: list[tuple[type, dict[str, Any], str]] = [
    (AdamW, {"lrr": 1.0}, "Did you mean 'lr'?"),
    (AdamW, {"zzz": 1.0}, "Known fields: lr, head_lr, weight_decay."),
    (AdamW, {"lr": "fast"}, "It must be of type float."),
    (AdamW, {"lr": True}, "It must be of type float."),
    (Lora, {"rank": True}, "It must be of type int."),
    (Lora, {"rank": 1.0}, "It must be of type int."),
    (Lora, {"targets": "query"}, "It must be a list."),
    (Lora, {"targets": [1]}, "It must be of type str."),
    (Exact, {"sense": "retrained"}, "['retrain', 'never_saw']"),
    (Exact, {}, "Exact lacks sense."),
    (Measurement, {"name": "a", "version": "v", "value": 1, "interval": [1], "n": 1}, "have 2"),
]


@pytest.mark.parametrize(("cls", "data", "said"), WRONG, ids=lambda v: str(v)[:30])
def test_a_wrong_field_is_named(cls: type, data: dict[str, Any], said: str) -> None:
    with pytest.raises(BadParameter) as caught:
        canonical.build(cls, data)
    assert said in str(caught.value)


VERSION = {"id": "v", "run": "r", "parent": None, "weights": "w", "forgotten": None}


@pytest.mark.parametrize(
    "claim",
    [{"kind": "perfect"}, {"sense": "retrain", "kind": "certified"}, {"because": 1}, "exact", None],
    ids=str,
)
def test_a_claim_that_is_no_guarantee_is_refused(claim: Any) -> None:
    with pytest.raises(BadParameter):
        canonical.build(ModelVersion, {**VERSION, "guarantee": claim})


@dataclasses.dataclass(frozen=True)
class MaybeProved:
    proof: Proof | None = None


def test_a_record_that_may_be_absent_is_rebuilt_by_its_type() -> None:
    """The kind of a proof has no default, so it cannot be found by its kind."""
    record = MaybeProved(Proof("replay", "identical"))
    assert canonical.build(MaybeProved, canonical.plain(record)) == record
    assert canonical.build(MaybeProved, {"proof": None}) == MaybeProved()


@pytest.mark.parametrize("claim", [Exact("retrain"), Certified(1.0, 0.0, "a"), Empirical("b")])
def test_unions_are_told_apart_by_kind(claim: Guarantee) -> None:
    data = {**VERSION, "guarantee": canonical.plain(claim)}
    assert canonical.build(ModelVersion, data).guarantee == claim


def test_a_nested_record_must_be_a_mapping() -> None:
    with pytest.raises(BadParameter, match="mapping"):
        canonical.build(Recipe, {"task": AnyTask(), "adapter": "lora"})
    with pytest.raises(BadParameter, match="kind is 'zero'"):
        canonical.build(Proof, {"kind": "zero", "outcome": "identical"})


@dataclasses.dataclass(frozen=True)
class Named:
    cells: Mapping[str, Cell]
    shares: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    free: Mapping[str, object] = dataclasses.field(default_factory=dict)


def test_records_in_a_mapping_are_read_back_as_records() -> None:
    named = Named({"a": Cell(1, 2)}, {"b": 1.0, "c": None}, {"d": [1, "x"]})
    again = canonical.build(Named, json.loads(canonical.dumps(named)))
    assert again == named
    assert canonical.build(Named, {"cells": {"a": Cell(1, 2)}}).cells == named.cells
    share = canonical.build(Named, {"cells": {}, "shares": {"b": 1}}).shares["b"]
    assert type(share) is float


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cells": {"a": {"shard": 1, "slice": "2"}}}, "slice is '2'"),
        ({"cells": {"a": {"shard": 1}}}, "Cell lacks slice"),
        ({"cells": {"a": 3}}, r"cells\['a'\] is 3"),
        ({"cells": {}, "shares": {"b": "much"}}, r"shares\['b'\] is 'much'"),
    ],
)
def test_a_value_in_a_mapping_is_checked_and_named(data: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        canonical.build(Named, data)
