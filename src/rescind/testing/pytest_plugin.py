"""``pytest --rescind-method file.py:Class``: every conformance check as a test of its own.

Loaded by every pytest run where rescind is installed, so nothing heavy is imported before use.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rescind.testing.trial import Trial

OPTION = "--rescind-method"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("rescind").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help="check an unlearning method, by its registered name or as file.py:Class; repeatable",
    )


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose, so that they choose among these too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add one test a check for each method that the option names."""
    names: list[str] = config.getoption(OPTION)
    if not names:
        return
    from rescind import methods_of
    from rescind.testing.conformance import checks_for
    from rescind.testing.trial import Trial

    folder = tempfile.TemporaryDirectory(prefix="rescind-")
    config.add_cleanup(folder.cleanup)
    for name in names:
        trial = Trial(methods_of.make(name), Path(folder.name))
        for check in checks_for(trial.method):
            item: ConformanceItem = ConformanceItem.from_parent(session, name=f"{name}::{check}")
            item.trial, item.check = trial, check
            items.append(item)


class ConformanceItem(pytest.Item):
    """One check of one method."""

    trial: Trial
    check: str

    def runtest(self) -> None:
        """Run the check."""
        from rescind.testing.conformance import run_check

        run_check(self.check, self.trial)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What the check said; a traceback only where the method itself broke."""
        from rescind.testing.conformance import NotConforming

        if isinstance(excinfo.value, NotConforming):
            return f"{excinfo.value.check}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the test stands: nowhere but on the command line."""
        return Path(), None, self.name
