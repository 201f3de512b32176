"""Names to plug-ins: ours, another package's, a file's; every refusal says what to type."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from rescind.core.errors import BadParameter, MissingExtra, UnknownPlugin
from rescind.core.protocols import Unlearner
from rescind.registry import Registry

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
OURS = sorted(PYPROJECT["project"]["entry-points"]["rescind.methods"])
PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal

@dataclass(frozen=True, kw_only=True)
class SmoothForget:
    smoothing: float = 0.9
    steps: int = 10
    layers: tuple[int, ...] = ()
    warm: bool = False
    note: str | None = None
    side: Literal["left", "right"] = "left"

    def unlearn(self, model, split, run):
        return None

@dataclass
class Thawed:
    def unlearn(self, model, split, run):
        return None

@dataclass(frozen=True)
class Idle:
    steps: int = 1

class NoDataclass:
    def unlearn(self, model, split, run):
        return None

def function(model, split, run):
    return None
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "my_method.py").write_text(PLUGIN)
    return str(tmp_path / "my_method.py")


def test_ours_have_plain_names() -> None:
    assert [name for name in Registry().names() if "/" not in name] == OURS


@pytest.mark.parametrize("name", OURS)
def test_ours_load_and_unlearn(name: str) -> None:
    assert isinstance(Registry().make(name, {}), Unlearner)


def test_listing_imports_no_plugin_and_no_torch() -> None:
    code = (
        "import sys; from rescind.registry import Registry; Registry().names();"
        "bad = [m for m in sys.modules if m in ('torch', 'numpy', 'sqlalchemy')"
        " or m.startswith('rescind.methods')]; print(bad)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_an_unknown_name_gets_a_suggestion() -> None:
    registry = Registry()
    with pytest.raises(UnknownPlugin) as caught:
        registry.load("sissa")
    assert str(caught.value) == (
        "Unknown method 'sissa'. Did you mean 'sisa'? "
        f"`rescind list methods` shows all {len(registry.names())}."
    )
    with pytest.raises(KeyError, match=r"Unknown method 'xyz'\. `rescind list methods` shows"):
        registry.load("xyz")


def test_a_file_gives_its_class(plugin: str) -> None:
    cls = Registry().load(f"{plugin}:SmoothForget")
    assert cls.__name__ == "SmoothForget"
    assert Registry().load(f"{plugin}:SmoothForget") is cls


def test_a_relative_path_works_with_and_without_the_dot(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(plugin).parent)
    registry = Registry()
    assert registry.load("my_method.py:SmoothForget") is registry.load(
        "./my_method.py:SmoothForget"
    )


def test_text_becomes_the_type_of_its_field(plugin: str) -> None:
    given = {
        "smoothing": "1",
        "steps": "3",
        "layers": "[1, 2]",
        "warm": "true",
        "note": "12",
        "side": "right",
    }
    made: Any = Registry().make(f"{plugin}:SmoothForget", given)
    assert (made.smoothing, made.steps, made.layers) == (1.0, 3, (1, 2))
    assert (made.warm, made.note, made.side) == (True, "12", "right")
    assert type(made.smoothing) is float


def test_plain_values_stay(plugin: str) -> None:
    made: Any = Registry().make(f"{plugin}:SmoothForget", {"steps": 3, "note": None})
    assert (made.steps, made.note, made.smoothing) == (3, None, 0.9)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"smothing": "0.5"}, "SmoothForget has no field 'smothing'. Did you mean 'smoothing'?"),
        ({"steps": "many"}, "steps is 'many'. It must be of type int."),
        ({"steps": "1.5"}, "steps is 1.5. It must be of type int."),
        ({"smoothing": "NaN"}, "smoothing is nan. It must be a finite number."),
        ({"side": "up"}, "side is 'up'. It must be one of ['left', 'right']."),
        ({"warm": "yes"}, "warm is 'yes'. It must be of type bool."),
    ],
)
def test_a_wrong_parameter_is_named(plugin: str, given: dict[str, str], said: str) -> None:
    with pytest.raises(BadParameter) as caught:
        Registry().make(f"{plugin}:SmoothForget", given)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Idle", "has no method 'unlearn'"),
        ("Thawed", "is not a frozen dataclass"),
        ("NoDataclass", "is not a frozen dataclass"),
        ("function", "is not a frozen dataclass"),
    ],
)
def test_what_is_no_method_is_refused(plugin: str, name: str, said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        Registry().load(f"{plugin}:{name}")


def test_a_missing_file_or_class_is_named(plugin: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownPlugin, match="no file"):
        Registry().load(f"{tmp_path}/gone.py:X")
    with pytest.raises(UnknownPlugin, match="no class 'Gone'"):
        Registry().load(f"{plugin}:Gone")


def test_a_file_that_fails_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise RuntimeError('half')")
    with pytest.raises(RuntimeError, match="half"):
        Registry().load(f"{path}:SmoothForget")
    path.write_text(PLUGIN + "\n# mended, and longer than before\n")
    assert Registry().load(f"{path}:SmoothForget").__name__ == "SmoothForget"


def test_another_package_is_qualified_and_its_faults_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_forget.py").write_text(PLUGIN)
    (tmp_path / "needs_more.py").write_text("import a_package_nobody_has")
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rescind.methods]\nsisa = other_forget:SmoothForget\n"
        "gone = other_forget:Gone\nmore = needs_more:More\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    assert registry.names() == sorted(["other/gone", "other/more", "other/sisa", *OURS])
    assert registry.load("other/sisa").__module__ == "other_forget"
    assert registry.load("sisa").__module__.startswith("rescind.")
    with pytest.raises(UnknownPlugin, match="other_forget:Gone, which does not exist"):
        registry.load("other/gone")
    with pytest.raises(MissingExtra, match="a_package_nobody_has") as caught:
        registry.load("other/more")
    assert "pip install" in caught.value.do


def test_other_groups_have_their_own_verb(plugin: str) -> None:
    registry = Registry("rescind.metrics", "measure")
    with pytest.raises(BadParameter, match="no method 'measure'"):
        registry.load(f"{plugin}:SmoothForget")
    with pytest.raises(UnknownPlugin, match="Unknown metric"):
        registry.load("accuracy_of_nothing")


def test_an_entry_without_a_package_is_ours() -> None:
    from rescind.registry import _qualified

    assert _qualified(EntryPoint("x", "a:b", "rescind.methods")) == "x"
