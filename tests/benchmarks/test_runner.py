from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloud_setting import cloud_bench, cloud_setting

from rescind import tuned
from rescind.benchmarks import runner
from rescind.benchmarks.models import Models
from rescind.benchmarks.runner import Options, part_names, run
from rescind.benchmarks.sequence import points
from rescind.benchmarks.setting import Setting
from rescind.benchmarks.stored import from_json
from rescind.benchmarks.subjects import ANEW_LINE, ORIGINAL_LINE
from rescind.core.errors import BadParameter, Diverged, StorageFailed, UnknownPlugin
from rescind.core.protocols import Unlearner
from rescind.methods.finetune import FineTune

PARTS = ("mlp/class red", "mlp/sequence")


@dataclass(frozen=True)
class Clouds:
    """A plug-in as an outsider would write it."""

    decides: bool = False

    def setting(self, quick: bool) -> Setting:
        """The same at both sizes."""
        return cloud_setting(decides=self.decides, methods=("finetune", "eu_k"))


def quiet(*_: object) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def name() -> str:
    return f"{__file__}:Clouds"


@pytest.fixture(scope="module")
def path(folder: Path, name: str) -> Path:
    return run(name, Options(quick=True, parts=PARTS, out=folder), quiet)[1]


def test_what_was_asked_for_is_stored_and_drawn(path: Path) -> None:
    found = from_json(path.read_bytes())
    assert [(p.model, p.forget_set) for p in found.parts] == [("mlp", "class red")]
    assert found.command.endswith("--quick") and found.threads == 1
    assert "class red" in path.with_suffix(".html").read_text()


def test_requests_follow_one_another_and_drift_is_told(path: Path) -> None:
    found = from_json(path.read_bytes()).sequence
    assert {p.requests for p in found} == {1, 3}
    assert {p.forgotten for p in found} == {8, 24}
    controls = {ORIGINAL_LINE, ANEW_LINE}
    assert {p.method for p in found} == {"finetune", "eu_k", *controls}


def test_another_part_joins_what_is_there(path: Path, folder: Path, name: str) -> None:
    run(name, Options(quick=True, parts=("mlp/one record",), out=folder), quiet)
    found = from_json(path.read_bytes())
    assert {p.forget_set for p in found.parts} == {"class red", "one record"}
    assert found.sequence


def test_other_sizes_are_another_table(path: Path, folder: Path, name: str) -> None:
    wanted = Options(
        quick=True, parts=("mlp/one record",), out=folder, settings={"decides": "true"}
    )
    found, other = run(name, wanted, quiet)
    assert other != path
    assert "--set decides=true" in found.command


def test_the_searches_are_what_auto_reads(path: Path, folder: Path) -> None:
    [searches] = folder.glob("*Clouds_quick_mlp_searches.json")
    found = tuned.read(str(searches), ("finetune", "eu_k"))
    assert set(found.searches) == {"finetune", "eu_k"}
    assert found.parameters("eu_k") == json.loads(searches.read_text())["eu_k"]["chosen"]
    assert 500 in found.seeds("finetune")


def test_a_part_that_there_is_not_is_refused_with_those_there_are(folder: Path, name: str) -> None:
    with pytest.raises(BadParameter, match="mlp/sequence"):
        run(name, Options(parts=("mlp/class rad",), out=folder), quiet)


def test_an_unknown_benchmark_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownPlugin, match="fashion"):
        run("fashoin", Options(out=folder), quiet)


def test_the_parts_are_every_model_with_every_forget_set_and_the_sequence() -> None:
    assert part_names(cloud_setting()) == [
        "mlp/class red",
        "mlp/random tenth",
        "mlp/one record",
        "mlp/sequence",
    ]


def test_a_benchmark_without_a_random_set_has_no_sequence(tmp_path: Path) -> None:
    bare = cloud_setting()
    one = dataclasses.replace(bare, forget_sets=bare.forget_sets[:1])
    assert part_names(one) == ["mlp/class red"]
    assert runner.SEQUENCE not in "".join(part_names(one))


def test_the_requests_of_a_sequence_are_the_forget_set_once(tmp_path: Path) -> None:
    setting = cloud_setting(decides=False, methods=("finetune",))
    found, stopped = points(cloud_bench(tmp_path, setting), setting.forget_sets[1])
    assert max(p.forgotten for p in found) == len(setting.forget_sets[1].records)
    assert stopped == ()


def test_retraining_is_due_for_the_original_and_never_for_retrained_models(tmp_path: Path) -> None:
    bare = cloud_setting(methods=("finetune",))
    # wider than the spread of so small models, far below what a class that is still known gives
    wide = tuple(dataclasses.replace(margin, width=0.3) for margin in bare.margins)
    setting = dataclasses.replace(bare, margins=wide)
    asked = dataclasses.replace(setting.forget_sets[0], kind="random")
    found, _ = points(cloud_bench(tmp_path, setting), asked)
    due = {(p.method, p.retraining_due) for p in found if p.requests == 3}
    assert (ORIGINAL_LINE, True) in due
    assert (ANEW_LINE, True) not in due


def test_a_metric_that_early_requests_are_too_few_for_is_told_and_measured_later(
    tmp_path: Path,
) -> None:
    setting = cloud_setting(decides=False, methods=("finetune",))
    few = dataclasses.replace(setting.forget_sets[1], records=setting.train[:12:2])
    found, stopped = points(cloud_bench(tmp_path, setting), few)  # two records a request
    measured = {(p.requests, p.metric) for p in found}
    assert (3, "forget CKA to retrained") in measured
    assert (1, "forget CKA to retrained") not in measured
    assert (1, "forget accuracy") in measured
    assert ["CKA to retrained is not measured after 1 requests" in told for told in stopped] == [
        True
    ]


def test_a_full_disk_ends_a_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = cloud_setting(decides=False, methods=("finetune",))
    bench = cloud_bench(tmp_path, setting)
    assert bench.searched.found

    def full(*_: object) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(Models, "edited", full)
    with pytest.raises(StorageFailed):
        points(bench, setting.forget_sets[1])


def test_a_sequence_that_cannot_go_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = cloud_setting(decides=False, methods=("finetune", "eu_k"))
    bench = cloud_bench(tmp_path, setting)
    edited, asked = Models.edited, []

    def diverges(models: Models, method: Unlearner, *given: Any) -> Any:
        asked.append(method)
        if isinstance(method, FineTune) and len(asked) > 4:
            raise Diverged("Step 2 gave no number.")
        return edited(models, method, *given)

    assert bench.searched.found
    monkeypatch.setattr(Models, "edited", diverges)
    found, stopped = points(bench, setting.forget_sets[1])
    assert stopped == ("Requests in a row, mlp: finetune stopped: Step 2 gave no number.",)
    assert {p.method for p in found} == {"eu_k", ORIGINAL_LINE, ANEW_LINE}


def test_a_part_that_another_process_wrote_meanwhile_is_kept(
    path: Path, folder: Path, name: str
) -> None:
    own = path.read_bytes()

    def other(what: str, done: int, total: int) -> None:
        if not path.exists():
            path.write_bytes(own)

    path.unlink()
    wanted = Options(quick=True, parts=("mlp/one record",), out=folder)
    found = from_json(run(name, wanted, other)[1].read_bytes())
    assert {"class red", "one record"} <= {p.forget_set for p in found.parts}
