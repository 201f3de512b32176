"""``pip install rescind`` as it is: an environment of its own, without numpy, torch and the rest.

It is put together from the packages that are installed here and that the light install asks for, so
that no network is needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rescind
from rescind import state
from rescind.storage.keys import KeyStore
from rescind.testing.tiny import tiny_encoder, tiny_recipe, tiny_rows, tiny_task
from rescind.workspace import Ask, open_workspace

pytestmark = pytest.mark.slow  # it builds an environment
VECTORS = Path(__file__).parent / "proofs" / "vectors"
NEEDS_TORCH = {
    "predict": ("a text",),
    "rebuild": ("--shard", "0"),
    "process": ("--yes",),
}


def needed(name: str, known: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distribution and all it asks for without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in known:
        known[key] = distribution(name)
        for text in known[key].requires or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                needed(wanted.name, known)
    return known


def places(found: Distribution) -> Iterator[Path]:
    """Its files and folders directly in site-packages."""
    tops = {Path(str(file)).parts[0] for file in found.files or []}
    return (Path(str(found.locate_file(top))) for top in sorted(tops) if top != "..")


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the light install and nothing else."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    for name, found in needed("rescind", {}).items():
        for place in places(found):
            if name != "rescind" or place.suffix == ".dist-info":
                (site / place.name).symlink_to(place)
    (site / "ours.pth").write_text(str(Path(rescind.__file__).parent.parent))
    return folder / "bin" / "python"


def run(light: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(light), "-m", "rescind", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that the full install trained, with one withdrawn request."""
    folder = tmp_path_factory.mktemp("full")
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in tiny_rows(60)))
    for name in ("workspace", "partition"):  # so that the records are placed alike each time
        KeyStore(folder / "ws" / "keys").put(name, name.ljust(32, "2").encode())
    ws = open_workspace(folder / "ws")
    task = tiny_task(Path(tiny_encoder(folder / "encoder")))
    ws.train(tiny_recipe(task), str(source))
    key = next(e.key for e in state.allowed(ws.backends) if e.cell == "0.0")
    ws.request(Ask(keys=(key,), near="keep", accept_outage=True))
    ws.backends.ledger.close()
    return ws.folder


@pytest.mark.parametrize("name", ["torch", "numpy", "transformers", "peft", "scipy"])
def test_it_is_light(light: Path, name: str) -> None:
    out = subprocess.run([str(light), "-c", f"import {name}"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in out.stderr


def test_it_verifies_a_certificate_and_refuses_a_lie(light: Path) -> None:
    verify = ("certificate", "verify", "--key", str(VECTORS / "key.pem"), "--at", "2026-06-01")
    good = run(light, *verify, str(VECTORS / "golden_exact_never_saw.json"))
    assert (good.returncode, good.stderr) == (0, "")
    assert run(light, *verify, str(VECTORS / "changed_byte.json")).returncode == 3


def test_ledger_plans_and_reports_work(light: Path, trained: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    shutil.copytree(trained, ws)
    where = ("--workspace", str(ws))
    listed = run(light, "request", "list", "--json", *where)
    [request] = json.loads(listed.stdout)["requests"]
    for verb in (
        ("report", request["id"]),
        ("db", "verify"),
        ("list", "methods"),
        ("list", "models", *where),
        ("request", "show", request["id"]),
        ("erase",),
    ):
        done = run(light, *verb, *(() if where[0] in verb or verb[0] == "list" else where))
        assert done.returncode == (4 if verb == ("erase",) else 0), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", NEEDS_TORCH)
def test_what_needs_more_says_what_to_type(light: Path, trained: Path, verb: str) -> None:
    done = run(light, verb, *NEEDS_TORCH[verb], "--workspace", str(trained))
    assert done.returncode == 1
    assert "pip install 'rescind[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_names_its_own_extra_and_leaves_nothing(light: Path, tmp_path: Path) -> None:
    done = run(light, "demo", "--workspace", str(tmp_path / "demo"))
    assert done.returncode == 1
    assert "pip install 'rescind[demo]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_training_names_its_extra_and_leaves_nothing(light: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    encoder = tiny_encoder(tmp_path / "encoder")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in tiny_rows(60)))
    recipe.write_text(
        f'[source]\ndata = "rows.jsonl"\n[task]\nkind = "text_classification"\n'
        f'encoder = "{encoder}"\nlabels = ["sport", "tech"]\n'
    )
    before = sorted(tmp_path.iterdir())
    done = run(light, "train", str(recipe), "--workspace", str(tmp_path / "ws"), cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'rescind[train]'" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
