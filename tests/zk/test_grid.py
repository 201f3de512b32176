"""Scales that are published come from a grid, and others are refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from parties import made

from rescind.core.errors import BadParameter
from rescind.zk import grid


@pytest.mark.parametrize("value", [1e-9, 0.0123, 0.5, 0.51, 1.0, 3.1, 5.0, 977.0, 1e12])
def test_a_scale_goes_up_by_less_than_a_quarter_to_one_of_four_in_each_octave(value: float) -> None:
    found = grid.up(value)
    assert value <= found < 1.25 * value or found == value
    assert grid.up(found) == found
    grid.check(found, "it")
    exact = Fraction(found)
    while exact.denominator > 1:
        exact *= 2
    odd = exact.numerator
    while odd % 2 == 0:
        odd //= 2
    assert odd in {1, 3, 5, 7}


def test_whole_numbers_stay_whole() -> None:
    assert [grid.up_whole(n) for n in (0, 0.2, 7, 9, 1000)] == [1, 1, 7, 10, 1024]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 10**400])
def test_what_is_no_scale_is_refused(value: float) -> None:
    with pytest.raises(BadParameter, match="no number above 0"):
        grid.up(value)


@pytest.mark.parametrize("field", ["gradient_step", "damping"])
def test_an_epoch_off_the_grid_is_refused(field: str) -> None:
    epoch = made().epoch
    t = epoch.tensors[0]
    changes: dict[str, Any] = {field: 9 if field == "damping" else t.gradient_step * 1.01}
    off = replace(t, **changes)
    with pytest.raises(BadParameter, match="not on the grid"):
        replace(epoch, tensors=(off, *epoch.tensors[1:]))
