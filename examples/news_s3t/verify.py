"""Check the certificate as a stranger would: offline, without a workspace and without torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import rescind
from rescind.proofs.signing import load_public


def main() -> None:
    """Print the three lists and end with an error if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("news"))
    folder: Path = parser.parse_args().folder
    found = rescind.verify(
        (folder / "certificate.json").read_bytes(),
        key=load_public((folder / "signer.pem").read_bytes()),
        model=folder / "exported",
    )
    for check in found.checks:
        sys.stdout.write(f"{check.outcome:<12} {check.name}: {check.detail}\n")
    for title, lines in (("Attested", found.attested), ("Not covered", found.not_covered)):
        sys.stdout.write(f"{title}\n" + "".join(f"  {line}\n" for line in lines))
    found.require()
    if "torch" in sys.modules:
        raise SystemExit("verifying must not need torch")


if __name__ == "__main__":
    main()
