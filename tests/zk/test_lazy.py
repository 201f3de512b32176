"""Tensors that are read when they are asked for are those of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from rescind.core.errors import BadData, BadParameter
from rescind.zk.tensors import lazy_tensors, load_tensors


def test_they_are_those_of_the_file_and_nothing_else_is(tmp_path: Path) -> None:
    path, tensors = tmp_path / "g", {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(1, np.int8)}
    save_file(tensors, path)
    lazy = lazy_tensors(path)
    assert sorted(lazy) == sorted(load_tensors(path)) == ["a", "b"] and len(lazy) == 2
    for name, wanted in tensors.items():
        assert lazy[name].dtype == wanted.dtype and (lazy[name] == wanted).all()
        assert (load_tensors(path)[name] == wanted).all()
    assert lazy.get("c") is None


def test_what_numpy_cannot_read_is_refused_with_a_word(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="no file"):
        lazy_tensors(tmp_path / "nothing")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(BadData, match="no safetensors file"):
        lazy_tensors(tmp_path / "text")
    save_torch({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "half")
    with pytest.raises(BadData, match="no safetensors file"):
        lazy_tensors(tmp_path / "half")["a"]
    with pytest.raises(BadData, match="no safetensors file"):
        load_tensors(tmp_path / "half")
