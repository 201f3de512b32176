"""One thread, fixed seeds and no network, before anything imports torch or a tokenizer."""

from __future__ import annotations

import os
import random
import sys

import pytest
from hypothesis import settings

from rescind.executors.inline import InlineExecutor

os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
)
LONGEST = ("test_demo.py", "test_quick.py", "test_cheat_matrix.py", "test_example.py")
# a busy machine makes an example slow, not wrong; derandomized, so that a red run can be repeated
settings.register_profile("rescind", deadline=None, derandomize=True)
settings.load_profile("rescind")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed what is loaded; torch is never imported for a test that does not need it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def replays_stay_in_this_process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting Python and torch takes seconds; tests marked ``fresh`` replay as users do."""
    if request.node.get_closest_marker("fresh") is None:
        monkeypatch.setattr("rescind.replay.fresh_executor", lambda b: InlineExecutor())


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own RESCIND_* variables must not decide a test."""
    for name in [n for n in os.environ if n.startswith("RESCIND_")]:
        monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first: at the end one process would wait for the other."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
