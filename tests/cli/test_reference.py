"""Every command and option says what it does, and the reference page is what they say."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rescind.cli.output import MEANING, Exit
from rescind.cli.reference import commands, reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
COMMON = {"workspace", "as_json", "help"}
TARGET = {"key", "file", "subject", "words", "concept"}  # exactly one of them: one choice
NAMES = dict(commands())


def test_all_verbs_are_there() -> None:
    assert set(NAMES) == {
        *("init", "train", "demo", "predict", "export", "plan", "process", "rebuild", "erase"),
        *("evaluate", "audit", "bench", "list audits", "list benchmarks"),
        *(
            "report",
            "prove",
            "receipt",
            "backup",
            "restore",
            "list methods",
            "list models",
            "key rotate",
        ),
        *(f"request {verb}" for verb in ("add", "list", "show", "cancel", "reject", "lift")),
        *(f"certificate {verb}" for verb in ("show", "verify", "export", "key")),
        *(f"db {verb}" for verb in ("verify", "head", "suppressed", "consistency", "consistent")),
        *(f"seeds {verb}" for verb in ("key", "make", "ask")),
        *(
            f"zk {verb}"
            for verb in (
                "key",
                "mask",
                "order",
                "commit",
                "enter",
                "close",
                "compensate",
                "prove",
                "certify",
                "verify",
                "pick",
                "open",
                "take",
                "spot",
            )
        ),
    }


@pytest.mark.parametrize("path", NAMES)
def test_every_command_and_option_has_help(path: str) -> None:
    command = NAMES[path]
    assert command.help
    assert [p.name for p in command.params if not p.help] == []


@pytest.mark.parametrize("path", NAMES)
def test_at_most_eight_options_a_command(path: str) -> None:
    own = {p.name for p in NAMES[path].params if p.param_type_name == "option"} - COMMON
    assert len({"target" if path != "train" and n in TARGET else n for n in own}) <= 8


@pytest.mark.parametrize("path", NAMES)
def test_every_command_writes_json(path: str) -> None:
    assert "as_json" in {p.name for p in NAMES[path].params}


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Exit)


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == reference(), "python -m rescind.cli.reference docs/reference/cli.md"


def test_help_needs_no_torch_and_little_time() -> None:
    code = (
        "import sys, json\nfrom rescind.cli.main import run\nsys.argv = ['rescind', '--help']\n"
        "try:\n    run()\nfinally:\n    sys.stderr.write(json.dumps(list(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = set(json.loads(found.stderr))
    assert not loaded & {"torch", "numpy", "transformers", "sqlalchemy", "jinja2", "rich", "tqdm"}
    assert "rescind.workspace" not in loaded
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.5  # seconds of one core; the clock on the wall belongs to the machine
