"""Every registered method serves a kind of answer or says in grades why not."""

from __future__ import annotations

import pytest

from rescind import methods_of
from rescind.benchmarks.choosing import plain_recipe
from rescind.benchmarks.tried import EXACT, editing
from rescind.core.dataset import Record, Split
from rescind.core.errors import Refused, UnsupportedModel
from rescind.core.task import Target, Task
from rescind.methods.base import ANY
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.models import trained_model
from rescind.training.modules import CausalLM, Classification, Regression

MLP = {"inputs": 2, "hidden": (8,)}
TASKS: dict[Target, Task] = {
    "classes": Classification("rescind.training.zoo:mlp", ("a", "b"), (2,), MLP | {"outputs": 2}),
    "numbers": Regression("rescind.training.zoo:mlp", (2,), 0.5, MLP | {"outputs": 1}),
    "tokens": CausalLM("rescind.training.zoo:gpt", 24, {"width": 32, "depth": 2, "length": 24}),
}
EDITING = [n for n in methods_of.METHODS.names() if "/" not in n and n not in EXACT]
PAIRS = [(name, target) for name in EDITING for target in TASKS]
GRADES = ("Never", "Not yet", "Use")
FEWEST: dict[Target, int] = {"classes": 18, "numbers": 8, "tokens": 12}


def records(n: int = 12) -> list[Record]:
    rows = [
        {"array": [float(i % 5), 1.0], "label": "ab"[i % 2], "value": float(i), "text": f"row {i}"}
        for i in range(n)
    ]
    return [Record(f"r{i:02d}", row, "") for i, row in enumerate(rows)]


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_what_a_method_does_not_serve_is_refused_in_grades(name: str, target: Target) -> None:
    served = target in getattr(methods_of.METHODS.load(name), "serves", ANY)
    recipe = plain_recipe(TASKS[target], 1, 1e-3)
    model, some = MemoryModel(trained_model(recipe)), records()
    split = Split(some[:2], some[2:])
    try:
        methods_of.make(name).unlearn(model, split, run_of(recipe))
    except UnsupportedModel as error:
        assert error.why.startswith(GRADES) and error.do, name
        assert model.edited is None
        if served:  # the answers are served; it is this module, or being no linear model
            assert error.why.startswith(("Not yet", "Never"))
    except Refused:
        assert served  # nothing of these few records stands out
    else:
        assert served


@pytest.mark.parametrize("target", TASKS)
def test_every_target_has_methods(target: Target) -> None:
    assert len(editing(target)) >= FEWEST[target]
