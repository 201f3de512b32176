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
from rescind.proofs.export_digest import exported_weights

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

    assert exported_weights(folder) == weights_digest([snapshot(0, (2, 0)), snapshot(1, (1,))])


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
    before = exported_weights(folder)
    rewrite(folder, change)
    if len(json.loads((folder / "selection.json").read_text())["parts"]) == 1:
        (folder / "shard_0.safetensors").unlink()
    assert exported_weights(folder) != before


def test_another_byte_of_weights_is_another_model(folder: Path) -> None:
    before = exported_weights(folder)
    path = folder / "shard_1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert exported_weights(folder) != before


@pytest.mark.parametrize(
    "change",
    [
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
        exported_weights(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_no_selection_is_refused(folder: Path, text: bytes) -> None:
    (folder / "selection.json").write_bytes(text)
    with pytest.raises(DamagedArtifact):
        exported_weights(folder)


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write_export(inside)
    (inside / "shard_0.safetensors").rename(tmp_path / "shard_0.safetensors")
    for file in ("../shard_0.safetensors", str(tmp_path / "shard_0.safetensors")):
        rewrite(inside, lambda s, file=file: s["parts"][0].update(file=file))  # type: ignore[misc]
        with pytest.raises(DamagedArtifact, match="malformed"):
            exported_weights(inside)


def test_missing_folder_and_stray_weights(folder: Path) -> None:
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        exported_weights(folder / "nowhere")
    (folder / "other.safetensors").write_bytes(b"")
    with pytest.raises(DamagedArtifact, match="does not name"):
        exported_weights(folder)
