"""The steps of provider, client and verifier over files, as the command line takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rescind.core.canonical import build, dumps, plain
from rescind.core.errors import BadData, BadParameter
from rescind.core.protocols import Progress
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.reading import parse_json
from rescind.proofs.signing import KeySigner
from rescind.proofs.signing import load_public as load_key
from rescind.zk import certificate, receipts, signed
from rescind.zk.check import Received, Verdict, check
from rescind.zk.client import Opening, commit, compensate, prove_once
from rescind.zk.entries import Receipt
from rescind.zk.provider import Wish, check_slack, make
from rescind.zk.tensors import Tensors, lazy_tensors, load_public, load_tensors, save_public
from rescind.zk.terms import Commitment, Epoch, MaskOrder, Roots

if TYPE_CHECKING:
    from rescind.backends import Backends

LARGEST = 2**31  # bytes of what is read whole
INPUTS = ("weights", "gradients", "mask", "direction")
T = TypeVar("T", Commitment, Statement, Opening)


@dataclass(frozen=True, slots=True)
class Published:
    """Files of a provider, and its public key."""

    epoch: Path
    order: Path
    mask: Path
    key: Path

    def read(self) -> tuple[Epoch, MaskOrder, Public]:
        """All of them, by the key.

        Raises:
            VerificationFailed: one is not signed by it.
            BadData, BadParameter: one is missing or something else.
        """
        key = load_key(read_bytes(self.key))
        order = signed.opened(MaskOrder, read_bytes(self.order), key)
        return read_epoch(self.epoch, self.key), order, load_public(self.mask)


def read_epoch(epoch: Path, key: Path) -> Epoch:
    """A signed epoch. Raises as ``Published.read``."""
    return signed.opened(Epoch, read_bytes(epoch), load_key(read_bytes(key)))


def new_key(private: Path, public: Path) -> str:
    """As ``signed.new_key``."""
    return signed.new_key(private, public)


def make_mask(inputs: Path, private: Path, folder: Path, wish: Wish) -> dict[str, Any]:
    """Write epoch.json, to publish, and order.json and mask.npz, to publish after the closing.

    ``inputs`` holds the first four arguments of ``provider.make``, each a safetensors file of that
    name.

    Raises:
        BadParameter, BadData, InsufficientEvidence: as ``provider.make``; or a file exists.
    """
    signer = signed.read_private(private)
    weights, gradients, mask, direction = (
        load_tensors(inputs / f"{name}.safetensors") for name in INPUTS
    )
    made = make(weights, gradients, mask, direction, wish)
    found = write_order(made.epoch, made.order, made.public, signer, folder)
    return {**found, "exceptions": len(made.simulated.exceptions)}


def write_order(
    epoch: Epoch, order: MaskOrder, public: Public, signer: KeySigner, folder: Path
) -> dict[str, Any]:
    """Write the three files of an order.

    Raises:
        BadParameter: one of them exists.
    """
    paths = {name: folder / name for name in ("epoch.json", "order.json", "mask.npz")}
    for path in paths.values():
        if path.exists():
            raise BadParameter(f"{path} exists already.", do="Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        new_file(paths["epoch.json"], signed.sign(epoch, signer))
        new_file(paths["order.json"], signed.sign(order, signer), secret=True)
        paths["mask.npz"].touch(mode=0o600)
        save_public(paths["mask.npz"], public)
    except BaseException:  # half an order would be a copy that nobody noted
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    statement = epoch.statement(order, (), Roots(weights="", gradients=""))
    return {
        **{path.stem: str(path) for path in paths.values()},
        "residual_of_pull": round(check_slack(statement, public), 4),
        "blocks": statement.blocks,
    }


def commit_files(
    epoch: Path, key: Path, model: Path, gradients: Path, out: Path, secret: Path
) -> dict[str, Any]:
    """Write a commitment, and what opens it. Raises as ``client.commit``."""
    committed, opening = commit(
        read_epoch(epoch, key), load_tensors(model), lazy_tensors(gradients)
    )
    new_file(secret, dumps(plain(opening)), secret=True)
    new_file(out, dumps(plain(committed)))
    return {"commitment": str(out), "secret": str(secret), "client": committed.client}


def compensate_files(
    published: Published, model: Path, gradients: Path, out: Path
) -> dict[str, Any]:
    """Write the new model: all tensors of the old one, those of the epoch changed.

    Raises:
        BadData, BadParameter, VerificationFailed: as ``client.compensate``.
    """
    from safetensors.numpy import save_file

    epoch, order, public = published.read()
    weights = load_tensors(model)
    new, done = compensate(epoch, order, public, weights, lazy_tensors(gradients))
    if out.exists():
        raise BadParameter(f"{out} exists already.", do="Name a new file.")
    save_file({**weights, **new}, out)
    count = len(done.exceptions)
    return {"model": str(out), "exceptions": count, "blocks": len(public.mask)}


def prove_files(
    published: Published,
    model: Path,
    gradients: Path,
    secret: Path,
    statement: Path,
    proof: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write statement and proof. The opening is marked as used before the proof is written, so that
    no crash lets a second one out, and not before it is made, so that an error costs none.

    Raises:
        Refused: it was used.
        BadData, BadParameter, VerificationFailed: as ``client.prove_once``.
    """
    epoch, order, public = published.read()
    opening = read_record(Opening, secret)
    tensors = load_tensors(model), lazy_tensors(gradients)
    said, data, used = prove_once(epoch, order, public, *tensors, opening, progress)
    replace_file(secret, dumps(plain(used)))
    new_file(statement, said.canonical())
    new_file(proof, data)
    return {"statement": str(statement), "proof": str(proof), "bytes": len(data)}


def enter_files(
    folder: Path, epoch: Path, key: Path, private: Path, commitment: Path, name: str, out: Path
) -> dict[str, Any]:
    """Enter a commitment in the ledger of the provider's workspace, and write a receipt.

    Raises:
        Refused: as ``receipts.enter``.
        BadData, BadParameter: a file is missing or something else, or there is no workspace.
    """
    signer, committed = signed.read_private(private), read_record(Commitment, commitment)
    terms = read_epoch(epoch, key)
    if out.exists():
        raise BadParameter(f"{out} exists already.", do="Name a new file.")
    receipt = receipts.enter(backends(folder), terms, committed, name)
    new_file(out, signed.sign(receipt, signer))
    return {"receipt": str(out), "entry": receipt.seq}


def close_files(folder: Path, epoch: Path, key: Path) -> dict[str, Any]:
    """Close an epoch in the ledger of the provider's workspace. Raises as ``receipts.close``."""
    return {"clients": receipts.close(backends(folder), read_epoch(epoch, key))}


def backends(folder: Path) -> Backends:
    """Those of the provider's workspace."""
    from rescind.workspace import open_workspace

    return open_workspace(folder, create=False).backends


def verify_files(
    published: Published,
    commitment: Path,
    receipt: Path,
    statement: Path,
    proof: Path,
    *,
    again: bool,
    model: Path | None,
    opening: str | None,
) -> Verdict:
    """Check everything; ``opening`` is the seed, in hex, of the third root.

    Raises:
        VerificationFailed: it names the first check that failed.
        BadData, BadParameter: files that are missing or do not belong together.
    """
    got = received(published, commitment, receipt, statement, proof)
    weights: Tensors | None = None if model is None else load_tensors(model)
    seed = None if opening is None else seed_of(opening)
    if (weights is None) != (seed is None):
        raise BadParameter(
            "A model is compared with the seed of its root.",
            "One without the other shows nothing.",
            "Give --model and --opening together.",
        )
    return check(got, again=again, model=weights, post_seed=seed)


def certify_files(
    published: Published,
    commitment: Path,
    receipt: Path,
    statement: Path,
    proof: Path,
    private: Path,
    out: Path,
) -> dict[str, Any]:
    """Write the certificate of a proof that holds. Raises as ``verify_files``."""
    got = received(published, commitment, receipt, statement, proof)
    verdict = check(got)
    new_file(out, certificate.issue(got, verdict, signed.read_private(private)))
    return {"certificate": str(out), "bits": verdict.bits, "exceptions": verdict.exceptions}


def received(
    published: Published, commitment: Path, receipt: Path, statement: Path, proof: Path
) -> Received:
    """All that a verifier has. Raises as ``verify_files``."""
    epoch, order, public = published.read()
    entered = signed.opened(Receipt, read_bytes(receipt), load_key(read_bytes(published.key)))
    return Received(
        epoch,
        order,
        read_record(Commitment, commitment),
        entered,
        read_record(Statement, statement),
        public,
        read_bytes(proof),
    )


def seed_of(text: str) -> bytes:
    """The seed of a root, from hex.

    Raises:
        BadParameter: it is no hex.
    """
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadParameter(
            "The opening is no hex.", do="It is `post` in the secret file."
        ) from error


def read_record(kind: type[T], path: Path) -> T:
    """What a file holds, unsigned.

    Raises:
        BadData: something else.
        BadParameter: there is no file.
    """
    try:
        return build(kind, parse_json(read_bytes(path)))
    except (ValueError, TypeError, KeyError) as error:
        raise BadData(
            f"{path} is no {kind.__name__.lower()}: {str(error)[:80]}.",
            "It was changed, or is another file.",
            "Name the file that `rescind zk` wrote.",
        ) from error


def read_bytes(path: Path) -> bytes:
    """Of a file.

    Raises:
        BadParameter: there is none, or it is larger than anything that rescind writes.
    """
    if not path.is_file():
        raise BadParameter(f"There is no file {path}.", do="Check the path.")
    if path.stat().st_size > LARGEST:
        raise BadParameter(
            f"{path} has {path.stat().st_size:,} bytes, and no such file more than {LARGEST:,}.",
            do="Ask for the right file.",
        )
    return path.read_bytes()


def new_file(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a file, for the owner alone if it is secret.

    Raises:
        BadParameter: it exists.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    except FileExistsError as error:
        raise BadParameter(f"{path} exists already.", do="Name a new file.") from error
    with os.fdopen(number, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """For good, and whole at any moment."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    new_file(beside, data, secret=True)
    beside.replace(path)
