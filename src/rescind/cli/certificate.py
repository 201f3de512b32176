"""Certificates: look at them, hand them out, and check them without a workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli.opening import bytes_of, opened, public_key_in, read
from rescind.cli.options import HERE, AsJson, Out, RequestId, WorkspaceFolder, until, write
from rescind.cli.output import emit
from rescind.core.errors import BadParameter

if TYPE_CHECKING:
    from rescind.proofs.verifier import Verification

app = typer.Typer(no_args_is_help=True, help="Certificates.")


@app.command()
def show(request: RequestId, workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Show what the certificate of a request says."""
    found = read(opened(workspace).certificate_file(request))
    emit(as_json, found.statement, lambda: _statement_lines(found))


@app.command()
def export(
    request: RequestId, out: Out, workspace: WorkspaceFolder = HERE, as_json: AsJson = False
) -> None:
    """Write the certificate of a request as the file that a stranger can check."""
    written = write(out, opened(workspace).certificate_file(request))
    emit(as_json, {"certificate": str(written)}, lambda: [f"Written to {written}."])


@app.command()
def key(
    out: Out,
    key_id: Annotated[
        str | None,
        typer.Option("--key-id", metavar="HEX", help="An earlier key; else the one in force."),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the public key by which certificates are checked; publish it."""
    name, pem = opened(workspace).public_key(key_id)
    written = write(out, pem)
    found = {"key": str(written), "key_id": name}
    emit(as_json, found, lambda: [f"Public key {found['key_id']} written to {written}."])


Pinned = Annotated[
    Path | None, typer.Option("--key", metavar="PUB.pem", help="The public key that you trust.")
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="PATH",
        help="An exported folder to compare with; of a mask, the file of new weights.",
    ),
]
Opening = Annotated[
    str | None,
    typer.Option(
        "--opening",
        metavar="FILE|HEX",
        help="A record's receipt; with --mask its order.json; of a mask `post` of the secret.",
    ),
]


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The certificate as received.")],
    pinned: Pinned = None,
    model: Model = None,
    proof: Annotated[
        Path | None, typer.Option("--proof", metavar="FILE", help="The proof that goes with it.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="The mask.npz of an order.")
    ] = None,
    opening: Opening = None,
    spot: Annotated[
        Path | None, typer.Option("--spot", metavar="FILE", help="Of a mask: opened gradients.")
    ] = None,
    ledger_head: Annotated[
        str | None,
        typer.Option(
            "--ledger-head", metavar="HEX", help="A ledger head from a source that you trust."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="DATE",
            callback=until,
            help="Valid when? A date alone is its end (UTC). Else now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a certificate offline, with neither a workspace nor torch.

    Prints what was checked here, what the signer attests and what is not covered. A failed check
    ends with exit code 3; without --key nobody knows whose signature it is.
    """
    from rescind.core.certificate import MASK_PREDICATE_TYPE
    from rescind.proofs.signing import predicate_type
    from rescind.proofs.verifier import verify as check

    data = bytes_of(file, "certificate")
    key = public_key_in(bytes_of(pinned, "key")) if pinned else None
    if predicate_type(data) == MASK_PREDICATE_TYPE:
        _refuse(_OF_A_DELETION, {"--ledger-head": ledger_head, "--at": at})
        found = _mask_verification(data, key, proof, mask, model, opening, spot)
    else:
        order, digests, receipt = _opening_of(mask, proof, opening, spot)
        found = check(
            data,
            key=key,
            model=model,
            ledger_head=ledger_head,
            at=datetime.fromisoformat(at) if at else None,
            proof=bytes_of(proof, "proof") if proof else None,
            receipt=receipt,
            order=order,
            mask=digests,
        )
    emit(as_json, found, lambda: _verification_lines(found))
    found.require()


_OF_A_DELETION = "goes with the certificate of a deletion, and this one is of a mask"


def _refuse(why: str, given: Mapping[str, object]) -> None:
    """What would be left unread is told."""
    unread = [name for name, value in given.items() if value is not None]
    if unread:
        raise BadParameter(f"{unread[0]} {why}.", do="Leave it out.")


def _opening_of(
    mask: Path | None, proof: Path | None, opening: str | None, spot: Path | None
) -> tuple[bytes | None, tuple[str, str] | None, bytes | None]:
    """Of a deletion's certificate: an order with its mask, or the receipt of a record."""
    if spot:
        raise BadParameter("--spot goes with the certificate of a mask.", do="Leave it out.")
    given = bytes_of(Path(opening), "opening") if opening else None
    if mask is None:
        if given and not proof:
            raise BadParameter("A receipt is looked for in a proof.", do="Give --proof too.")
        return None, None, given
    if given is None:
        raise BadParameter(
            "A mask is compared with the order that was sealed.",
            "Without it a deletion's certificate says nothing of it.",
            "Give --opening order.json too.",
        )
    from rescind.zk.tensors import load_public

    return given, load_public(mask).digests(), None


def _mask_verification(
    data: bytes,
    key: bytes | None,
    proof: Path | None,
    mask: Path | None,
    model: Path | None,
    opening: str | None,
    spot: Path | None,
) -> Verification:
    from rescind.zk.certificate import Brought, verify
    from rescind.zk.files import seed_of
    from rescind.zk.tensors import load_public, load_tensors

    brought = Brought(
        key=key,
        proof=bytes_of(proof, "proof") if proof else None,
        public=load_public(mask) if mask else None,
        model=load_tensors(model) if model else None,
        seed=seed_of(opening) if opening else None,
        opened=bytes_of(spot, "file of opened gradients") if spot else None,
    )
    return verify(data, brought)


def _statement_lines(found: Verification) -> Iterator[str]:
    said = found.statement
    if said is not None:
        yield f"Certificate of request {said.request} for {said.model}"
        yield f"  unlearned weights  {said.unlearned}"
        yield f"  issued             {said.issued_at}, valid until {said.valid_until}"
        yield f"  signed by          {said.key_id}"
    yield from _lists(found)


def _verification_lines(found: Verification) -> Iterator[str]:
    yield "Checked here"
    yield from (f"  {c.outcome:<11}  {c.name}: {c.detail}" for c in found.checks)
    yield from _lists(found)


def _lists(found: Verification) -> Iterator[str]:
    yield "Attested by the signer"
    yield from (f"  {line}" for line in found.attested or ("nothing: nobody signed it",))
    yield "Not covered"
    yield from (f"  {line}" for line in found.not_covered)
