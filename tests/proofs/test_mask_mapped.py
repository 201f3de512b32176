"""Arrays in files without a name: their pages can be handed back, and nothing of them stays."""

from __future__ import annotations

import os
import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mask_worlds import both_verify, proved, world

from rescind.core.errors import StorageFailed
from rescind.proofs.mask_proof.mapped import copied, let_go, mapped
from rescind.proofs.mask_proof.truth import Secret


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_pages_are_handed_back_and_the_numbers_stay() -> None:
    values = mapped((64, 2**20), np.int8)
    assert not values.any()
    values[:] = np.arange(64, dtype=np.int8)[:, None]
    full = resident()
    let_go(values[3:5, None])  # of a part as of the whole
    assert full - resident() > 60 * 2**20
    assert (values[:, 7] == np.arange(64)).all()


def test_no_file_is_left_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    values = copied(np.arange(1000))
    assert not os.listdir(tmp_path) and (values == np.arange(1000)).all()


def test_a_folder_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageFailed, match="TMPDIR"):
        mapped((2**46,), np.int64)


def test_other_arrays_are_left_alone_and_empty_ones_need_no_file() -> None:
    values = np.arange(10)
    let_go(values)
    assert values.sum() == 45
    assert mapped((0, 3), np.int64).shape == (0, 3)


def test_a_mapped_secret_is_proved_stack_by_stack() -> None:
    made = world(blocks=130)
    assert made.statement.stacks > 1
    secret = made.secret
    own = Secret(copied(secret.weights), copied(secret.gradients), copied(secret.post))
    made = replace(made, secret=own)
    both_verify(made.statement, made.public, proved(made))
