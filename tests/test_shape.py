"""The shape of the code: who may import whom, how long things are, what is never written.

Each rule is a function from a parsed file to its complaints, tried on a bad line as well as on all
of ``src``, so that a rule which stopped seeing anything is seen itself.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rescind

ROOT = Path(__file__).parents[1] / "src" / "rescind"
PLUGINS = {
    "audits", "data", "executors", "methods", "metrics", "proofs", "serving", "storage", "training",
}  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = {"torch", "transformers", "peft"}
# audits train shadows and read features and margins as metrics do: decision 10
MAY_USE = {"methods": {"training"}, "serving": {"training"}, "audits": {"training", "metrics"}}
ABOVE = {
    "benchmarks",
    "cli",
    "demo",
    "testing",
    "zk",
}  # folders that are no plug-ins and stand on the workspace
# the command line talks to the workspace; these few it may ask by itself, and a user who seeds
# records has no workspace
CLI_MAY = {
    "benchmarks",
    "cli",
    "core",
    "demo",
    "workspace",
    "registry",
    "settings",
    "render",
    "progress",
    "proving",
    "users_seeds",
    "zk",
}
CLI_READS = ("rescind.proofs.verifier", "rescind.proofs.signing", "rescind.data.files")
LIGHT = {
    "training/tasks.py", "training/modules.py", "training/factories.py", "training/recipes.py",
}  # fmt: skip
WORKER = "executors/worker.py"  # the outermost loop of a worker hands any error to the caller
LONGEST = {"workspace.py": 300}


@dataclass(frozen=True)
class File:
    """A source file by its path below ``src/rescind``."""

    path: str
    text: str

    @property
    def folder(self) -> str:
        return self.path.partition("/")[0] if "/" in self.path else ""

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


FILES = [File(p.relative_to(ROOT).as_posix(), p.read_text()) for p in sorted(ROOT.rglob("*.py"))]
Rule = Callable[[File], Iterator[str]]


def imports(tree: ast.AST, inside_functions: bool = True) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that is imported; ``from a import b`` gives ``a.b``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((node.lineno, f"{dots}{node.module or ''}.{a.name}") for a in node.names)
        elif inside_functions or not isinstance(node, FUNCTIONS):
            yield from imports(node, inside_functions)


def without_type_checking(tree: ast.Module) -> ast.Module:
    """The module as it runs."""

    class Cut(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            typing_only = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
            return ast.Pass() if typing_only and not node.orelse else self.generic_visit(node)

    cut: ast.Module = ast.fix_missing_locations(Cut().visit(tree))
    return cut


def part(name: str) -> str:
    """The folder or file below rescind that a dotted name lies in; empty for other packages."""
    words = name.split(".")
    return words[1] if words[0] == "rescind" and len(words) > 1 else ""


def core_knows_only_itself(file: File) -> Iterator[str]:
    if file.folder != "core":
        return
    for line, name in imports(without_type_checking(file.tree)):
        top = name.split(".")[0]
        if part(name) != "core" and top not in sys.stdlib_module_names:
            yield f"{line}: core imports {name}"


def plugins_do_not_know_each_other(file: File) -> Iterator[str]:
    if file.folder not in PLUGINS:
        return
    allowed = {"core", file.folder} | MAY_USE.get(file.folder, set())
    for line, name in imports(file.tree):
        if name.split(".")[0] == "rescind" and part(name) not in allowed:
            yield f"{line}: {file.folder} imports {name}"


def nothing_below_knows_the_command_line(file: File) -> Iterator[str]:
    for line, name in imports(file.tree):
        if part(name) == "cli" and file.folder != "cli" and file.path != "__main__.py":
            yield f"{line}: imports {name}"


def the_command_line_asks_the_workspace(file: File) -> Iterator[str]:
    if file.folder != "cli":
        return
    for line, name in imports(file.tree):
        reads = name.startswith(CLI_READS)
        known = CLI_MAY | {"", *rescind.__all__}
        if part(name) not in known and not reads:
            yield f"{line}: cli imports {name}"


def imports_are_absolute(file: File) -> Iterator[str]:
    for line, name in imports(file.tree):
        if name.startswith("."):
            yield f"{line}: relative import {name}"


def imports_stay_light(file: File) -> Iterator[str]:
    if file.folder in ("training", "serving") and file.path not in LIGHT:
        return
    for line, name in imports(without_type_checking(file.tree), inside_functions=False):
        if name.split(".")[0] in HEAVY:
            yield f"{line}: {name} is imported with the module"


def files_are_short(file: File) -> Iterator[str]:
    length, longest = len(file.text.splitlines()), LONGEST.get(file.path, 500)
    if length > longest:
        yield f"{length} lines, at most {longest}"


def functions_are_short(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, FUNCTIONS):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > 60:
                yield f"{node.lineno}: {node.name} has {length} lines, at most 60"


def folders_are_shallow(file: File) -> Iterator[str]:
    if file.path.count("/") > 2:
        yield "deeper than two folders"


def nothing_is_asserted_or_printed(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{node.lineno}: print"


def nothing_is_pickled(file: File) -> Iterator[str]:
    for line, name in imports(file.tree):
        if {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"} & {*name.split(".")}:
            yield f"{line}: {name}"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            yield f"{node.lineno}: torch.load"


def no_error_is_swallowed(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ExceptHandler) and file.path != WORKER:
            caught = "" if node.type is None else ast.unparse(node.type)
            broad = not caught or {"Exception", "BaseException"} & {*caught.strip("()").split(", ")}
            last = node.body[-1]
            passed_on = isinstance(last, ast.Raise) and last.exc is None
            if broad and not passed_on:
                yield f"{node.lineno}: except {caught}"


def no_parameters_are_tunnelled(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, (*FUNCTIONS, ast.Lambda)) and node.args.kwarg is not None:
            yield f"{node.lineno}: **{node.args.kwarg.arg}"


def what_is_public_is_explained(file: File) -> Iterator[str]:
    tree = file.tree
    if tree.body and not ast.get_docstring(tree):
        yield "the module has no docstring"
    for node in tree.body:
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{node.lineno}: {node.name} has no docstring"


def no_drawer_for_everything(file: File) -> Iterator[str]:
    words = {"utils", "util", "helpers", "helper", "common", "misc"}
    if words & set(file.path.removesuffix(".py").split("/")):
        yield "a name that says nothing"


RULES: dict[Rule, list[File]] = {
    core_knows_only_itself: [
        File("core/x.py", "import numpy"),
        File("core/x.py", "from rescind.data import files"),
        File("core/x.py", "from rescind import workspace"),
        File("core/x.py", "def f():\n    import torch"),
        File("core/x.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
    ],
    plugins_do_not_know_each_other: [
        File("metrics/x.py", "from rescind.training.loop import train"),
        File("training/x.py", "def f():\n    import rescind.methods.sisa"),
        File("methods/s3t/x.py", "from rescind.storage.sql import SqlLedger"),
        File("storage/x.py", "if TYPE_CHECKING:\n    from rescind.workspace import Workspace"),
        File("data/x.py", "from rescind import settings"),
    ],
    nothing_below_knows_the_command_line: [
        File("workspace.py", "from rescind.cli.output import table"),
        File("data/x.py", "import rescind.cli"),
    ],
    the_command_line_asks_the_workspace: [
        File("cli/x.py", "from rescind.storage.sql import SqlLedger"),
        File("cli/x.py", "def f():\n    from rescind.proofs.merkle import root"),
        File("cli/x.py", "from rescind import pipeline"),
    ],
    imports_are_absolute: [
        File("cli/x.py", "from . import y"),
        File("data/x.py", "from ..core import y"),
    ],
    imports_stay_light: [
        File("pipeline.py", "import torch"),
        File("methods/x.py", "from torch import nn"),
        File("cli/x.py", "try:\n    import transformers.models\nexcept ImportError:\n    raise"),
        File("training/tasks.py", "import peft"),
        File("metrics/x.py", "class A:\n    import torch"),
    ],
    files_are_short: [
        File("data/x.py", "x = 1\n" * 501),
        File("workspace.py", "x = 1\n" * 301),
    ],
    functions_are_short: [
        File("data/x.py", "class A:\n    def f(self):\n" + "        x = 1\n" * 60),
        File("data/x.py", "async def f():\n" + "    x = 1\n" * 60),
    ],
    folders_are_shallow: [File("methods/s3t/deep/x.py", "")],
    nothing_is_asserted_or_printed: [
        File("data/x.py", "def f(x):\n    assert x"),
        File("data/x.py", "print(1)"),
    ],
    nothing_is_pickled: [
        File("data/x.py", "import pickle"),
        File("data/x.py", "def f():\n    from joblib import load"),
        File("data/x.py", "x = torch.load(path)"),
        File("data/x.py", "from multiprocessing.reduction import pickle"),
    ],
    no_error_is_swallowed: [
        File("data/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
        File("data/x.py", "try:\n    f()\nexcept:\n    pass"),
        File("data/x.py", "try:\n    f()\nexcept (OSError, BaseException) as e:\n    pass"),
        File("data/x.py", "try:\n    f()\nexcept Exception as e:\n    raise ValueError from e"),
    ],
    no_parameters_are_tunnelled: [
        File("data/x.py", "def f(a, **kwargs):\n    return a"),
        File("data/x.py", "x = lambda **options: options"),
    ],
    what_is_public_is_explained: [
        File("data/x.py", "x = 1"),
        File("data/x.py", '"""It is."""\ndef f():\n    return 1'),
        File("data/x.py", '"""It is."""\nclass A:\n    x = 1'),
    ],
    no_drawer_for_everything: [File("data/utils.py", ""), File("helpers/x.py", "")],
}
# what the rules must let pass: they look at code, not at words in it
FINE = File(
    "methods/x.py",
    '"""Never print, assert or pickle; except Exception is for workers."""\n'
    "from __future__ import annotations\n"
    "from typing import TYPE_CHECKING\n"
    "from rescind.core.run import Run\n"
    "from rescind.training.loop import train\n"
    "if TYPE_CHECKING:\n    import torch\n"
    "def f(a, *rest):\n"
    '    """Explained."""\n'
    "    import torch\n"
    "    try:\n        return torch.ones(a)\n"
    "    except (OSError, ValueError):\n        return None\n"
    "    except BaseException:\n        a.undo()\n        raise\n"
    "def _private():\n    return dict(**{})\n",
)


def name_of(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    broken = [f"{file.path}:{complaint}" for file in FILES for complaint in rule(file)]
    assert broken == []


BAD = [(rule, file) for rule, files in RULES.items() for file in files]


@pytest.mark.parametrize(("rule", "bad"), BAD, ids=lambda value: name_of(value))
def test_the_rule_sees_what_breaks_it(rule: Rule, bad: File) -> None:
    assert len(list(rule(bad))) == 1


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_rule_lets_good_code_pass(rule: Rule) -> None:
    assert list(rule(FINE)) == []


def test_the_files_were_found() -> None:
    assert len(FILES) > 30
    assert {file.folder for file in FILES} >= PLUGINS | {"core", ""}


def test_every_folder_has_its_place_in_the_picture() -> None:
    assert {file.folder for file in FILES} <= PLUGINS | ABOVE | {"core", ""}


def test_half_of_the_files_have_at_most_120_lines() -> None:
    lengths = [len(file.text.splitlines()) for file in FILES if file.text.strip()]
    assert statistics.median(lengths) <= 120


@pytest.mark.parametrize("name", rescind.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(rescind, name) is not None
    assert name in dir(rescind)


def test_every_public_name_is_known_to_type_checkers() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {
        a.asname or a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names
    }
    assert names | {"__version__"} == set(rescind.__all__)
    assert set(rescind._WHERE) == names


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        rescind.opne  # noqa: B018
