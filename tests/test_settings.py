"""Environment over file over defaults; what is unknown or wrong is named with its place."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from rescind.core.errors import BadParameter
from rescind.settings import Settings, load_settings, typed, write_settings


def written(folder: Path, text: str) -> Path:
    (folder / "rescind.toml").write_text(text)
    return folder


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()
    assert Settings() == Settings(True, True, 0, 1, "local", 365, 30, 0.5)


def test_the_file_goes_before_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, 'workers = 2\nexecutor = "inline"\n'))
    assert settings == Settings(workers=2, executor="inline")


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_WORKERS", "3")
    monkeypatch.setenv("RESCIND_ENCRYPT", "false")
    monkeypatch.setenv("RESCIND_NEAR_THRESHOLD", "1")
    settings = load_settings(written(tmp_path, "workers = 2\ndue_days = 7\n"))
    assert settings == Settings(workers=3, due_days=7, encrypt=False, near_threshold=1.0)


def test_what_is_written_is_read_back_and_explained(tmp_path: Path) -> None:
    settings = Settings(False, False, 2, 3, "inline", 10, 5, 0.75)
    path = write_settings(tmp_path, settings)
    assert load_settings(tmp_path) == settings
    text = path.read_text()
    assert set(tomllib.loads(text)) == {f.name for f in fields(Settings)}
    assert text.count("\n# ") == len(fields(Settings))


def test_no_setting_lacks_its_explanation() -> None:
    assert all(len(f.metadata["about"]) > 10 for f in fields(Settings))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 2", "sets worker, which is no setting. Did you mean workers?"),
        ("zzz = 2", "which is no setting. The settings are encrypt, suppression_list,"),
        ('workers = "2"', "workers is '2'. It must be of type int."),
        ("workers = true", "workers is True. It must be of type int."),
        ("encrypt = 1", "encrypt is 1. It must be of type bool."),
        ('executor = "ray"', "executor is 'ray'. It must be one of ['local', 'inline']."),
        ("workers = -1\nthreads = 0", "workers is -1; it must be at least 0; threads is 0"),
        ("near_threshold = 1.5", "near_threshold is 1.5; it must lie in (0, 1]"),
        ("near_threshold = nan", "near_threshold is nan. It must be a finite number."),
        ("workers =", "is not TOML."),
    ],
)
def test_a_wrong_line_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadParameter) as caught:
        load_settings(written(tmp_path, text))
    assert said in str(caught.value)
    assert str(tmp_path / "rescind.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RESCIND_WORKER", "2", "sets RESCIND_WORKER, which is no setting. Did you mean RESCIND_"),
        ("RESCIND_WORKERS", "two", "workers is 'two'. It must be of type int."),
        ("RESCIND_ENCRYPT", "no", "encrypt is 'no'. It must be of type bool."),
        ("RESCIND_EXECUTOR", "ray", "executor is 'ray'."),
        ("RESCIND_THREADS", "0", "threads is 0; it must be at least 1"),
        ("RESCIND_WORKERS", "", "workers is ''."),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadParameter) as caught:
        load_settings(tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("The environment")


def test_a_wrong_line_is_wrong_even_under_a_right_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_WORKERS", "2")
    with pytest.raises(BadParameter, match="workers is 'x'"):
        load_settings(written(tmp_path, 'workers = "x"'))


def test_where_the_workspace_is_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_WORKSPACE", str(tmp_path))
    assert load_settings(tmp_path) == Settings()


def test_text_for_unknown_fields_is_left_to_be_refused() -> None:
    assert typed(Settings, {"workers": "4", "other": "4"}) == {"workers": 4, "other": "4"}
