"""Every error says what, why and what to do, and survives the way between processes."""

from __future__ import annotations

import copy
import inspect
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest

from rescind.core import errors
from rescind.core.errors import ErasureIncomplete, LedgerInconsistent, RescindError, UnknownKey

TEXTS = ("It broke.", "The file is gone.", "Type `rescind init`.")
FIRST: dict[str, tuple[str, Any]] = {
    "VerificationFailed": ("check", "signature"),
    "LedgerInconsistent": ("at", 3),
    "ErasureIncomplete": ("left", ("a", "b")),
}
CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, RescindError)
]


def made(cls: type[RescindError]) -> RescindError:
    if cls.__name__ in FIRST:
        build: Any = cls
        error: RescindError = build(FIRST[cls.__name__][1], *TEXTS)
        return error
    return cls(*TEXTS)


def test_the_classes_were_found() -> None:
    assert len(CLASSES) >= 20
    assert {c.__name__ for c in CLASSES} >= {*FIRST, "UnknownPlugin", "BadParameter"}


@pytest.mark.parametrize("cls", CLASSES)
def test_its_text_is_one_paragraph_of_three_sentences(cls: type[RescindError]) -> None:
    assert str(made(cls)) == " ".join(TEXTS)
    assert (made(cls).what, made(cls).why, made(cls).do) == TEXTS


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_empty_is_left_out(cls: type[RescindError]) -> None:
    error = made(cls)
    error.why = ""
    assert str(error) == f"{TEXTS[0]} {TEXTS[2]}"


@pytest.mark.parametrize("cls", CLASSES)
def test_it_is_the_same_on_the_other_side_of_a_pipe(cls: type[RescindError]) -> None:
    error = made(cls)
    for other in (ForkingPickler.loads(ForkingPickler.dumps(error)), copy.copy(error)):
        assert type(other) is cls
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize("name", FIRST)
def test_what_failed_is_there_to_be_read(name: str) -> None:
    field, value = FIRST[name]
    cls = next(c for c in CLASSES if c.__name__ == name)
    assert getattr(made(cls), field) == value


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not RescindError])
def test_a_caller_can_catch_the_builtin_it_expects(cls: type[RescindError]) -> None:
    builtins = [b for b in cls.__mro__ if b.__module__ == "builtins"]
    assert builtins[0] not in (Exception, BaseException)


def test_an_unknown_key_is_not_quoted_as_key_errors_are() -> None:
    with pytest.raises(KeyError) as caught:
        raise UnknownKey("No record 'a'.")
    assert str(caught.value) == "No record 'a'."


def test_places_are_kept_as_given() -> None:
    assert LedgerInconsistent(7, "x").at == 7
    assert ErasureIncomplete(("a",), "x").left == ("a",)
