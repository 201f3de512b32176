"""Whoever waits for the loops of a proof to be compiled is told so, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rescind.proofs.mask_proof import compiling

CODE = "from rescind.proofs.mask_proof import compiling as c; c.tell(); c.tell()"


def test_an_index_that_is_newer_than_the_loops_means_that_they_are_compiled(tmp_path: Path) -> None:
    source, index = tmp_path / "fourier.py", tmp_path / "fourier.open_rows-1.py311.nbi"
    source.touch()
    assert not compiling.compiled(tmp_path / "nowhere", compiling.LAST, source)
    assert not compiling.compiled(tmp_path, compiling.LAST, source)
    index.touch()
    os.utime(index, (0, source.stat().st_mtime - 1))
    assert not compiling.compiled(tmp_path, compiling.LAST, source)
    os.utime(index, (0, source.stat().st_mtime + 1))
    assert compiling.compiled(tmp_path, compiling.LAST, source)
    assert not compiling.compiled(tmp_path, "fourier.other", source)


def test_it_is_said_once_where_the_cache_is_empty(tmp_path: Path) -> None:
    where = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=where, capture_output=True, text=True, check=True
    )
    assert done.stdout == "" and done.stderr.count(compiling.MESSAGE) == 1
