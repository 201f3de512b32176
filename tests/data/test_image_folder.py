"""The reader of folders of images, on images that the tests draw."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest
from PIL import Image

from rescind.core.errors import BadData, BadParameter, MissingExtra
from rescind.data import image_folder


def draw(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images; red counts the images."""
    for i in range(3):
        draw(tmp_path / "set" / "hen" / f"b{i}.png", (i, 10, 20))
        draw(tmp_path / "set" / "cat" / f"a{i}.PNG", (100 + i, 10, 20))
    (tmp_path / "set" / "hen" / "readme.txt").write_text("no image")
    (tmp_path / "set" / "hen" / ".b9.png").write_bytes(b"hidden")
    (tmp_path / "set" / "list.txt").write_text("no class")
    return tmp_path / "set"


def pixels(row: dict[str, str]) -> bytes:
    return base64.b64decode(row["array"])


def test_classes_and_files_come_in_their_order(folder: Path) -> None:
    assert image_folder.class_names(folder) == ("cat", "hen")
    rows = image_folder.load(folder, side=7)
    assert [row["id"] for row in rows] == [
        *(f"set/cat/a{i}.PNG" for i in range(3)), *(f"set/hen/b{i}.png" for i in range(3)),
    ]  # fmt: skip
    assert [row["label"] for row in rows] == ["cat"] * 3 + ["hen"] * 3
    assert [pixels(row)[0] for row in rows] == [100, 101, 102, 0, 1, 2]
    assert pixels(rows[0]) == bytes([100]) * 49 + bytes([10]) * 49 + bytes([20]) * 49


def test_sets_that_skip_share_no_image(folder: Path) -> None:
    first = image_folder.load(folder, 1, side=7)
    second = image_folder.load(folder, 2, skip=1, side=7)
    assert len(first) == 2 and len(second) == 4
    assert not {row["id"] for row in first} & {row["id"] for row in second}
    assert image_folder.load(folder, 9, side=7) == image_folder.load(folder, side=7)
    only = image_folder.load(folder, 1, side=7, classes=("hen",))
    assert [row["label"] for row in only] == ["hen"]


def test_the_crop_is_the_middle_of_256_by_256(tmp_path: Path) -> None:
    """Each pixel tells where it was: 16 from every side are cut off and nothing is scaled."""
    picture = Image.new("RGB", (256, 256))
    picture.putdata([(x, y, 7) for y in range(256) for x in range(256)])
    (tmp_path / "one").mkdir()
    picture.save(tmp_path / "one" / "x.png")
    (row,) = image_folder.load(tmp_path)
    found = pixels(row)
    assert len(found) == 3 * 224 * 224
    red, green, blue = (found[i * 224 * 224 : (i + 1) * 224 * 224] for i in range(3))
    assert red[:224] == bytes(range(16, 240)) == red[-224:]
    assert green[::224] == bytes(range(16, 240)) and set(blue) == {7}


def test_proportions_are_not_kept(tmp_path: Path) -> None:
    """As in the released code: a wide image is squeezed, so both its sides stay in the crop."""
    (tmp_path / "one").mkdir()
    wide = Image.new("RGB", (640, 64), (0, 0, 0))
    wide.paste((255, 255, 255), (0, 0, 320, 64))
    wide.save(tmp_path / "one" / "x.png")
    (row,) = image_folder.load(tmp_path, side=56)
    first = pixels(row)[:56]
    assert first[:26] == bytes([255]) * 26 and first[30:] == bytes(26)


def test_grey_and_palette_images_become_three_colours(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    Image.new("L", (9, 9), 50).save(tmp_path / "one" / "a.png")
    Image.new("P", (9, 9), 0).save(tmp_path / "one" / "b.png")
    grey, palette = image_folder.load(tmp_path, side=7)
    assert pixels(grey) == bytes([50]) * 147
    assert len(pixels(palette)) == 147


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    (folder / "cat" / "a1.PNG").write_bytes(b"not found")
    with pytest.raises(BadData, match=r"a1\.PNG cannot be read as an image"):
        image_folder.load(folder, side=7)
    data = (folder / "cat" / "a0.PNG").read_bytes()
    (folder / "cat" / "a1.PNG").write_bytes(data[:-30])
    with pytest.raises(BadData, match=r"a1\.PNG cannot be read as an image"):
        image_folder.load(folder, side=7)


def test_classes_without_images_are_all_named(folder: Path) -> None:
    (folder / "ant").mkdir()
    (folder / "bee").mkdir()
    with pytest.raises(BadData, match="no image for ant, bee"):
        image_folder.load(folder, side=7)
    with pytest.raises(BadData, match="no image for dog"):
        image_folder.load(folder, side=7, classes=("cat", "dog"))
    with pytest.raises(BadData, match=r"no image for cat, hen after the first 3\."):
        image_folder.load(folder, 1, skip=3, side=7, classes=("cat", "hen"))


def test_a_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="There is no folder"):
        image_folder.load(tmp_path / "gone")
    with pytest.raises(BadData, match="holds no folders"):
        image_folder.load(tmp_path)


@pytest.mark.parametrize(("per_class", "skip", "side"), [(0, 0, 7), (1, -1, 7), (1, 0, 0)])
def test_numbers_that_cannot_work(folder: Path, per_class: int, skip: int, side: int) -> None:
    with pytest.raises(BadParameter, match="per_class is"):
        image_folder.load(folder, per_class, skip, side)


def test_without_pillow_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match="pip install pillow"):
        image_folder.load(folder, side=7)
