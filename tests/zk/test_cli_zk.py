"""`rescind zk`: the way of an order over files, from the provider's key to a stranger's check."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parties import client, forgetting, provider
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from rescind.cli.main import app
from rescind.core.canonical import dumps
from rescind.core.certificate import PAYLOAD_TYPE, Certificate
from rescind.proofs.signing import authenticated, from_envelope, load_public, to_envelope
from rescind.workspace import new_workspace, open_workspace
from rescind.zk import signed
from rescind.zk.entries import Receipt


def rescind(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


def parsed(*args: str | Path) -> Any:
    result = rescind(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, up to a proof."""
    at = tmp_path_factory.mktemp("zk")
    save_inputs(at)
    parsed("zk", "key", at / "provider.key", at / "provider.pem")
    parsed(*mask_command(at), "--proofs", "bits=40", "--alpha", "0.02")
    parsed(
        "zk", "commit", at / "out/epoch.json", "--key", at / "provider.pem", *model(at),
        "--out", at / "commitment.json", "--secret", at / "opening.json",
    )  # fmt: skip
    new_workspace(at / "provider")
    parsed(*entered(at, "commitment.json", "receipt.json"))
    parsed(*closing(at))
    new = at / "new.safetensors"
    parsed("zk", "compensate", *published(at), *model(at), "--out", new)
    parsed("zk", "prove", *published(at), *model(at), *proof(at))
    parsed(
        "zk", "certify", *checked(at)[2:], "--sign-with", at / "provider.key",
        "--out", at / "certificate.json",
    )  # fmt: skip
    return at


def save_inputs(at: Path) -> None:
    """What provider and client have as files."""
    own, (mask, direction), other = provider(), forgetting(), client()
    for name, tensors in {
        "weights": own.weights,
        "gradients": own.gradients,
        "mask": mask,
        "direction": direction,
        "client": other.weights,
        "client-g": other.gradients,
    }.items():
        save_file(dict(tensors), at / f"{name}.safetensors")


def mask_command(at: Path) -> list[str | Path]:
    return [
        "zk", "mask", at, "--sign-with", at / "provider.key", "--records", "600",
        "--out", at / "out",
    ]  # fmt: skip


def entered(at: Path, commitment: str, receipt: str, client: str = "one") -> list[str | Path]:
    return [
        "zk", "enter", at / "out/epoch.json", at / commitment, "--key", at / "provider.pem",
        "--client", client, "--sign-with", at / "provider.key", "--out", at / receipt,
        "--workspace", at / "provider",
    ]  # fmt: skip


def closing(at: Path) -> list[str | Path]:
    return [
        "zk", "close", at / "out/epoch.json", "--key", at / "provider.pem",
        "--workspace", at / "provider",
    ]  # fmt: skip


def published(at: Path) -> list[str | Path]:
    out = at / "out"
    return [out / "epoch.json", out / "order.json", out / "mask.npz", "--key", at / "provider.pem"]


def model(at: Path) -> list[str | Path]:
    return ["--model", at / "client.safetensors", "--gradients", at / "client-g.safetensors"]


def proof(at: Path) -> list[str | Path]:
    return [
        "--secret", at / "opening.json", "--statement", at / "statement.json",
        "--proof", at / "proof.bin",
    ]  # fmt: skip


def checked(at: Path) -> list[str | Path]:
    return [
        "zk", "verify", *published(at), "--commitment", at / "commitment.json",
        "--receipt", at / "receipt.json", "--statement", at / "statement.json",
        "--proof", at / "proof.bin",
    ]  # fmt: skip


def test_a_stranger_checks_the_proof_and_the_owner_of_the_weights_their_file(place: Path) -> None:
    found = parsed(*checked(place))
    assert found["bits"] > 39.5 and found["not_covered"]
    seed = json.loads((place / "opening.json").read_text())["post"]
    tied = ["--model", place / "new.safetensors", "--opening", seed]
    assert len(parsed(*checked(place), *tied)["checked"]) == 4
    text = rescind(*checked(place)).stdout
    assert "not audited" in text and "bits an attempt" in text
    assert "Pull not told       at most" in text and "Worst accepted      a block" in text
    assert [r["tensor"] for r in found["rooms"]] == sorted(load_file(place / "mask.safetensors"))
    largest = max(r["untold_share"] for r in found["rooms"])
    assert 0 < largest < 0.5 and f"{largest:.1%} of a tensor's rows" in text
    old, new = (load_file(place / f"{n}.safetensors") for n in ("client", "new"))
    assert old.keys() == new.keys()


def certified(at: Path) -> list[str | Path]:
    return [
        "certificate", "verify", at / "certificate.json", "--key", at / "provider.pem",
        "--proof", at / "proof.bin", "--mask", at / "out/mask.npz",
    ]  # fmt: skip


def outcomes(result: Any) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in result["checks"]}


def test_the_certificate_carries_the_proof(place: Path) -> None:
    found = parsed(*certified(place))
    said = outcomes(found)
    assert said.pop("model") == "not checked" and set(said.values()) == {"passed"}
    assert set(said) == {
        "envelope",
        "signature",
        "signer",
        "key",
        "terms",
        "mask",
        "numbers",
        "proof",
    }
    seed = json.loads((place / "opening.json").read_text())["post"]
    tied = [*certified(place), "--model", place / "new.safetensors", "--opening", seed]
    assert set(outcomes(parsed(*tied)).values()) == {"passed"}
    text = rescind(*certified(place)).stdout
    assert "bits of soundness" in text and "not audited" in text and "empirical" in text
    [row] = [line for line in text.splitlines() if "of the pull" in line]
    assert "pull not told: at most" in row and "worst accepted: a block" in row


def test_what_is_not_brought_is_not_checked(place: Path) -> None:
    said = outcomes(parsed("certificate", "verify", place / "certificate.json"))
    left = {name for name, outcome in said.items() if outcome == "not checked"}
    assert left == {"signer", "key", "mask", "numbers", "proof", "model"}


@pytest.mark.parametrize(
    ("replaced", "by", "failed"),
    [
        ("proof.bin", "statement.json", "proof"),
        ("provider.pem", "other.pem", "signer"),
        ("new.safetensors", "client.safetensors", "model"),
    ],
)
def test_another_file_beside_the_certificate_fails_its_check(
    place: Path, replaced: str, by: str, failed: str
) -> None:
    if not (place / "other.pem").exists():
        parsed("zk", "key", place / "other.key", place / "other.pem")
    seed = json.loads((place / "opening.json").read_text())["post"]
    tied = [*certified(place), "--model", place / "new.safetensors", "--opening", seed]
    result = rescind(*[place / by if a == place / replaced else a for a in tied])
    assert result.exit_code == 3 and f"failed       {failed}" in result.stdout


def changed_certificate(place: Path, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Signed anew by the provider, as a provider could that lies."""
    payload = json.loads(
        from_envelope(json.loads((place / "certificate.json").read_text())).payload
    )
    change(payload)
    data = dumps(payload)
    signer = signed.read_private(place / "provider.key")
    envelope = to_envelope(
        Certificate(data, (signer.sign(authenticated(PAYLOAD_TYPE, data)),), PAYLOAD_TYPE)
    )
    return json.dumps(envelope).encode()


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "more bits": ("numbers", lambda c: c["predicate"].update(bits=120.0)),
    "less residual": ("numbers", lambda c: c["predicate"].update(share=0.0001)),
    "another order": ("terms", lambda c: c["predicate"]["order"].update(records=5000)),
    "another client's receipt": (
        "terms",
        lambda c: c["predicate"]["receipt"].update(commitment="0"),
    ),
    "receipt of another entry": (
        "terms",
        lambda c: c["predicate"]["receipt"].update(previous="0" * 64),
    ),
    "receipt under another root": (
        "terms",
        lambda c: c["predicate"]["receipt"].update(root="0" * 64),
    ),
    "another root": ("statement", lambda c: c["predicate"]["statement"].update(post="0" * 64)),
    "one exception fewer": ("terms", lambda c: c["predicate"]["statement"]["exceptions"].pop()),
    "another proof": ("proof", lambda c: c["predicate"].update(proof="0" * 64)),
    "another signer": ("key", lambda c: c["predicate"].update(key_id="0" * 64)),
    "no statement": ("statement", lambda c: c["predicate"].pop("statement")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_signed_lie_fails_a_check(place: Path, tmp_path: Path, lie: str) -> None:
    failed, change = LIES[lie]
    path = tmp_path / "lie.json"
    path.write_bytes(changed_certificate(place, change))
    args = [path if a == place / "certificate.json" else a for a in certified(place)]
    result = rescind(*args, "--json")
    assert result.exit_code == 3, result.output
    assert outcomes(json.loads(result.stdout))[failed] == "failed"


def test_a_proof_that_was_certified_and_does_not_hold_fails(place: Path, tmp_path: Path) -> None:
    """Digest and signature are right; the proof itself is looked at all the same."""
    changed = bytearray((place / "proof.bin").read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "proof.bin").write_bytes(bytes(changed))
    said = hashlib.sha256(changed).hexdigest()
    lie = changed_certificate(place, lambda c: c["predicate"].update(proof=said))
    (tmp_path / "certificate.json").write_bytes(lie)
    swapped = {place / n: tmp_path / n for n in ("proof.bin", "certificate.json")}
    result = rescind(*(swapped.get(Path(a), a) for a in certified(place)), "--json")
    assert result.exit_code == 3
    assert outcomes(json.loads(result.stdout))["proof"] == "failed"


def test_a_proof_that_does_not_hold_is_not_certified(place: Path, tmp_path: Path) -> None:
    changed = bytearray((place / "proof.bin").read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "proof.bin").write_bytes(bytes(changed))
    args = [tmp_path / "proof.bin" if a == place / "proof.bin" else a for a in checked(place)[2:]]
    out = tmp_path / "certificate.json"
    result = rescind("zk", "certify", *args, "--sign-with", place / "provider.key", "--out", out)
    assert result.exit_code != 0 and not out.exists()


def test_a_stranger_needs_no_torch(place: Path) -> None:
    code = (
        "import sys\nfrom rescind.cli.main import run\nsys.argv = ['rescind', *sys.argv[1:]]\n"
        "try:\n    run()\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nassert 'torch' not in sys.modules\n"
    )
    for command in (checked(place), certified(place)):
        args = [str(a) for a in command]
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_second_proof_is_refused_and_the_opening_says_so(place: Path) -> None:
    assert json.loads((place / "opening.json").read_text())["used"] is True
    again = rescind(
        "zk", "prove", *published(place), *model(place), "--secret", place / "opening.json",
        "--statement", place / "s2.json", "--proof", place / "p2.bin",
    )  # fmt: skip
    assert again.exit_code != 0 and "already" in again.stderr
    assert not (place / "p2.bin").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"root": "", "path": (), "previous": ""}, "no path to a root"),
        ({"previous": "0" * 64}, "is not what it says of it"),
        ({"path": ("0" * 64,)}, "path"),
    ],
)
def test_a_proof_needs_the_place_of_its_commitment_in_the_ledger(
    place: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Signed by the provider, and not what its ledger holds; also as it was signed before."""
    key = load_public((place / "provider.pem").read_bytes())
    receipt = signed.opened(Receipt, (place / "receipt.json").read_bytes(), key)
    path = tmp_path / "receipt.json"
    path.write_bytes(
        signed.sign(replace(receipt, **change), signed.read_private(place / "provider.key"))
    )
    result = rescind(*(path if a == place / "receipt.json" else a for a in checked(place)))
    assert result.exit_code == 3 and said in result.stderr


FILES = ["proof.bin", "statement.json", "commitment.json", "receipt.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_ends_with_three_or_says_what_it_is(place: Path, name: str) -> None:
    path, data = place / name, (place / name).read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    try:
        path.write_bytes(bytes(changed))
        result = rescind(*checked(place))
    finally:
        path.write_bytes(data)
    assert result.exit_code != 0 and result.stderr.count("Error:") == 1


def test_each_client_commits_once_and_none_after_the_closing(place: Path) -> None:
    late = rescind(*entered(place, "commitment.json", "late.json", "two"))
    assert late.exit_code != 0 and "closed" in late.stderr
    assert "closed already" in rescind(*closing(place)).stderr
    assert not (place / "late.json").exists()


def test_the_ledger_holds_no_name_of_a_client(place: Path) -> None:
    ws = open_workspace(place / "provider", create=False)
    [entry] = [e for e in ws.backends.ledger.entries() if e.kind == "mask.committed"]
    assert set(entry.facts) == {"epoch", "client", "commitment"}
    assert entry.facts["client"] != "one" and len(entry.facts["client"]) == 64


def test_bad_input_gets_one_error_that_says_what_to_do(place: Path, tmp_path: Path) -> None:
    few = rescind(*mask_command(place)[:-3], "20", "--out", tmp_path / "few")
    assert few.exit_code != 0 and "would show them" in few.stderr
    twice = rescind("zk", "key", place / "provider.key", place / "other.pem")
    assert "exists already" in twice.stderr
    parsed("zk", "key", tmp_path / "other.key", tmp_path / "other.pem")
    wrong = [a if a != place / "provider.pem" else tmp_path / "other.pem" for a in checked(place)]
    result = rescind(*wrong)
    assert result.exit_code == 3 and "trust" in result.stderr
    lone = rescind(*checked(place), "--model", place / "new.safetensors")
    assert "--opening" in lone.stderr
    missing = rescind(*checked(place)[:-1], tmp_path / "none.bin")
    assert "There is no file" in missing.stderr
