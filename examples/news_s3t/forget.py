"""Forget one article: look, withdraw, make the evidence, and hand over what a stranger needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import rescind
from rescind.certify import envelope_bytes
from rescind.proofs.signing import public_pem
from rescind.render import to_html


def main() -> None:
    """Leave certificate, public key, exported model and report in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("news"))
    parser.add_argument("--key", default="bbc-100", help="the article to forget")
    chosen = parser.parse_args()
    workspace = rescind.open(chosen.folder / "workspace")

    draft = workspace.resolve(rescind.Ask(keys=(chosen.key,), near="keep", basis="takedown"))
    if draft.already_forgotten:
        sys.stdout.write(f"{chosen.key} is forgotten already, by request {draft.already[0][1]}\n")
        return
    plan = workspace.plan(draft)
    sys.stdout.write(f"{plan.snapshots_cut} snapshots to cut, {plan.retained_share:.0%} stay\n")

    request = workspace.accept(draft)  # from here on no answer uses the article
    sys.stdout.write(f"Withdrawn after {request.milliseconds_to_withdraw:.1f} ms\n")
    certificate = workspace.process(request.id)
    (chosen.folder / "certificate.json").write_bytes(envelope_bytes(certificate))
    (chosen.folder / "signer.pem").write_bytes(signer(workspace))
    (chosen.folder / "report.html").write_text(to_html(workspace.report(request.id)))
    workspace.export(chosen.folder / "exported", recipient="whoever verifies")
    sys.stdout.write(
        f"Certificate of request {request.id}; still stored: {workspace.remaining()}\n"
    )


def signer(workspace: rescind.Workspace) -> bytes:
    """The public key; `rescind certificate key` writes the same file."""
    backends = workspace.backends
    return public_pem(backends.keys.get(f"signing/{backends.signer().key_id}"))


if __name__ == "__main__":
    main()
