"""Run a benchmark, or some of its parts, and leave JSON, a page and what can be resumed."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rescind.benchmarks.cells import Cells
from rescind.benchmarks.models import Models
from rescind.benchmarks.page import to_html
from rescind.benchmarks.part import run_part
from rescind.benchmarks.ranking import rankings
from rescind.benchmarks.result import Result
from rescind.benchmarks.sequence import points
from rescind.benchmarks.setting import Benchmark, ForgetSet, Setting
from rescind.benchmarks.stored import from_json, merge, to_json
from rescind.benchmarks.subjects import Bench
from rescind.core.canonical import Json, digest, plain
from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.protocols import Progress
from rescind.registry import Registry
from rescind.storage.files import write_durably

BENCHMARKS = Registry("rescind.benchmarks", verb="setting")
SEQUENCE = "sequence"  # the name of the part in which requests follow one another
THREADS = 1


@dataclass(frozen=True, slots=True)
class Options:
    """``parts`` are names such as "resnet/random tenth" or "resnet/sequence"; none means all.
    ``settings`` are fields of the benchmark other than by default. ``device`` is as torch names it.
    """

    quick: bool = False
    deep: bool = False
    parts: tuple[str, ...] = ()
    out: Path = Path("bench")
    settings: Mapping[str, Json] = field(default_factory=dict)
    device: str = "cpu"

    def stem(self, name: str) -> str:
        """Of the file of results: other sizes are another table."""
        other = f"_{digest(plain(self.settings))[:8]}" if self.settings else ""
        return f"{Path(name).name.replace(':', '_')}{'_quick' if self.quick else ''}{other}"

    @property
    def flags(self) -> str:
        """As typed."""
        sets = [f" --set {name}={value}" for name, value in self.settings.items()]
        place = [] if self.device == "cpu" else [f" --device {self.device}"]
        return "".join([" --quick"] * self.quick + [" --deep"] * self.deep + sets + place)


def run(name: str, options: Options, progress: Progress) -> tuple[Result, Path]:
    """Compute what is not there yet and write NAME.json and NAME.html after every part.

    Returns:
        All results of these sizes that are in the folder, and the path of the JSON.

    Raises:
        UnknownPlugin: there is no such benchmark.
        BadParameter: a part that it does not have.
        MissingExtra: its data are not installed.
        UnsupportedModel: a model of it cannot be trained on the device.
    """
    from rescind.training.determinism import settle
    from rescind.training.device import checked

    settle(THREADS)
    benchmark: Benchmark = BENCHMARKS.make(name, options.settings)
    setting = benchmark.setting(options.quick)
    _refuse_adapters(setting, checked(options.device))
    wanted = _wanted(setting, options.parts)
    path = options.out / f"{options.stem(name)}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    result = _empty(setting, name, options)
    if path.exists():
        result = merge([from_json(path.read_bytes()), result])
    for found in _computed(setting, wanted, result, options, progress):
        there = [from_json(path.read_bytes())] if path.exists() else []
        result = merge([result, *there, found])  # another process may have written meanwhile
        write_durably(path, to_json(result))
        write_durably(path.with_suffix(".html"), to_html(result).encode())
    return result, path


def _refuse_adapters(setting: Setting, device: str) -> None:
    from rescind.training.pretrained import is_adapted

    on_encoders = [name for name, recipe in setting.models.items() if is_adapted(recipe.task)]
    if on_encoders and device != "cpu":
        raise UnsupportedModel(
            f"{', '.join(on_encoders)} trains adapters on an encoder, and {device} is asked for.",
            "Not yet: what enters the lowest block is computed and kept on the processor.",
            "Leave --device out.",
        )


def part_names(setting: Setting) -> list[str]:
    """All parts: each model with each forget set, and with the sequence of requests."""
    sets = [f.name for f in setting.forget_sets]
    more = [SEQUENCE] if _in_sequence(setting) else []
    return [f"{model}/{name}" for model in setting.models for name in (*sets, *more)]


def _wanted(setting: Setting, parts: Sequence[str]) -> list[str]:
    there = part_names(setting)
    unknown = sorted(set(parts) - set(there))
    if unknown:
        raise BadParameter(
            f"There is no part {', '.join(map(repr, unknown))}.",
            do=f"The parts of {setting.name!r} are: {', '.join(map(repr, there))}.",
        )
    return [name for name in there if not parts or name in parts]


def _computed(
    setting: Setting, wanted: Sequence[str], empty: Result, options: Options, progress: Progress
) -> Iterator[Result]:
    """What each part adds to the result, model by model."""
    bare = replace(empty, parts=(), sequence=(), rankings=(), not_applicable=())
    for name, recipe in setting.models.items():
        names = [part.partition("/")[2] for part in wanted if part.partition("/")[0] == name]
        if not names:
            continue
        models = Models(recipe, Cells(options.out / "cells", options.device))
        bench = Bench(setting, name, models, progress, options.deep)
        found, why = rankings(bench)
        yield replace(bare, rankings=found, not_applicable=why)
        for each in names:
            if each == SEQUENCE:
                told, stopped = points(bench, _in_sequence(setting)[0])
                yield replace(bare, sequence=told, not_applicable=stopped)
            else:
                forget = next(f for f in setting.forget_sets if f.name == each)
                yield replace(bare, parts=(run_part(bench, forget),))
        _keep_searches(bench, options.out / f"{options.stem(empty.benchmark)}_{name}_searches.json")


def _keep_searches(bench: Bench, path: Path) -> None:
    """The searches of one model, as ``Auto`` reads them: {method: search}."""
    found = {name: plain(search) for name, search in bench.searched.found.items()}
    write_durably(path, json.dumps(found, indent=1, sort_keys=True).encode() + b"\n")


def _in_sequence(setting: Setting) -> list[ForgetSet]:
    """The forget set whose records come in requests one after another: a random one."""
    return [f for f in setting.forget_sets if f.kind == "random"]


def _system(device: str) -> str:
    import torch

    here = f"{platform.system()} {platform.machine()}"
    return here if device == "cpu" else f"{here}, {torch.cuda.get_device_name(device)}"


def _empty(setting: Setting, name: str, options: Options) -> Result:
    return Result(
        benchmark=name,
        what=setting.what,
        quick=options.quick,
        command=f"rescind bench {name}{options.flags}",
        system=_system(options.device),
        threads=THREADS,
        not_applicable=setting.not_applicable,
    )
