"""The loops of a proof are compiled at their first use on a machine, which takes a while."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from rescind.proofs.mask_proof.transform import fourier

SECONDS = 25  # of a processor, all loops together
LAST = "fourier.open_rows"  # a prover needs it at its very end
MESSAGE = f"Compiling the loops of the proof, once on this machine: about {SECONDS} seconds."


@cache
def tell() -> None:
    """Say so on standard error, once, where it has not been done."""
    if fourier is not None:
        folder = Path(fourier.open_rows.stats.cache_path)
        if not compiled(folder, LAST, Path(str(fourier.__file__))):
            sys.stderr.write(f"{MESSAGE}\n")


def compiled(folder: Path, name: str, source: Path) -> bool:
    """Whether numba's folder holds an index of a function that is newer than its source."""
    written = source.stat().st_mtime
    return any(index.stat().st_mtime >= written for index in folder.glob(f"{name}-*.nbi"))
