"""Errors: one clear message and an exit code each, no traceback, and nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from running import Place, frozen, rescind

from rescind.cli import failures, main
from rescind.cli.output import Exit, one_line, table
from rescind.core import errors
from rescind.core.errors import RescindError

KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2Vw\n-----END PUBLIC KEY-----\n"
ADD = ("request", "add", "--yes")
# command, exit code, what the message says; {names} are files of the fixture ``bad``
TABLE: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no file of keys": ((*ADD, "--from", "{missing}"), 1, "There is nothing at"),
    "keys not UTF-8": ((*ADD, "--from", "{latin}"), 1, "is not utf-8 (byte 0xe9)"),
    "no keys": ((*ADD, "--from", "{empty}"), 1, "holds no rows"),
    "only a head": ((*ADD, "--from", "{head}"), 1, "holds no rows"),
    "no column key": ((*ADD, "--from", "{other}"), 1, "has no column 'key'"),
    "an empty key": ((*ADD, "--from", "{blank}"), 1, "has no key in row 2"),
    "unknown key": ((*ADD, "--key", "r1", "--key", "r999"), 1, "1 of 2 keys are not here: r999"),
    "unknown subject": ((*ADD, "--subject", "nobody"), 1, "No record of subject 'nobody'"),
    "no such words": ((*ADD, "--words", "xylophone"), 1, "No record contains 'xylophone'"),
    "no date": ((*ADD, "--key", "r1", "--due", "soon"), 2, "'soon' is no date"),
    "no such day": ((*ADD, "--key", "r1", "--due", "2026-02-30"), 2, "is no date"),
    "received tomorrow": ((*ADD, "--key", "r1", "--received", "2199-01-01"), 1, "not over yet"),
    "due too early": ((*ADD, "--key", "r1", "--due", "1999-01-01"), 1, "before it was received"),
    "two targets": ((*ADD, "--key", "r1", "--subject", "s1"), 2, "exactly one of"),
    "no target": (ADD, 2, "none of them given"),
    "unknown method": ((*ADD, "--key", "r1", "--method", "s3x"), 1, "Did you mean 's3t'?"),
    "everything": ((*ADD, "--from", "{all}", "--near", "keep"), 1, "Add --accept-outage"),
    "undecided": ((*ADD, "--key", "near-1"), 1, "Add --near include"),
    "refused": ((*ADD, "--key", "near-1", "--near", "refuse"), 1, "1 duplicates"),
    "no such policy": ((*ADD, "--key", "near-1", "--near", "perhaps"), 2, "'perhaps'"),
    "no texts": (("predict",), 2, "Give either texts or --from"),
    "no text column": (("predict", "--from", "{other}"), 1, "column 'text' of row 1"),
    "no recipe": (("train", "{missing}"), 1, "There is no recipe"),
    "recipe of bytes": (("train", "{latin}"), 1, "is not TOML"),
    "unknown in recipe": (("train", "{recipe_field}"), 1, "Did you mean 'epochs'?"),
    "unknown in source": (("train", "{source_field}"), 1, "Did you mean 'encoding'?"),
    "no source": (("train", "{no_source}"), 1, "Add --data PATH"),
    "source is no table": (("train", "{source_text}"), 1, "is no table"),
    "rows not UTF-8": (("train", "{recipe}", "--data", "{latin}"), 1, "is not utf-8"),
    "other data": (("train", "{recipe}", "--data", "{few}"), 1, "1 problem"),
    "no such request": (("process", "nope"), 1, "No request 'nope'"),
    "no equals": (("process", "{request}", "--set", "rate"), 2, "--set takes NAME=VALUE"),
    "out is a file": (("process", "--out", "{head}"), 1, "is no folder"),
    "no report": (("report", "nope"), 1, "No request 'nope'"),
    "odd ending": (("report", "{request}", "--out", "r.pdf"), 2, "add --format"),
    "out is a folder": (("report", "{request}", "--out", ".", "--format", "md"), 1, "is a folder"),
    "out in no folder": (("db", "suppressed", "--out", "{missing}/x"), 1, "There is no folder"),
    "no certificate": (("certificate", "show", "nope"), 1, "has no certificate"),
    "no such key": (("certificate", "key", "--key-id", "ab", "--out", "k"), 1, "No signer"),
    "no reason": (("request", "reject", "{request}"), 2, "--reason"),
    "closed already": (("request", "reject", "{request}", "--reason", "r"), 1, "is closed"),
    "no hold": (("request", "lift", "{request}"), 1, "is not on hold"),
    "nothing to rebuild": (("rebuild",), 1, "No shard has an order"),
    "no such shard": (("rebuild", "--shard", "99"), 1, "No shard has an order"),
    "export where files are": (("export", ".", "--to", "x"), 1, "is not empty"),
    "export to nobody": (("export", "new", "--to", " "), 1, "needs a recipient"),
    "backup over a file": (("backup", "{head}"), 1, "exists"),
}
ALONE: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no such certificate": (("{missing}",), 1, "There is no certificate file"),
    "damaged": (("{damaged}",), 3, "'signature' failed"),
    "cut short": (("{cut}",), 3, "'envelope' failed"),
    "not JSON": (("{latin}",), 3, "'envelope' failed"),
    "no key file": (("{good}", "--key", "{missing}"), 1, "There is no key file"),
    "key is text": (("{good}", "--key", "{other}"), 1, "no readable public key"),
    "key cut short": (("{good}", "--key", "{half_key}"), 1, "no readable public key"),
    "key is empty": (("{good}", "--key", "{empty}"), 1, "The key file is empty"),
    "other model": (("{good}", "--model", "{missing}"), 3, "'model' failed"),
    "other head": (("{good}", "--ledger-head", "ab"), 3, "'ledger head' failed"),
    "no date": (("{good}", "--at", "soon"), 2, "is no date"),
}


@pytest.fixture(scope="module")
def victim(closed: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One copy for the whole table: none of it may change anything."""
    folder = tmp_path_factory.mktemp("victim") / "ws"
    shutil.copytree(closed.folder, folder)
    return Place(folder, closed.recipe, closed.request)


@pytest.fixture(scope="module")
def bad(closed: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bad")
    good = closed.folder.parent / f"certificate-{closed.request}.json"
    recipe = closed.recipe.read_text()
    body = recipe.partition("[source]")[0]
    envelope = json.loads(good.read_text())
    first = "B" if envelope["payload"][40] != "B" else "C"
    envelope["payload"] = envelope["payload"][:40] + first + envelope["payload"][41:]
    files = {
        "latin.csv": "key\nr\xe9\n".encode("latin-1"),
        "empty.csv": b"",
        "head.csv": b"key\n",
        "other.csv": b"name\nr1\n",
        "blank.csv": b"key,name\nr1,a\n,b\n",
        "all.csv": "\n".join(["key", *(f"r{i}" for i in range(4, 23))]).encode(),
        "few.jsonl": b'{"text": "a b", "label": "sport", "id": "x", "who": "y"}\n[1]\n',
        "recipe_field.toml": f"epoch = 1\n{recipe}".encode(),
        "source_field.toml": f"{recipe}\nencodign = 'utf-8'".encode(),
        "no_source.toml": body.encode(),
        "source_text.toml": f"source = 'rows.csv'\n{body}".encode(),
        "damaged.json": json.dumps(envelope).encode(),
        "cut.json": good.read_bytes()[:200],
        "half_key.pem": KEY.encode(),
    }
    found = {"missing": str(folder / "missing"), "good": str(good), "request": closed.request}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        found[name.partition(".")[0]] = str(folder / name)
    return {**found, "recipe": str(closed.recipe)}


def refused(arguments: list[str], code: int, says: str) -> None:
    """It fails once with text and once with JSON, each time with one message and no traceback."""
    said = rescind(*arguments)
    assert isinstance(said.exception, SystemExit), said.exception
    assert said.exit_code == code, said.output
    assert says in said.stderr
    assert [line[:6] for line in said.stderr.splitlines()].count("Error:") == 1
    if code != Exit.USAGE:
        again = rescind(*arguments, "--json")
        assert again.exit_code == code
        error = json.loads(again.stderr)["error"]
        assert set(error) == {"type", "what", "why", "do"}
        assert says in " ".join(error.values())


@pytest.mark.parametrize("case", TABLE)
def test_bad_input_changes_nothing(victim: Place, bad: dict[str, str], case: str) -> None:
    arguments, code, says = TABLE[case]
    before = frozen(victim.folder)
    refused([*(a.format(**bad) for a in arguments), *victim.at], code, says)
    assert frozen(victim.folder) == before


@pytest.mark.parametrize("case", ALONE)
def test_bad_certificates_and_keys(bad: dict[str, str], case: str) -> None:
    arguments, code, says = ALONE[case]
    refused(["certificate", "verify", *(a.format(**bad) for a in arguments)], code, says)


def test_restore_wants_to_know_what_was_forgotten(bad: dict[str, str], tmp_path: Path) -> None:
    into = ["--into", str(tmp_path / "new")]
    refused(["restore", bad["head"], *into], 2, "Give either --suppressed")
    refused(["restore", bad["head"], *into, "--nothing-forgotten-since"], 1, "")
    refused(["restore", bad["head"], *into, "--suppressed", bad["missing"]], 1, "cannot be read")
    assert not (tmp_path / "new").exists()


def test_no_workspace_here(tmp_path: Path) -> None:
    refused(["request", "list", "--workspace", str(tmp_path)], 1, "holds no workspace")
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_of_a_later_version(fresh: Place) -> None:
    with sqlite3.connect(fresh.folder / "rescind.db") as database:
        database.execute("update meta set value = '999' where name = 'schema'")
    database.close()
    before = (fresh.folder / "rescind.db").read_bytes()
    refused([*ADD, "--key", "r7", *fresh.at], 1, "999")
    assert (fresh.folder / "rescind.db").read_bytes() == before


@pytest.fixture
def read_only(closed: Place) -> Iterator[Path]:
    """A copy that anyone may read and only root may write; nobody's own, when we are root."""
    root = Path(tempfile.mkdtemp())
    shutil.copytree(closed.folder, root / "ws")
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root / "ws"
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(root)


def test_a_folder_that_cannot_be_written(read_only: Path, fresh: Place) -> None:
    before = {p: p.read_bytes() for p in read_only.rglob("*") if p.is_file()}
    assert rescind(*ADD, "--key", "r7", *fresh.at).exit_code == 0  # all it imports is imported
    code, said = as_nobody(*ADD, "--key", "r7", "--workspace", str(read_only))
    assert code == 1
    assert said.count("Error:") == 1
    assert "permission" in said
    assert {p: p.read_bytes() for p in read_only.rglob("*") if p.is_file()} == before


def as_nobody(*arguments: str) -> tuple[int, str]:
    """Exit code and message of a command whose user has no special rights, even if we do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            done = rescind(*arguments)
            os.write(writing, f"{int(done.exit_code)}\n{done.stderr}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        code, _, said = answer.read().partition("\n")
    os.waitpid(child, 0)
    return int(code), said


BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "peft", "safetensors", "numpy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from rescind.cli.main import run
run()
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{missing}",), "There is no recipe"),
        (("{recipe_field}",), "Did you mean 'epochs'?"),
        (("{recipe}", "--data", "{missing}"), "There is nothing at"),
        (("{recipe}", "--data", "{latin}"), "is not utf-8"),
        (("{recipe}", "--data", "no_such_module:load"), "put the folder of no_such_module"),
        (("{recipe}", "--key", "nothing"), "nothing"),
    ],
)
@pytest.mark.parametrize("where", ["a/b", "."])
def test_a_training_that_is_refused_leaves_no_folder(
    bad: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
    where: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("a file of somebody's")
    given = [a.format(**bad) for a in arguments]
    refused(["train", *given, "--workspace", where], 1, says)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine.txt"]


def test_a_training_that_is_refused_leaves_a_workspace_that_was_there(
    bad: dict[str, str], tmp_path: Path
) -> None:
    at = ("--workspace", str(tmp_path / "ws"))
    assert rescind("init", *at).exit_code == 0
    before = frozen(tmp_path / "ws")
    refused(["train", bad["recipe"], "--data", bad["missing"], *at], 1, "There is nothing at")
    assert frozen(tmp_path / "ws") == before


@pytest.mark.parametrize("command", [("predict", "goal"), ("train", "{recipe}")])
def test_a_light_install_names_what_to_install(fresh: Place, command: tuple[str, ...]) -> None:
    arguments = [a.format(recipe=fresh.recipe) for a in command]
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments, *fresh.at], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: This command needs ")
    assert "pip install 'rescind[train]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_light_install_is_told_what_the_demo_needs_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", BLOCKED, "demo", "--workspace", str(tmp_path / "a" / "demo")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: The demo needs torch, transformers, peft")
    assert ran.stderr.count("Error:") == 1 and "Traceback" not in ran.stderr
    assert "pip install 'rescind[demo]'" in ran.stderr
    assert ran.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "goes on where it stopped"),
        (OSError(28, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
        (PermissionError(13, "Permission denied", "y"), 1, "Check the path, the permissions"),
        (ModuleNotFoundError("no", name="torch.nn"), 1, "rescind[train]"),
        (typer.Abort(), 1, "was not answered"),
        (errors.VerificationFailed("claim", "It lies."), 3, "It lies."),
        (errors.LedgerInconsistent(7, "Entry 7 is bad."), 3, "Entry 7 is bad."),
        (errors.NotDeterministic("Other bytes."), 3, "Other bytes."),
        (errors.InsufficientEvidence("No evidence."), 4, "No evidence."),
        (errors.ErasureIncomplete(("a",), "1 left."), 4, "1 left."),
    ],
)
def test_each_failure_has_its_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("rescind.registry.Registry.names", fail)
    refused(["list", "methods"], code, says)


@pytest.mark.parametrize("bug", [RuntimeError("ours"), ModuleNotFoundError("no", name="rescinded")])
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    def fail(*_: object) -> None:
        raise bug

    monkeypatch.setattr("rescind.registry.Registry.names", fail)
    assert rescind("list", "methods").exception is bug


def test_every_error_of_ours_is_explained() -> None:
    found = [c for c in vars(errors).values() if isinstance(c, type) and c is not RescindError]
    assert len(found) > 15
    assert all(issubclass(c, RescindError) and issubclass(c, failures.KNOWN) for c in found)


def test_a_demo_is_handed_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Path] = []
    module = type(sys)("rescind.demo")
    module.run = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rescind.demo", module)
    assert rescind("demo").exit_code == 0
    assert rescind("demo", "--workspace", tmp_path).exit_code == 0
    assert rescind("demo", "--workspace", "a/b").exit_code == 0
    assert seen == [Path("demo"), tmp_path, Path("a/b")]


def test_the_console_script_runs_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rescind", "list", "methods", "--json"])
        with pytest.raises(SystemExit) as end:
            main.run()
    assert end.value.code == 0
    assert "s3t" in json.loads(capsys.readouterr().out)["methods"]


def test_what_comes_from_data_cannot_move_the_cursor() -> None:
    assert one_line("a\x1b[2Jb\nc") == "a\N{REPLACEMENT CHARACTER}[2Jb c"
    assert one_line("x" * 200, 10) == "x" * 9 + "…"
    assert table(["a", "b"], [(None, "long\ntext")]) == ["a  b", "-  ---------", "-  long text"]
