"""Run the command line in this process and look at what it leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from rescind.cli.main import app
from rescind.workspace import open_workspace


@dataclass(frozen=True)
class Place:
    """A workspace, the recipe it was trained by and the request that was closed in it, if any."""

    folder: Path
    recipe: Path
    request: str = ""

    @property
    def at(self) -> list[str]:
        return ["--workspace", str(self.folder)]


def rescind(*args: str | Path, answer: str = "") -> Result:
    """Run a command in this process; a bug keeps its exception in the result."""
    return CliRunner().invoke(app, [str(a) for a in args], input=answer)


def ok(*args: str | Path, answer: str = "") -> str:
    """Standard output of a command that must end well."""
    result = rescind(*args, answer=answer)
    assert result.exit_code == 0, result.output
    return result.stdout


def parsed(*args: str | Path) -> Any:
    """What a command says with --json."""
    return json.loads(ok(*args, "--json"))


def frozen(folder: Path) -> tuple[str, tuple[int, str]]:
    """What must not change when a command refuses: what is served and forgotten, and the head."""
    ws = open_workspace(folder)
    return ws.state_digest(), ws.head()
