"""The step that is taken is the one nearest to the client that was retrained."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The rule, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("chosen_steps")
    sys.modules.pop("chosen_steps", None)


def test_more_than_the_retrained_loses_is_as_far_as_less(steps: ModuleType) -> None:
    weak, right, strong = (steps.Step("fisher", None, a) for a in (0.001, 0.002, 0.004))
    learned = steps.Step("random", "keep 1", 0.002)
    cells = [
        {
            "edits": {
                "retrained": {"gone": 0.4 + s, "kept": 0.9},
                str(weak): {"gone": 0.7 + s, "kept": 0.9},
                str(right): {"gone": 0.45 + s, "kept": 0.85},
                str(strong): {"gone": 0.1 + s, "kept": 0.9},
                str(learned): {"gone": 0.4 + s, "kept": 0.2},
            }
        }
        for s in (0.0, 0.1)
    ]
    rows = {"step": [strong, weak, right], "learned step": [learned]}
    found = steps.chosen_of(cells, rows, ("gone", "kept"))
    assert found["step"]["distances"] == {str(strong): 0.15, str(weak): 0.15, str(right): 0.05}
    assert steps.steps_of(found, rows) == {"step": right, "learned step": learned}
    assert found["learned step"]["distances"] == {str(learned): 0.35}
    only = steps.chosen_of(cells, {"step": [strong, weak]}, ("gone", "kept"))
    assert only["step"]["step"] == str(strong)  # the first of equal ones
