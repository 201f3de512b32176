"""The reader of CIFAR-10, on small made files of its format; none of the real images is here."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from rescind.core.errors import BadData, MissingExtra
from rescind.data import cifar10

EACH = 4  # records in a made file, where the real ones have 10,000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Image i of a part has the label i % 10 and i in its first byte of red, 100 + i in that of
    green and 200 + i in that of blue.
    """
    monkeypatch.setattr(cifar10, "EACH", EACH)
    names = [*cifar10.FILES["train"], *cifar10.FILES["test"]]
    for at, name in enumerate(names):
        first = 0 if name == "test_batch.bin" else at * EACH
        (tmp_path / name).write_bytes(b"".join(record(first + i) for i in range(EACH)))
    return tmp_path


def record(i: int) -> bytes:
    return bytes([i % 10]) + b"".join(bytes([c + i]) + bytes(1023) for c in (0, 100, 200))


def test_labels_and_pixels_go_on_from_file_to_file(folder: Path) -> None:
    rows = cifar10.load(folder)
    assert [row["id"] for row in rows] == [f"train-{i}" for i in range(20)]
    assert [row["label"] for row in rows] == [cifar10.CLASSES[i % 10] for i in range(20)]
    pixels = [base64.b64decode(row["array"]) for row in rows]
    assert [p[0::1024] for p in pixels] == [bytes([i, 100 + i, 200 + i]) for i in range(20)]
    assert {len(p) for p in pixels} == {3072}


def test_the_task_sees_red_green_and_blue_in_rows(folder: Path) -> None:
    from rescind.training.modules import Classification

    data = bytearray(record(0))
    data[1 + 1024 + 2 * 32 + 5] = 255  # green, third row, sixth column
    path = folder / "test_batch.bin"
    path.write_bytes(bytes(data) + path.read_bytes()[len(data) :])
    task = Classification("rescind.training.zoo:resnet18", cifar10.CLASSES, cifar10.SHAPE)
    batch = task.batch(cifar10.load(folder, "test", 1))
    assert batch["array"].shape == (1, 3, 32, 32)
    assert float(batch["array"][0, 1, 2, 5]) == 1.0
    assert int((batch["array"] == 1.0).sum()) == 1


@pytest.mark.parametrize("count", [0, 1, 4, 5, 19, 20, 99])
def test_a_count_takes_the_first(folder: Path, count: int) -> None:
    assert cifar10.load(folder, "train", count) == cifar10.load(folder)[:count]


def test_the_test_part(folder: Path) -> None:
    assert [row["id"] for row in cifar10.load(folder, "test")] == [f"test-{i}" for i in range(4)]


def test_all_missing_files_are_named(folder: Path) -> None:
    for i in (2, 5):
        (folder / f"data_batch_{i}.bin").unlink()
    with pytest.raises(MissingExtra, match=r"data_batch_2\.bin, data_batch_5\.bin not") as caught:
        cifar10.load(folder, "train", 1)
    assert "cifar-10-binary.tar.gz" in str(caught.value)
    assert len(cifar10.load(folder, "test")) == EACH


@pytest.mark.parametrize("length", [0, EACH * 3073 - 1, EACH * 3073 + 1, EACH * 3072])
def test_another_length_is_refused(folder: Path, length: int) -> None:
    (folder / "data_batch_1.bin").write_bytes(bytes(length))
    with pytest.raises(BadData, match=f"holds {length} bytes"):
        cifar10.load(folder, "train", 1)


def test_a_label_above_nine_is_refused_where_it_is_read(folder: Path) -> None:
    path = folder / "data_batch_2.bin"
    data = bytearray(path.read_bytes())
    data[2 * 3073] = 10
    path.write_bytes(bytes(data))
    assert len(cifar10.load(folder, "train", EACH + 2)) == EACH + 2
    with pytest.raises(BadData, match=r"Record 2 of .*data_batch_2\.bin has the label 10"):
        cifar10.load(folder)


def test_an_unknown_part(folder: Path) -> None:
    with pytest.raises(BadData, match="no part"):
        cifar10.load(folder, "validation")


def test_the_format_is_that_of_the_real_files() -> None:
    assert (cifar10.EACH, cifar10.RECORD) == (10_000, 3_073)
    assert [len(names) for names in cifar10.FILES.values()] == [5, 1]
