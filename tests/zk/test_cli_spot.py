"""`rescind zk pick`, `open`, `take` and `spot`: a spot check over files, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from parties import client
from safetensors.numpy import save_file
from test_cli_zk import (
    checked,
    closing,
    entered,
    mask_command,
    model,
    outcomes,
    parsed,
    proof,
    published,
    rescind,
    save_inputs,
)

from rescind.workspace import new_workspace, open_workspace

Command = list[str | Path]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, up to a certificate."""
    at = tmp_path_factory.mktemp("spot")
    save_inputs(at)
    save_file(dict(client(2).gradients), at / "other-g.safetensors")
    for name in ("provider", "other"):
        parsed("zk", "key", at / f"{name}.key", at / f"{name}.pem")
    parsed(*mask_command(at), "--proofs", "bits=40", "--alpha", "0.02")
    new_workspace(at / "provider")
    for name in ("", "late-"):
        parsed(
            "zk", "commit", at / "out/epoch.json", "--key", at / "provider.pem", *model(at),
            "--out", at / f"{name}commitment.json", "--secret", at / f"{name}opening.json",
        )  # fmt: skip
        parsed(*entered(at, f"{name}commitment.json", f"{name}receipt.json", f"client {name}"))
    parsed(*picking(at, "pick.json"))
    parsed(*opening(at, "opened.bin"))
    parsed(*taking(at, "taken.json"))
    parsed(*closing(at))
    parsed("zk", "prove", *published(at), *model(at), *proof(at))
    certified: Command = ["--sign-with", at / "provider.key", "--out", at / "certificate.json"]
    parsed(*spotting(at), *certified)
    return at


def picking(at: Path, out: str, commitment: str = "commitment.json") -> Command:
    return [
        "zk", "pick", at / "out/epoch.json", at / commitment, "--key", at / "provider.pem",
        "--count", "2", "--sign-with", at / "provider.key", "--out", at / out,
        "--workspace", at / "provider",
    ]  # fmt: skip


def opening(at: Path, out: str) -> Command:
    return [
        "zk", "open", at / "out/epoch.json", at / "pick.json", "--key", at / "provider.pem",
        "--commitment", at / "commitment.json", *model(at)[2:], "--secret", at / "opening.json",
        "--out", at / out,
    ]  # fmt: skip


def taking(at: Path, out: str) -> Command:
    return [
        "zk", "take", at / "out/epoch.json", at / "pick.json", at / "opened.bin",
        "--key", at / "provider.pem", "--sign-with", at / "provider.key", "--out", at / out,
        "--workspace", at / "provider",
    ]  # fmt: skip


def spotting(at: Path) -> Command:
    return [
        "zk",
        "spot",
        *published(at)[:3],
        at / "taken.json",
        at / "opened.bin",
        *checked(at)[5:],
    ]


def verifying(at: Path) -> Command:
    return [
        "certificate", "verify", at / "certificate.json", "--key", at / "provider.pem",
        "--proof", at / "proof.bin", "--mask", at / "out/mask.npz", "--spot", at / "opened.bin",
    ]  # fmt: skip


def swapped(command: Command, old: Path, new: Path) -> Command:
    return [new if part == old else part for part in command]


def test_anybody_checks_what_was_opened(place: Path) -> None:
    found = parsed(*spotting(place))
    assert len(found["gradients"]) == 2 and "0.464" in found["chances"][1]
    assert "are those that were committed to" in found["verdict"]["checked"][-1]
    text = rescind(*spotting(place)).stdout
    assert "own choosing" in text and "not claimed for the 2 of 8" in text and "0.464" in text


def test_the_certificate_carries_it(place: Path) -> None:
    assert set(outcomes(parsed(*verifying(place))).values()) == {"passed", "not checked"}
    assert outcomes(parsed(*verifying(place)))["spot"] == "passed"
    assert outcomes(parsed(*verifying(place)[:-2]))["spot"] == "not checked"
    wrong = rescind(*swapped(verifying(place), place / "opened.bin", place / "proof.bin"))
    assert wrong.exit_code == 3 and "failed       spot" in wrong.stdout


def test_a_stranger_needs_no_torch(place: Path) -> None:
    code = (
        "import sys\nfrom rescind.cli.main import run\nsys.argv = ['rescind', *sys.argv[1:]]\n"
        "try:\n    run()\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nassert 'torch' not in sys.modules\n"
    )
    for command in (spotting(place), verifying(place)):
        args = [str(a) for a in command]
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["opened.bin", "taken.json", "proof.bin", "commitment.json"])
def test_a_changed_file_is_refused(place: Path, tmp_path: Path, name: str) -> None:
    changed = bytearray((place / name).read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(changed))
    result = rescind(*swapped(spotting(place), place / name, tmp_path / name))
    assert result.exit_code != 0 and result.stderr.count("Error:") == 1


def test_a_forged_pick_is_opened_by_nobody(place: Path, tmp_path: Path) -> None:
    """Signed by somebody else, or not a pick at all; and the client shows nothing of it."""
    envelope = json.loads((place / "pick.json").read_text())
    other = rescind(
        *swapped(opening(place, "new.bin"), place / "provider.pem", place / "other.pem")
    )
    assert other.exit_code == 3 and "trust" in other.stderr
    envelope["payload"] = envelope["payload"][:-8] + "AAAA" + envelope["payload"][-4:]
    (tmp_path / "pick.json").write_text(json.dumps(envelope))
    for forged in (tmp_path / "pick.json", place / "receipt.json"):
        result = rescind(*swapped(opening(place, "new.bin"), place / "pick.json", forged))
        assert result.exit_code == 3 and result.stderr.count("Error:") == 1
    assert not (place / "new.bin").exists()


def test_what_cannot_be_done_again_is_refused_with_a_word(place: Path) -> None:
    says: list[tuple[Command, str]] = [
        (picking(place, "second.json"), "closed"),
        (picking(place, "late.json", "late-commitment.json"), "closed"),
        (taking(place, "second.json"), "closed"),
        (picking(place, "pick.json"), "exists already"),
        (taking(place, "taken.json"), "exists already"),
        (opening(place, "late.bin"), "proof was made"),
        ([*spotting(place), "--out", place / "c.json"], "--sign-with"),
    ]
    for command, word in says:
        result = rescind(*command)
        assert result.exit_code == 1 and word in result.stderr, result.output
    other = swapped(taking(place, "second.json"), place / "opened.bin", place / "proof.bin")
    assert "2 gradients have" in rescind(*other).stderr
    assert not any((place / n).exists() for n in ("second.json", "late.json", "late.bin", "c.json"))


def test_the_ledger_and_the_secret_file_know_the_pick(place: Path) -> None:
    b = open_workspace(place / "provider", create=False).backends
    kinds = [e.kind for e in b.ledger.entries() if e.kind.startswith("mask.")]
    assert kinds == [*["mask.committed"] * 2, "mask.picked", "mask.opened", "mask.closed"]
    b.ledger.verify()
    secret: Any = json.loads((place / "opening.json").read_text())
    assert len(secret["picked"]) == 64 and secret["used"] is True
    assert (place / "opened.bin").stat().st_mode & 0o077 == 0
