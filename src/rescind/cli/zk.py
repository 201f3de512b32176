"""Masks for models that the provider may not see: publish, commit, carry out, prove, verify."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescind.cli.options import HERE, AsJson, RequestId, WorkspaceFolder
from rescind.cli.output import emit

if TYPE_CHECKING:
    from rescind.zk.check import Verdict
    from rescind.zk.files import Published

app = typer.Typer(no_args_is_help=True, help="Masks of a provider in clients' models, and proofs.")


Epoch = Annotated[Path, typer.Argument(metavar="EPOCH", help="The provider's epoch.json.")]
Order = Annotated[Path, typer.Argument(metavar="ORDER", help="The provider's order.json.")]
Mask = Annotated[Path, typer.Argument(metavar="MASK", help="The provider's mask.npz.")]
Key = Annotated[
    Path, typer.Option("--key", metavar="PUB.pem", help="The provider's key that you trust.")
]
Model = Annotated[
    Path, typer.Option("--model", metavar="FILE", help="Weights, a safetensors file.")
]
Gradients = Annotated[
    Path,
    typer.Option("--gradients", metavar="FILE", help="Sketches (n, *shape) of retained data."),
]
Secret = Annotated[
    Path, typer.Option("--secret", metavar="FILE", help="What opens the commitment. Keep it.")
]
Private = Annotated[
    Path, typer.Option("--sign-with", metavar="PRIVATE", help="Of `rescind zk key`.")
]
Said = Annotated[Path, typer.Option("--statement", metavar="FILE", help="What is proved.")]
Proof = Annotated[Path, typer.Option("--proof", metavar="FILE", help="The proof.")]


@app.command()
def key(
    private: Annotated[Path, typer.Argument(metavar="PRIVATE", help="A new file, for you alone.")],
    public: Annotated[Path, typer.Argument(metavar="PUB.pem", help="A new file, to publish.")],
    as_json: AsJson = False,
) -> None:
    """Make a provider's key pair."""
    from rescind.zk.files import new_key

    name = new_key(private, public)
    line = f"Wrote key {name[:12]}: {private} stays with you, {public} is published."
    emit(as_json, {"key_id": name}, lambda: [line])


@app.command()
def mask(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="weights, gradients, mask and direction, each .safetensors."
        ),
    ],
    sign_with: Private,
    records: Annotated[int, typer.Option(help="How many records the direction is made of.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder.")],
    goal: Annotated[
        str, typer.Option(metavar="class|concept", help="What is forgotten.")
    ] = "class",
    alpha: Annotated[float, typer.Option(help="How hard weights are pulled.")] = 0.006,
    reached: Annotated[
        float, typer.Option(help="Share of the provider's own pull that a client must reach.")
    ] = 0.05,
    proofs: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="Of proofs: soundness, memory to make one, and its file, as"
            " bits=100,memory=1GB,file=40MB; each may be left out.",
        ),
    ] = "bits=100",
    as_json: AsJson = False,
) -> None:
    """Make the terms of an epoch and a sealed order, from the provider's own files alone.

    Publish epoch.json. When all clients have committed, publish order.json and mask.npz.
    """
    from rescind.zk.asked import asked
    from rescind.zk.files import make_mask
    from rescind.zk.provider import Wish

    want = asked(proofs)
    wish = Wish(
        goal=goal,
        records=records,
        alpha=alpha,
        reached=reached,
        bits=want.bits,
        limits=want.limits,
    )
    found = make_mask(folder, sign_with, out, wish)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def order(
    request: RequestId,
    sign_with: Private,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder.")],
    share: Annotated[float, typer.Option(help="Of the weights are masked.")] = 0.04,
    alpha: Annotated[float, typer.Option(help="How hard weights are pulled.")] = 0.006,
    reached: Annotated[
        float, typer.Option(help="Share of the provider's own pull that a client must reach.")
    ] = 0.05,
    proofs: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="Of proofs: soundness, memory to make one, and its file, as"
            " bits=100,memory=1GB,file=40MB; each may be left out.",
        ),
    ] = "bits=100",
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """As `mask`, from a request for a concept in the provider's workspace, before its erasure.

    Mask and gradient are stored there with the lineage of the records, and destroyed with them; the
    certificate of the request holds the order's seal. Keep order.json: it opens the seal.
    """
    from rescind.zk.asked import asked
    from rescind.zk.kept import Choices
    from rescind.zk.requested import order_files

    want = asked(proofs)
    choices = Choices(share=share, alpha=alpha, reached=reached, bits=want.bits, limits=want.limits)
    found = order_files(workspace, request, sign_with, out, choices)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def commit(
    epoch: Epoch,
    key: Key,
    model: Model,
    gradients: Gradients,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="What is handed in.")],
    secret: Secret,
    as_json: AsJson = False,
) -> None:
    """Commit to weights and gradients while the epoch is open."""
    from rescind.zk.files import commit_files

    found = commit_files(epoch, key, model, gradients, out, secret)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def enter(
    epoch: Epoch,
    commitment: Annotated[Path, typer.Argument(metavar="COMMITMENT", help="A client's.")],
    key: Key,
    client: Annotated[str, typer.Option(help="Who handed it in; a keyed hash is kept.")],
    sign_with: Private,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The receipt.")],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Enter a client's one commitment in the provider's ledger, and sign a receipt."""
    from rescind.zk.files import enter_files

    found = enter_files(workspace, epoch, key, sign_with, commitment, client, out)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def close(
    epoch: Epoch, key: Key, workspace: WorkspaceFolder = HERE, as_json: AsJson = False
) -> None:
    """Close an epoch for good. Publish its order after this, and not before."""
    from rescind.zk.files import close_files

    found = close_files(workspace, epoch, key)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def compensate(
    epoch: Epoch,
    order: Order,
    mask: Mask,
    key: Key,
    model: Model,
    gradients: Gradients,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new weights.")],
    as_json: AsJson = False,
) -> None:
    """Carry out a published order: mask, compensate, pull."""
    from rescind.zk.files import compensate_files

    found = compensate_files(published(epoch, order, mask, key), model, gradients, out)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def prove(
    epoch: Epoch,
    order: Order,
    mask: Mask,
    key: Key,
    model: Model,
    gradients: Gradients,
    secret: Secret,
    statement: Said,
    proof: Proof,
    as_json: AsJson = False,
) -> None:
    """Prove that the order was carried out on what was committed to. It can be done once."""
    from rescind.progress import Bars
    from rescind.zk.files import prove_files

    with Bars() as progress:
        found = prove_files(
            published(epoch, order, mask, key),
            model,
            gradients,
            secret,
            statement,
            proof,
            progress,
        )
    emit(as_json, found, lambda: lines_of(found))


Commitment = Annotated[
    Path, typer.Option("--commitment", metavar="FILE", help="What the client handed in.")
]
Receipt = Annotated[
    Path, typer.Option("--receipt", metavar="FILE", help="The provider's, of its ledger.")
]


@app.command()
def certify(
    epoch: Epoch,
    order: Order,
    mask: Mask,
    key: Key,
    commitment: Commitment,
    receipt: Receipt,
    statement: Said,
    proof: Proof,
    sign_with: Private,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The certificate.")],
    as_json: AsJson = False,
) -> None:
    """Check a client's proof and certify it: `rescind certificate verify` needs no more files
    than certificate, proof and mask.
    """
    from rescind.zk.files import certify_files

    files = published(epoch, order, mask, key)
    found = certify_files(files, commitment, receipt, statement, proof, sign_with, out)
    emit(as_json, found, lambda: lines_of(found))


@app.command()
def verify(
    epoch: Epoch,
    order: Order,
    mask: Mask,
    key: Key,
    commitment: Commitment,
    receipt: Receipt,
    statement: Said,
    proof: Proof,
    again: Annotated[
        bool, typer.Option("--again", help="By the second verifier too, which takes long.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="The new weights.")
    ] = None,
    opening: Annotated[
        str | None, typer.Option("--opening", metavar="HEX", help="`post` of the secret file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof offline, without torch. A check that fails ends with exit code 3."""
    from rescind.zk.files import verify_files

    found = verify_files(
        published(epoch, order, mask, key),
        commitment,
        receipt,
        statement,
        proof,
        again=again,
        model=model,
        opening=opening,
    )
    emit(as_json, found, lambda: verdict_lines(found))


def published(epoch: Path, order: Path, mask: Path, key: Path) -> Published:
    """A provider's files."""
    from rescind.zk.files import Published

    return Published(epoch, order, mask, key)


def lines_of(found: dict[str, object]) -> list[str]:
    """A line for each name."""
    return [f"{name.replace('_', ' '):<18}{value}" for name, value in found.items()]


def verdict_lines(found: Verdict) -> Iterator[str]:
    """What was checked, how sure it is, and what is not covered."""
    from rescind.zk.room import told

    yield "Checked here"
    yield from (f"  {line}" for line in found.checked)
    yield f"Soundness           {found.bits} bits an attempt"
    yield f"With 2^64 hashes    a cheat succeeds with probability {found.cheat:.2g}"
    yield f"Residual of pull    at most {found.share:.1%}"
    yield from (f"{name:<20}{text}" for name, text in told(found.rooms).items())
    yield f"Masked only         {found.exceptions} of {found.blocks} blocks"
    yield "Not covered"
    yield from (f"  {line}" for line in found.not_covered)
