"""The steps of a spot check over files, as the command line takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rescind.core.canonical import dumps, plain
from rescind.core.errors import BadParameter
from rescind.proofs.signing import load_public as load_key
from rescind.zk import certificate, picking, signed
from rescind.zk.client import Opening
from rescind.zk.files import (
    Published,
    backends,
    new_file,
    read_bytes,
    read_epoch,
    read_record,
    received,
    replace_file,
)
from rescind.zk.opened import read, written
from rescind.zk.picks import Pick, Taken, chances
from rescind.zk.showing import show
from rescind.zk.spot import Spotted, check_spot
from rescind.zk.tensors import load_tensors
from rescind.zk.terms import Commitment


def pick_files(
    folder: Path, epoch: Path, key: Path, private: Path, commitment: Path, count: int, out: Path
) -> dict[str, Any]:
    """Draw gradients of a commitment in the ledger, and sign which. Raises as ``picking.pick``."""
    signer, committed = signed.read_private(private), read_record(Commitment, commitment)
    terms = read_epoch(epoch, key)
    _absent(out)
    found = picking.pick(backends(folder), terms, committed, count)
    new_file(out, signed.sign(found, signer))
    return {"pick": str(out), "gradients": found.numbers, "chances": chances(found)}


def open_files(
    epoch: Path, pick: Path, key: Path, commitment: Path, gradients: Path, secret: Path, out: Path
) -> dict[str, Any]:
    """Write the picked gradients. The pick is noted before they are. Raises as ``showing.show``."""
    terms, found = read_epoch(epoch, key), signed.opened(Pick, read_bytes(pick), _key(key))
    _absent(out)
    committed, own = read_record(Commitment, commitment), read_record(Opening, secret)
    shown, noted = show(terms, found, committed, load_tensors(gradients), own)
    replace_file(secret, dumps(plain(noted)))
    new_file(out, written(shown), secret=True)
    return {
        "opened": str(out),
        "gradients": found.numbers,
        "of": found.sketches,
        "note": "whoever gets the file sees these gradients whole, and may compute records of them",
    }


def take_files(
    folder: Path, epoch: Path, pick: Path, opened: Path, key: Path, private: Path, out: Path
) -> dict[str, Any]:
    """Enter what a client showed, and sign that it came in time. Raises as ``picking.take``."""
    signer, data = signed.read_private(private), read_bytes(opened)
    found = signed.opened(Pick, read_bytes(pick), _key(key))
    read(read_epoch(epoch, key).sized, len(found.numbers), data)
    _absent(out)
    taken = picking.take(backends(folder), found, data)
    new_file(out, signed.sign(taken, signer))
    return {"taken": str(out), "entry": taken.seq}


def spot_files(
    published: Published,
    taken: Path,
    opened: Path,
    commitment: Path,
    receipt: Path,
    statement: Path,
    proof: Path,
) -> Spotted:
    """Check a proof, and the opened gradients by it. Raises as ``spot.check_spot``."""
    got = received(published, commitment, receipt, statement, proof)
    return check_spot(
        got, signed.opened(Taken, read_bytes(taken), _key(published.key)), read_bytes(opened)
    )


def certify_spotted(spotted: Spotted, private: Path, out: Path) -> dict[str, Any]:
    """Write the certificate of what was found, recomputed gradients among it.

    Raises:
        BadParameter: a file exists, or there is no key.
    """
    signer = signed.read_private(private)
    new_file(out, certificate.issue(spotted.got, spotted.verdict, signer, spotted.spot))
    return {"certificate": str(out), "bits": spotted.verdict.bits}


def _key(path: Path) -> bytes:
    return load_key(read_bytes(path))


def _absent(path: Path) -> None:
    """Before anything is drawn or entered that cannot be again."""
    if path.exists():
        raise BadParameter(f"{path} exists already.", do="Name a new file.")
