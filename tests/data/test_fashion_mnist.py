"""The reader of Fashion-MNIST, on files of its format."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest

from rescind.core.errors import BadData, MissingExtra
from rescind.data import fashion_mnist


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images: the first byte of each is its number."""
    monkeypatch.setattr(fashion_mnist, "FOLDERS", (tmp_path / "debian", tmp_path))
    monkeypatch.setattr(fashion_mnist, "FILES", {"train": ("train", 3)})
    pixels = b"".join(bytes([i]) + bytes(783) for i in range(3))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + b"\0\6\5"))
    return tmp_path


def test_images_and_names_of_labels(folder: Path) -> None:
    rows = fashion_mnist.load("train")
    assert [row["label"] for row in rows] == ["t-shirt", "shirt", "sandal"]
    assert [base64.b64decode(row["array"])[0] for row in rows] == [0, 1, 2]
    assert fashion_mnist.load("train", 2) == rows[:2]


def test_the_package_of_the_system_comes_first(folder: Path) -> None:
    (folder / "debian").mkdir()
    name = "train-labels-idx1-ubyte.gz"
    (folder / "debian" / name).write_bytes(gzip.compress(bytes(8) + b"\1\1\1"))
    assert [row["label"] for row in fashion_mnist.load("train")] == ["trouser"] * 3


def test_the_real_images_are_there() -> None:
    labels = [row["label"] for row in fashion_mnist.load("test")]
    assert [labels.count(name) for name in fashion_mnist.CLASSES] == [1_000] * 10


def test_a_missing_package_is_named(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MissingExtra, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist.load("train")


def test_a_cut_file_is_told(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(20)))
    with pytest.raises(BadData, match="holds 4 bytes"):
        fashion_mnist.load("train")


def test_an_unknown_part(folder: Path) -> None:
    with pytest.raises(BadData, match="no part"):
        fashion_mnist.load("validation")
