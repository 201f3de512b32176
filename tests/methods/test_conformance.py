"""Every registered method passes every check; a new method needs no edit here."""

from __future__ import annotations

import pytest

from rescind import methods_of
from rescind.core.protocols import Unlearner
from rescind.testing.conformance import checks_for, run_check
from rescind.testing.trial import Trial

# three seeds and their references are trained for "keeps_utility": it is run in CI
CASES = [
    pytest.param(
        name,
        check,
        marks=[pytest.mark.slow] if check == "keeps_utility" else [],
    )
    for name in methods_of.METHODS.names()
    for check in checks_for(methods_of.make(name))
]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    folder = tmp_path_factory.mktemp("trials")
    methods: dict[str, Unlearner] = {n: methods_of.make(n) for n in methods_of.METHODS.names()}
    return {name: Trial(method, folder) for name, method in methods.items()}


@pytest.mark.parametrize(("name", "check"), CASES)
def test_a_registered_method_conforms(name: str, check: str, trials: dict[str, Trial]) -> None:
    run_check(check, trials[name])
