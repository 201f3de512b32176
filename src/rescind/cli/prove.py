"""Proofs beside a certificate, receipts of records, and that a ledger goes on from an earlier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rescind.cli.opening import bytes_of, opened
from rescind.cli.options import HERE, AsJson, Out, RequestId, WorkspaceFolder, write
from rescind.cli.output import emit


def prove(
    request: RequestId,
    out: Out,
    receipt: Annotated[
        Path | None,
        typer.Option("--receipt", metavar="FILE", help="Of a record that was forgotten."),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Prove that what serves after a request is what was committed to before, without the cut cell.

    Give the file along with the certificate: `rescind certificate verify FILE --proof PROOF`. With
    a receipt it also opens that the record is not in the manifest after the erasure.
    """
    from rescind import proving

    taken = None if receipt is None else bytes_of(receipt, "receipt")
    data = proving.prove(opened(workspace).backends, request, taken)
    written = write(out, data)
    found = {"proof": str(written), "bytes": len(data)}
    emit(as_json, found, lambda: [f"Proof of {len(data)} bytes written to {written}."])


def receipt(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of a record.")],
    out: Out,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write a receipt of a record: its place in the manifest that the ledger commits to.

    It is for the person whose record it is, and names the key. It can be taken until the erasure.
    """
    from rescind import proving

    written = write(out, proving.receipt(opened(workspace).backends, key))
    emit(as_json, {"receipt": str(written)}, lambda: [f"Receipt written to {written}."])


def consistency(
    entry: Annotated[int, typer.Argument(metavar="ENTRY", help="The number of an earlier entry.")],
    out: Out,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Prove that the ledger goes on from what it was at an earlier entry, and changed none."""
    from rescind import proving

    found = proving.consistency(opened(workspace).backends, entry)
    written = write(out, json.dumps(found, indent=1).encode() + b"\n")
    line = f"From entry {found['old']} to {found['size']}: written to {written}."
    emit(as_json, found, lambda: [line])


def consistent(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `rescind db consistency`.")],
    old_root: Annotated[
        str, typer.Option("--old-root", metavar="HEX", help="The root you noted then.")
    ],
    root: Annotated[
        str,
        typer.Option("--root", metavar="HEX", help="The root now, as in a certificate."),
    ],
    as_json: AsJson = False,
) -> None:
    """Check, without a workspace, that a later ledger goes on from an earlier one."""
    from rescind.proofs.verifier import check_consistency

    check_consistency(bytes_of(file, "proof"), old_root, root)
    line = "The later ledger begins with all entries of the earlier; none of them was changed."
    emit(as_json, {"consistent": True}, lambda: [line])
