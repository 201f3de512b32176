"""An encoder may be a folder, a function that returns one, or a name on the Hugging Face hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescind.core.errors import BadParameter
from rescind.testing.tiny import tiny_encoder
from rescind.training.pretrained import encoder_digest, encoder_folder
from rescind.training.tasks import TextClassification

REVISION = "0" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache as a download leaves it; offline, the real loading code reads it."""
    folder = tmp_path / "hub" / "models--somebody--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    made = Path(tiny_encoder(tmp_path / "tiny"))
    shutil.copytree(made, folder / "snapshots" / REVISION)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return made


def test_a_name_on_the_hub_is_read_from_its_cache(hub: Path) -> None:
    assert encoder_folder("somebody/tiny").name == REVISION
    named, given = (
        TextClassification(encoder, ("a", "b")) for encoder in ("somebody/tiny", str(hub))
    )
    assert encoder_digest(named) == encoder_digest(given)
    assert named.build().state_dict().keys() == given.build().state_dict().keys()


def test_a_name_that_nobody_has_says_what_to_check(hub: Path) -> None:
    with pytest.raises(BadParameter, match="could not be fetched") as caught:
        encoder_folder("somebody/else")
    assert "task.encoder" in caught.value.do
