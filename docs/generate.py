"""Fill the marked blocks of the documentation from the code and the stored benchmark results.

    python docs/generate.py

rewrites them in place; a test compares. A result that is not stored leaves its line out.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rescind
from rescind.cli.failures import code_of
from rescind.core import errors
from rescind.core.protocols import Planner, Withdrawer
from rescind.core.request import GOALS
from rescind.registry import Registry
from rescind.settings import Settings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- (?P<name>\w+):begin -->\n).*?(<!-- (?P=name):end -->)", re.DOTALL)
# headings that docstrings have, and what a page calls them
HEADINGS = {"Args:": "Arguments", "Raises:": "Raises", "Returns:": "Returns"}
# public, though too special for the short list
MORE = (
    "rescind.workspace:Draft",
    "rescind.settings:Settings",
    "rescind.core.version:ModelVersion",
    "rescind.core.plan:Plan",
    "rescind.core.report:Report",
    "rescind.certify:envelope_bytes",
    "rescind.proofs.signing:load_public",
    "rescind.proofs.verifier:Verification",
    "rescind.proofs.verifier:Check",
    "rescind.render:to_html",
    "rescind.render:to_markdown",
)


def markdown(docstring: str) -> list[str]:
    """A docstring as Markdown: plain text stays, ``Args:`` and its like become lists."""
    lines: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).replace("``", "`").splitlines():
        if line in HEADINGS:
            lines += [f"*{HEADINGS[line]}*", ""]
            inside = True
        elif not inside or not line:
            lines.append(line)
        elif re.match(r" {4}[\w.]+: ", line):
            name, _, text = line.strip().partition(": ")
            lines.append(f"* `{name}`: {text}")
        elif re.match(r" {4}\S", line) and not (lines and lines[-1].startswith("* ")):
            lines.append(line.strip())
        else:
            lines.append(f"  {line.strip()}")
        inside = inside and bool(line)
    return lines


def first_sentence(docstring: str | None) -> str:
    """What a docstring says before its first blank line, on one line."""
    text = inspect.cleandoc(docstring or "").partition("\n\n")[0]
    return " ".join(text.replace("``", "`").split())


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def signature(name: str, function: Callable[..., Any]) -> str:
    """The call with its annotations as they are written in the source."""
    parts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f" = {shown(parameter.default)}"
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    returns = inspect.signature(function).return_annotation
    one_line = f"{name}({', '.join(parts)}) -> {returns}"
    if len(one_line) <= 96:
        return one_line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f") -> {returns}"])


def shown(value: object) -> str:
    """A default as a reader would type it; a function by its name."""
    return value.__name__ if inspect.isfunction(value) else repr(value)


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default of a field, or that it must be given."""
    if field.default is not dataclasses.MISSING:
        return f"`{cell(shown(field.default))}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{type(field.default_factory()).__name__}()`"
    return "must be given"


def fields_table(cls: Any) -> list[str]:
    """Name, type and default of each field of a dataclass."""
    rows = [
        f"| `{f.name}` | `{cell(str(f.type))}` | {default_of(f)} |" for f in dataclasses.fields(cls)
    ]
    return ["| field | type | default |", "|---|---|---|", *rows, ""] if rows else []


def settings_block() -> Iterator[str]:
    """A row for each setting."""
    yield "| setting | default | variable | what it does |"
    yield "|---|---|---|---|"
    for f in dataclasses.fields(Settings):
        default = json.dumps(f.default)
        about = cell(f.metadata["about"])
        yield f"| `{f.name}` | `{default}` | `RESCIND_{f.name.upper()}` | {about} |"


def error_classes() -> list[type[errors.RescindError]]:
    """Every error a user may see, in the order of the source; the root comes first."""
    found = [c for c in vars(errors).values() if inspect.isclass(c)]
    return [c for c in found if issubclass(c, errors.RescindError)]


def errors_block() -> Iterator[str]:
    """A row for each error."""
    yield "| error | also a | exit code | when |"
    yield "|---|---|---|---|"
    for cls in error_classes()[1:]:
        builtin = next(b.__name__ for b in cls.__mro__ if b.__module__ == "builtins")
        code = code_of(cls.__new__(cls))
        about = cell(first_sentence(cls.__doc__))
        yield f"| `{cls.__name__}` | `{builtin}` | {int(code)} | {about} |"


def python_block() -> Iterator[str]:
    """Every public name."""
    for name in rescind.__all__:
        if name != "__version__":
            yield from described(f"rescind.{name}", getattr(rescind, name))


def more_block() -> Iterator[str]:
    """What lies beside the short list."""
    for where in MORE:
        module, _, name = where.partition(":")
        yield from described(f"{module}.{name}", getattr(importlib.import_module(module), name))


def described(name: str, thing: Any) -> Iterator[str]:
    """The heading, the signature or the fields, and the docstring of a class or function."""
    yield from [f"### {name}", ""]
    if not inspect.isclass(thing):
        yield from ["```text", signature(name, thing), "```", ""]
    yield from [*markdown(thing.__doc__ or ""), ""]
    if dataclasses.is_dataclass(thing):
        yield from fields_table(thing)
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        yield from methods_of(thing)


def methods_of(cls: type) -> Iterator[str]:
    """Public methods and properties that a class defines itself."""
    for name, member in vars(cls).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        if not member.__doc__:
            continue
        call = name if isinstance(member, property) else signature(name, member)
        yield from ["```text", f".{call}", "```", "", *markdown(member.__doc__), ""]


def method_block(name: str) -> Iterator[str]:
    """What the source says of a method: paper, parameters, and what it can do."""
    cls = Registry("rescind.methods").load(name)
    about = inspect.getdoc(importlib.import_module(cls.__module__)) or ""
    yield from [about.replace("``", "`"), "", *markdown(cls.__doc__ or ""), ""]
    yield from ["| | |", "|---|---|", f"| name | `{name}` |", f"| class | `{_where(cls)}` |"]
    method = cls()
    at_once = "yes" if isinstance(method, Withdrawer) else "no: the new model serves after evidence"
    layout = "yes" if isinstance(method, Planner) else "no"
    yield from [f"| withdraws at once | {at_once} |", f"| lays out its own training | {layout} |"]
    yield from ["", *(fields_table(cls) or ["It has no parameters.", ""])]
    yield from methods_of(cls)


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def results(name: str) -> Mapping[str, Any] | None:
    """A stored result, or None where that benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def figures_block() -> Iterator[str]:
    """One line a figure, each with the command that gives it."""
    yield from (*_withdrawal(), *_accuracy("demo"), *_accuracy("full"), *_exhaustion(), *_start())


def _by(found: Mapping[str, Any]) -> str:
    return f"(`{' '.join(found['command'].split())}`)"


def _withdrawal() -> Iterator[str]:
    found = results("withdrawal")
    if found is None:
        return
    shard, other = found["sisa_shard_full_size"]["cpu_seconds"], found["second_process"]
    yield (
        f"* From acceptance until no answer can use a record: {found['median_ms']:.1f} ms in the"
        f" median of {found['open_model']['requests']} requests, {found['slowest_ms']:.1f} ms at"
        f" most; a second process sees it after {other['median_ms']:.1f} ms. Retraining one SISA"
        f" shard on the same data at full size took {shard:.0f} s of CPU; {found['machine']}."
        f" {_by(found)}"
    )


NAMES = {
    "s3t_b3": "S3T with 3 orders",
    "s3t_b1": "S3T with 1 order",
    "sisa": "SISA",
    "plain_lora": "plain LoRA",
}


def _accuracy(size: str) -> Iterator[str]:
    found = results(f"accuracy_{size}")
    if found is None:
        return
    said = [f"{NAMES[name]} {_share(one)}" for name, one in found["everything_left"].items()]
    n = next(iter(found["everything_left"].values()))["n"]
    yield (
        f"* Test accuracy on BBC news, five topics, MiniLM, {size} size, nothing forgotten:"
        f" {'; '.join(said)} (95 % intervals, n = {n}). {_by(found)}"
    )


def _share(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def _exhaustion() -> Iterator[str]:
    found = results("exhaustion")
    if found is None:
        return
    lives = {
        x["orders"]: x["exhaustion"]["mean"]
        for x in found["lives"]
        if (x["shards"], x["slices"]) == (3, 3)
    }
    said = ", ".join(f"{mean:.1f} with {n} order{'s'[: n > 1]}" for n, mean in lives.items())
    yield (
        "* Uniformly random deletions until 3 shards of 3 slices have nothing left, by simulation:"
        f" {said}. {_by(found)}"
    )


def _start() -> Iterator[str]:
    found = results("start")
    if found is None:
        return
    said = ", ".join(
        f"`{name}` {case['median_seconds']:.2f} s" for name, case in found["cases"].items()
    )
    yield f"* A fresh process, start included: {said}; {found['system']}. {_by(found)}"


def measured_block(system: str) -> Iterator[str]:
    """The stored results of one method, or that there are none."""
    rows = [row for size in ("demo", "full") for row in _measured(size, system)]
    if not rows:
        yield "No result is stored yet: `python benchmarks/accuracy.py --size demo` makes one."
        return
    yield "| size | system | test accuracy | 95 % interval | n | CPU s, training | command |"
    yield "|---|---|---|---|---|---|---|"
    yield from rows


SHORT = {
    "admissible": "admissible",
    "not_admissible": "**not** admissible",
    "no_power": "no power",
    "display_only": "display only",
    "refused": "refused",
}
BENCHES = ("fashion", "news", "adult", "hours", "language")
NOT_TRIED = {
    "auto": "It is no single edit: what it would try stands in the tables of other methods.",
    "zk_apex": "Its own benchmark is told in [mask proofs](../concepts/mask-proof.md).",
    "certified_removal": (
        "Benchmarks train no linear models and leave it out. The conformance suite tries its bound:"
        " releases of two worlds refute a claim that is too small."
    ),
}
CONTROLS = ("original (no-op)", "random weights", "last layer only", "retrained, other seeds")


def results_block(bench: str) -> Iterator[str]:
    """All stored parts of a benchmark with every method and control."""
    found = results(f"bench_{bench}")
    if found is None:
        yield f"Not stored yet: `rescind bench {bench}` makes it."
        return
    command = found["command"].splitlines()[0]
    yield f"{found['what']}. `{command}`, {found['system']}, {found['threads']} thread."
    yield "Parts of the benchmark that do not stand here have not been run at this size."
    yield from ("", *(f"* Not applicable: {each}" for each in found["not_applicable"]))
    for part in found["parts"]:
        yield from _part(part)
    yield from _drift(found["sequence"])


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    yield from ["", f"### {part['model']}, {part['forget_set']}", ""]
    decides = "decides" if part["decides"] else "is for display only"
    yield (
        f"Goal: {GOALS[part['goal']]}. {part['forget']:,} records go, {part['retain']:,} stay;"
        f" {part['references']} retrained models, {part['seeds']} seeds: it {decides}. Processor"
        f" time {part['cpu_seconds'] / 60:.0f} minutes, and {part['search_cpu_seconds'] / 60:.0f}"
        f" for the search that all parts of the model share; the metrics of one model take"
        f" {100 * part['metrics_share']:.1f} % of one retraining. CKA of unrelated features:"
        f" biased {part['floor']['biased']:.2f}, unbiased {part['floor']['unbiased']:.2f}."
    )
    yield from ("", *(f"* {each['name']}: {each['told']}" for each in part["depth"]))
    yield from ("", "| | forgetting | utility | H-LR | CPU / retraining | rank | verdict |")
    yield "|---" * 7 + "|"
    for line in part["lines"]:
        yield _result_line(line, part["margins"])


def _result_line(line: Mapping[str, Any], margins: Sequence[Mapping[str, Any]]) -> str:
    if "gaps" not in line:
        return f"| {line['name']} | | | | | | refused: {line['because']} |"
    cells = [_worst(line["gaps"], margins, role) for role in ("forgetting", "utility")]
    score = (line.get("scores") or {}).get("H-LR")
    cells += ["" if score is None else f"{score:.2f}", f"{line['share_of_retraining']:.2f}"]
    rank = (line.get("ranks") or {}).get("balanced")
    return f"| {' | '.join([line['name'], *cells, str(rank or ''), SHORT[line['verdict']]])} |"


def _worst(
    gaps: Mapping[str, Mapping[str, Any]], margins: Sequence[Mapping[str, Any]], role: str
) -> str:
    """The largest gap in margins over the metrics that count, with its metric."""
    widths = {m["metric"]: m["width"] for m in margins if m["role"] == role}
    far = [
        (abs(gaps[name]["gap"]) / width, name)
        for name, width in widths.items()
        if name in gaps and gaps[name]["counts"]
    ]
    return f"{max(far)[0]:.1f} ({max(far)[1]})" if far else "no power"


def _drift(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Requests in a row: after how many of them retraining is due."""
    if not points:
        return
    stops = sorted({p["requests"] for p in points})
    yield from ["", f"### Requests in a row: {', '.join(map(str, stops))}", ""]
    yield from [
        "| model | | retraining due after | largest gap at the end, in margins |",
        "|---|---|---|---|",
    ]
    for model, method in dict.fromkeys((p["model"], p["method"]) for p in points):
        its = [p for p in points if (p["model"], p["method"]) == (model, method)]
        due = [p["requests"] for p in its if p["retraining_due"]]
        end = [p for p in its if p["requests"] == stops[-1]]
        far = max((abs(p["value"] - p["retrained"]) / p["margin"], p["metric"]) for p in end)
        when = min(due) if due else "not within these"
        yield f"| {model} | {method} | {when} | {far[0]:.1f} ({far[1]}) |"


def edits_block(name: str) -> Iterator[str]:
    """What the stored benchmarks say of one method, beside the original and retrained models."""
    tables = [list(_bench_table(bench, name)) for bench in BENCHES]
    if not any(tables):
        yield NOT_TRIED.get(name, "No result is stored yet: `rescind bench fashion` makes one.")
        return
    yield (
        "Gaps to retrained models, which have the value in brackets; `=` means equivalent within"
        " the margin, a dash that the metric has no power on this forget set and does not count."
        " Parameters are from a [recorded search](../how-to/run-a-benchmark.md). All controls, and"
        " forget sets for display only, stand among the [results](../reference/benchmarks.md)."
    )
    for table in tables:
        yield from table


def _bench_table(bench: str, name: str) -> Iterator[str]:
    found = results(f"bench_{bench}") or {"parts": []}
    rows = [
        (part, line)
        for part in found["parts"]
        if part["decides"]
        for line in part["lines"]
        if line["name"] in (name, *CONTROLS)
    ]
    if not any(line["name"] == name for _, line in rows):
        return
    heads = list(dict.fromkeys(m["metric"] for part in found["parts"] for m in part["margins"]))
    yield from ["", f"{found['what']} (`{found['command'].splitlines()[0]}`)", ""]
    yield f"| forget set | | {' | '.join(heads)} | H-LR | CPU / retraining | verdict |"
    yield "|---" * (len(heads) + 5) + "|"
    for part, line in rows:
        yield _edit_line(part, line, heads)


def _edit_line(part: Mapping[str, Any], line: Mapping[str, Any], heads: Sequence[str]) -> str:
    start = f"| {part['model']}, {part['forget_set']} | {line['name']} |"
    if "gaps" not in line:
        return f"{start}{' |' * (len(heads) + 2)} {line['because']} |"
    cells = [_gap_cell(line["gaps"].get(head)) for head in heads]
    score = (line.get("scores") or {}).get("H-LR")
    told = "" if score is None else f"{score:.2f}"
    cost = f"{line['share_of_retraining']:.2f}"
    return f"{start} {' | '.join((*cells, told, cost, SHORT[line['verdict']]))} |"


def _gap_cell(gap: Mapping[str, Any] | None) -> str:
    """The gap and the retrained mean; with a dash where it does not count."""
    if gap is None:
        return ""
    said = f"{gap['gap']:+.3f} ({gap['retrained']:.3f})"
    if not gap["counts"]:
        return f"{said} -"
    return f"{said} =" if gap["equivalent"] else said


def _measured(size: str, system: str) -> Iterator[str]:
    found = results(f"accuracy_{size}")
    cpu = {"s3t_b3": "s3t", "sisa": "sisa", "plain_lora": "plain"}
    for name, one in (found or {"everything_left": {}})["everything_left"].items():
        if name.startswith(system) and found is not None:
            low, high = one["interval"]
            spent = found["cpu_seconds"].get(cpu.get(name, ""))
            seconds = "" if spent is None else f"{spent:.0f}"
            yield (
                f"| {size} | {NAMES[name]} | {one['accuracy']:.3f} | {low:.3f} to {high:.3f}"
                f" | {one['n']} | {seconds} | `{found['command']}` |"
            )


Maker = Callable[[], Iterator[str]]
PAGES: dict[str, dict[str, Maker]] = {
    "README.md": {"figures": figures_block},
    "docs/methods/s3t.md": {
        "source": lambda: method_block("s3t"),
        "measured": lambda: measured_block("s3t"),
        "exhaustion": _exhaustion,
    },
    "docs/methods/sisa.md": {
        "source": lambda: method_block("sisa"),
        "measured": lambda: measured_block("sisa"),
    },
    "docs/methods/retrain.md": {
        "source": lambda: method_block("retrain"),
        "measured": lambda: measured_block("plain_lora"),
    },
    "docs/reference/benchmarks.md": {name: partial(results_block, name) for name in BENCHES},
    "docs/reference/settings.md": {"settings": settings_block},
    "docs/reference/errors.md": {"errors": errors_block},
    "docs/reference/python.md": {"python": python_block, "more": more_block},
}


EDITS = sorted(
    {n for n in Registry("rescind.methods").names() if "/" not in n} - {"s3t", "sisa", "retrain"}
)
PAGES |= {
    f"docs/methods/{name}.md": {
        "source": partial(method_block, name),
        "measured": partial(edits_block, name),
    }
    for name in EDITS
}


def filled(text: str, makers: Mapping[str, Maker]) -> str:
    """The page with every block written anew.

    Raises:
        ValueError: the page lacks a block, or has one that nothing makes.
    """
    names = sorted(match["name"] for match in BLOCK.finditer(text))
    if names != sorted(makers):
        raise ValueError(f"The page has the blocks {names}, wanted are {sorted(makers)}.")

    def write(match: re.Match[str]) -> str:
        lines = "\n".join(makers[match["name"]]()).strip("\n")
        return f"{match[1]}{lines}\n{match[3]}" if lines else f"{match[1]}{match[3]}"

    return BLOCK.sub(write, text)


def pages() -> dict[Path, str]:
    """Every page with generated blocks, as it should be."""
    return {ROOT / name: filled((ROOT / name).read_text(), made) for name, made in PAGES.items()}


def main() -> None:
    """Write what differs and say so."""
    for path, text in pages().items():
        if path.read_text() != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
