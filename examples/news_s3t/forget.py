"""Forget one article: look, withdraw, make the evidence, and hand over what a stranger needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import rescind
from rescind.core.plan import Plan
from rescind.render import to_html
from rescind.workspace import Draft


def main() -> None:
    """Leave certificate, public key, exported model and report in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("news"))
    parser.add_argument("--key", help="the article to forget; else one the model learned from")
    chosen = parser.parse_args()
    workspace = rescind.open(chosen.folder / "workspace")

    keys = workspace.keys() if chosen.key is None else (chosen.key,)
    draft, plan = first_that_cuts(workspace, keys)
    if draft.already_forgotten:
        sys.stdout.write(f"{chosen.key} is forgotten already, by request {draft.already[0][1]}\n")
        return
    cost = f"{plan.snapshots_cut} snapshots to cut, {plan.retained_share:.0%} of the slices stay"
    sys.stdout.write(f"{draft.keys[0]}: {cost}\n")

    request = workspace.accept(draft)  # from here on no answer uses the article
    sys.stdout.write(f"Withdrawn after {request.milliseconds_to_withdraw:.1f} ms\n")
    workspace.process(request.id)
    (chosen.folder / "certificate.json").write_bytes(workspace.certificate_file(request.id))
    (chosen.folder / "signer.pem").write_bytes(workspace.public_key()[1])
    (chosen.folder / "report.html").write_text(to_html(workspace.report(request.id)))
    workspace.export(chosen.folder / "exported", recipient="whoever verifies")
    sys.stdout.write(
        f"Certificate of request {request.id}; still stored: {workspace.remaining()}\n"
    )


def first_that_cuts(workspace: rescind.Workspace, keys: Sequence[str]) -> tuple[Draft, Plan]:
    """The first article that a snapshot was made from; the last one if there is none."""
    for key in keys:
        draft = workspace.resolve(rescind.Ask(keys=(key,), near="keep", basis="takedown"))
        plan = workspace.plan(draft)
        if plan.snapshots_cut:
            break
    return draft, plan


if __name__ == "__main__":
    main()
