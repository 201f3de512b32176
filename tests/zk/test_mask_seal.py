"""The seal of an order in a deletion's certificate: signed, and opened by order and mask alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from requested_workspace import concept, workspace
from test_cli_zk import parsed, rescind

from rescind.core.canonical import dumps
from rescind.core.certificate import ADDED
from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.statement import Public
from rescind.proofs.reading import read_statement
from rescind.proofs.signing import from_envelope
from rescind.resolve import Ask
from rescind.zk.tensors import load_public, save_public


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two orders of a provider, and the certificate of the request of one of them."""
    at = tmp_path_factory.mktemp("seal")
    parsed("zk", "key", at / "provider.key", at / "provider.pem")
    for name, label in (("red", "red"), ("other", "green")):
        ws = workspace(at / name)
        request = concept(ws, label)
        found = parsed(
            "zk", "order", request.id, "--sign-with", at / "provider.key", "--out",
            at / f"{name}-order", "--proofs", "bits=40", "--alpha", "0.02",
            "--workspace", at / name,
        )  # fmt: skip
        assert found["records"] >= 500 and len(found["seal"]) == 64
        ws.process(request.id)
        (at / f"{name}.json").write_bytes(ws.certificate_file(request.id))
        (at / f"{name}.pem").write_bytes(ws.public_key()[1])
    ws = workspace(at / "plain")
    one = ws.request(Ask(keys=(ws.keys()[0],), near="keep"))
    ws.process(one.id)
    (at / "plain.json").write_bytes(ws.certificate_file(one.id))
    return at


def opened(at: Path, order: str = "red-order", mask: str | None = None) -> list[str | Path]:
    return [
        "certificate", "verify", at / "red.json", "--key", at / "red.pem",
        "--mask", at / (mask or order) / "mask.npz", "--opening", at / order / "order.json",
    ]  # fmt: skip


def outcomes(found: Any) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in found["checks"]}


def test_order_and_mask_open_the_seal(place: Path) -> None:
    found = parsed(*opened(place))
    said = outcomes(found)
    assert said["mask"] == said["signature"] == said["signer"] == "passed"
    assert any("under the seal" in line for line in found["attested"])
    assert any("mask and gradient of epoch" in line for line in found["not_covered"])
    [detail] = [each["detail"] for each in found["checks"] if each["name"] == "mask"]
    assert "of this request's records is the signer's word" in detail


def test_what_is_not_brought_is_not_checked(place: Path) -> None:
    said = outcomes(parsed("certificate", "verify", place / "red.json"))
    assert said["mask"] == "not checked"
    lone = rescind("certificate", "verify", place / "red.json", "--mask", opened(place)[6])
    assert lone.exit_code != 0 and "--opening order.json" in lone.stderr


def moved(at: Path, folder: Path) -> None:
    """One weight is not masked."""
    public = load_public(at / "red-order/mask.npz")
    mask = public.mask.copy()
    mask.flat[np.flatnonzero(mask)[0]] = False
    save_public(folder / "mask.npz", Public(mask, public.direction))


def turned(at: Path, folder: Path) -> None:
    """The gradient points the other way."""
    public = load_public(at / "red-order/mask.npz")
    save_public(folder / "mask.npz", Public(public.mask, -public.direction))


def salted(at: Path, folder: Path) -> None:
    """The right mask, named by an order with another salt."""
    envelope = json.loads((at / "red-order/order.json").read_text())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["salt"] = "0" * 64
    envelope["payload"] = base64.b64encode(dumps(payload)).decode()
    (folder / "order.json").write_text(json.dumps(envelope))


def no_order(at: Path, folder: Path) -> None:
    """A file of another kind."""
    (folder / "order.json").write_text("[]")


@pytest.mark.parametrize("lie", [moved, turned, salted, no_order])
def test_nothing_else_opens_it(
    place: Path, tmp_path: Path, lie: Callable[[Path, Path], None]
) -> None:
    for name in ("order.json", "mask.npz"):
        (tmp_path / name).write_bytes((place / "red-order" / name).read_bytes())
    lie(place, tmp_path)
    files = ["--mask", str(tmp_path / "mask.npz"), "--opening", str(tmp_path / "order.json")]
    result = rescind("certificate", "verify", place / "red.json", *files, "--json")
    assert result.exit_code == 3, result.output
    assert outcomes(json.loads(result.stdout))["mask"] == "failed"


@pytest.mark.parametrize("pair", [("other-order", None), ("red-order", "other-order")])
def test_the_order_of_another_request_does_not(place: Path, pair: tuple[str, str | None]) -> None:
    result = rescind(*opened(place, *pair))
    assert result.exit_code == 3 and "failed       mask" in result.stdout


@pytest.mark.parametrize("seals", [[], ["0" * 64]])
def test_the_signature_covers_it(place: Path, tmp_path: Path, seals: list[str]) -> None:
    envelope = json.loads((place / "red.json").read_text())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["predicate"]["mask_seals"] = seals
    envelope["payload"] = base64.b64encode(dumps(payload)).decode()
    (tmp_path / "red.json").write_text(json.dumps(envelope))
    result = rescind("certificate", "verify", tmp_path / "red.json", "--json")
    assert result.exit_code == 3
    assert outcomes(json.loads(result.stdout))["signature"] == "failed"


def test_a_certificate_without_an_order_says_nothing_of_one(place: Path) -> None:
    """It is as those of before: no field, no check, and a mask is in none of it."""
    payload = from_envelope(json.loads((place / "plain.json").read_text())).payload
    assert b"mask_seals" not in payload and "mask_seals" in ADDED
    assert read_statement(payload).mask_seals == ()
    assert "mask" not in outcomes(parsed("certificate", "verify", place / "plain.json"))
    args = [place / "plain.json" if a == place / "red.json" else a for a in opened(place)]
    result = rescind(*(a for a in args if a not in ("--key", place / "red.pem")))
    assert result.exit_code == 3 and "is not in the certificate" in result.stdout


@pytest.mark.parametrize("seal", ["x", "A" * 64, 5, None])
def test_a_seal_is_a_digest(place: Path, seal: object) -> None:
    payload = json.loads(from_envelope(json.loads((place / "red.json").read_text())).payload)
    payload["predicate"]["mask_seals"] = [seal]
    with pytest.raises(VerificationFailed):
        read_statement(dumps(payload))


def test_it_is_opened_without_torch(place: Path) -> None:
    code = (
        "import sys\nfrom rescind.cli.main import run\nsys.argv = ['rescind', *sys.argv[1:]]\n"
        "try:\n    run()\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nassert 'torch' not in sys.modules\n"
        "assert 'sqlalchemy' not in sys.modules\n"
    )
    args = [str(a) for a in opened(place)]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_refuses_a_request_that_is_no_concept(place: Path, tmp_path: Path) -> None:
    ws = workspace(tmp_path / "ws")
    one = ws.request(Ask(keys=(ws.keys()[0],), near="keep"))
    result = rescind(
        "zk", "order", one.id, "--sign-with", place / "provider.key", "--out", tmp_path / "out",
        "--workspace", tmp_path / "ws",
    )  # fmt: skip
    assert result.exit_code != 0 and "would show them" in result.stderr
    assert result.stderr.count("Error:") == 1
