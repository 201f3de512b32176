"""The digest of an exported folder equals that of the version it was exported from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_vectors import write_export

from rescind.core.errors import DamagedArtifact
from rescind.core.run import Snapshot
from rescind.core.version import weights_digest
from rescind.proofs.export_digest import read_export

Selection = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_export(tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[Selection], object]) -> None:
    path = folder / "selection.json"
    selection = json.loads(path.read_text())
    change(selection)
    path.write_text(json.dumps(selection))


def test_same_digest_as_the_version(folder: Path) -> None:
    def snapshot(shard: int, slices: tuple[int, ...]) -> Snapshot:
        data = (folder / f"shard_{shard}.safetensors").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return Snapshot(f"s{shard}", shard, 0, slices, ((0,),) * len(slices), digest, 40 + shard)

    assert read_export(folder).weights == weights_digest([snapshot(0, (2, 0)), snapshot(1, (1,))])


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["parts"].reverse(),
        lambda s: s["parts"].pop(0),
        lambda s: s["parts"][0].update(records=41),
        lambda s: s["parts"][0].update(slices=[0, 2]),
        lambda s: s["parts"][0].update(shard=2),
    ],
)
def test_another_selection_is_another_model(
    folder: Path, change: Callable[[Selection], object]
) -> None:
    before = read_export(folder).weights
    rewrite(folder, change)
    if len(json.loads((folder / "selection.json").read_text())["parts"]) == 1:
        (folder / "shard_0.safetensors").unlink()
    assert read_export(folder).weights != before


def test_another_byte_of_weights_is_another_model(folder: Path) -> None:
    before = read_export(folder).weights
    path = folder / "shard_1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert read_export(folder).weights != before


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("model"),
        lambda s: s.update(model=None),
        lambda s: s.pop("parts"),
        lambda s: s.update(parts=[]),
        lambda s: s.update(parts={}),
        lambda s: s.update(parts=[None]),
        lambda s: s["parts"][0].pop("records"),
        lambda s: s["parts"][0].update(records=True),
        lambda s: s["parts"][0].update(shard=-1),
        lambda s: s["parts"][0].update(shard=0.0),
        lambda s: s["parts"][0].update(slices="20"),
        lambda s: s["parts"][0].update(slices=[None]),
        lambda s: s["parts"][0].update(file="missing.safetensors"),
        lambda s: s["parts"][0].update(file="../selection.json"),
        lambda s: s["parts"][0].update(file="/etc/hostname"),
        lambda s: s["parts"][0].update(file=".."),
        lambda s: s["parts"][0].update(file=""),
        lambda s: s["parts"][0].update(file="a\0b"),
        lambda s: s["parts"][0].update(file="\ud800"),
        lambda s: s["parts"][0].update(file=3),
    ],
)
def test_a_malformed_selection_is_refused(
    folder: Path, change: Callable[[Selection], object]
) -> None:
    rewrite(folder, change)
    with pytest.raises(DamagedArtifact, match="Export the version again"):
        read_export(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_no_selection_is_refused(folder: Path, text: bytes) -> None:
    (folder / "selection.json").write_bytes(text)
    with pytest.raises(DamagedArtifact):
        read_export(folder)


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write_export(inside)
    (inside / "shard_0.safetensors").rename(tmp_path / "shard_0.safetensors")
    for file in ("../shard_0.safetensors", str(tmp_path / "shard_0.safetensors")):
        rewrite(inside, lambda s, file=file: s["parts"][0].update(file=file))  # type: ignore[misc]
        with pytest.raises(DamagedArtifact, match="malformed"):
            read_export(inside)


def test_a_missing_folder_is_refused(folder: Path) -> None:
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        read_export(folder / "nowhere")


def test_the_name_of_the_model_is_read(folder: Path) -> None:
    assert read_export(folder).model == "news"
    rewrite(folder, lambda s: s.update(model="weather"))
    assert read_export(folder).model == "weather"


def test_a_recipe_may_lie_beside_the_selection(folder: Path) -> None:
    before = read_export(folder)
    (folder / "recipe.json").write_text("{}")
    assert read_export(folder) == before


@pytest.mark.parametrize(
    "name",
    [
        "other.safetensors",
        "x.SAFETENSORS",
        "pytorch_model.bin",
        ".hidden",
        "selection.json~",
        "recipe.yaml",
        "sub/x.safetensors",
        "sub/selection.json",
        "sub/shard_0.safetensors",
        "recipe.json/x.bin",
        "a/b/x.bin",
    ],
)
def test_anything_else_beside_them_is_refused_and_named(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(DamagedArtifact) as caught:
        read_export(folder)
    assert name in caught.value.what


def test_an_empty_folder_inside_is_refused(folder: Path) -> None:
    (folder / "recipe.json").mkdir()
    with pytest.raises(DamagedArtifact, match=r"names: recipe\.json"):
        read_export(folder)


def test_a_link_is_named_and_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.safetensors").write_bytes(b"")
    for name in ("recipe.json", "sub"):
        (folder / name).symlink_to(elsewhere)
        with pytest.raises(DamagedArtifact, match=f"names: {name}[.]"):
            read_export(folder)
        (folder / name).unlink()


def test_a_folder_that_cannot_be_listed_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DamagedArtifact, match="cannot be listed: Permission denied"):
        read_export(folder)
