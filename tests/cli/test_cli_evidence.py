"""Processing, certificates, reports and what is left afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Place, ok, parsed, rescind

from rescind.workspace import open_workspace


def certificate(done: Place, folder: Path) -> Path:
    ok("certificate", "export", done.request, "--out", folder / "c.json", *done.at)
    return folder / "c.json"


def test_a_stranger_checks_the_proof_of_lineage(fresh: Place, tmp_path: Path) -> None:
    receipt, proof, cert = (tmp_path / f"{n}.json" for n in ("receipt", "lineage", "c"))
    ok("receipt", "r7", "--out", receipt, *fresh.at)
    noted = parsed("db", "head", *fresh.at)
    request = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    ok("process", request, *fresh.at)
    ok("prove", request, "--receipt", receipt, "--out", proof, *fresh.at)
    ok("certificate", "export", request, "--out", cert, *fresh.at)
    checked = ("certificate", "verify", cert, "--proof", proof)
    said = {c["name"]: c["outcome"] for c in parsed(*checked, "--opening", receipt)["checks"]}
    assert [said[n] for n in said if n.startswith("lineage")] == ["passed"] * 5
    assert "never trained on" in ok(*checked)
    assert "Give --proof too" in rescind("certificate", "verify", cert, "--opening", cert).stderr
    assert "--opening order.json" in rescind(*checked, "--mask", proof).stderr
    broken = tmp_path / "broken.json"
    broken.write_bytes(proof.read_bytes()[:-9])
    assert rescind("certificate", "verify", cert, "--proof", broken).exit_code == 3
    on = tmp_path / "consistency.json"
    ok("db", "consistency", str(noted["entry"]), "--out", on, *fresh.at)
    roots = ("--old-root", noted["root"], "--root", parsed("db", "head", *fresh.at)["root"])
    assert "none of them was changed" in ok("db", "consistent", on, *roots)
    assert rescind("db", "consistent", on, *roots[:3], noted["root"]).exit_code == 3


def test_process_wrote_the_certificate(closed: Place) -> None:
    written = closed.folder.parent / f"certificate-{closed.request}.json"
    assert json.loads(written.read_bytes())["payloadType"] == "application/vnd.in-toto+json"


def test_the_folder_for_certificates_is_made(fresh: Place, tmp_path: Path) -> None:
    request = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    out = tmp_path / "new" / "certificates"
    said = ok("process", request, "--no-replay", "--out", out, *fresh.at)
    assert f"Certificate: {out / f'certificate-{request}.json'}" in said
    assert (out / f"certificate-{request}.json").stat().st_size > 1000


def test_process_again_gives_the_same(done: Place) -> None:
    assert parsed("process", done.request, *done.at)["request"] == done.request
    assert ok("process", *done.at) == "No request is open.\n"
    assert parsed("process", *done.at) == {"processed": [], "held": []}


def test_a_method_that_edits_weights_is_confirmed(fresh: Place) -> None:
    added = parsed("request", "add", "--key", "r7", "--method", "retrain", "--yes", *fresh.at)
    request = added["request"]["id"]
    refused = rescind("process", request, *fresh.at, answer="n\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "retrain edits weights." in refused.stderr
    assert open_workspace(fresh.folder).requests()[0].status == "planned"
    said = ok("process", request, "--no-replay", "--yes", *fresh.at)
    assert "Claim: empirical, because the replay was not run" in said
    assert "test_accuracy" in said
    assert f"rescind certificate export {request}" in said


def test_process_goes_on_after_one_that_fails(fresh: Place) -> None:
    first = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    done = rescind("process", "--set", "rate=1", "--json", *fresh.at)
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)["processed"]
    assert found["request"] == first
    assert found["error"]["what"] == "S3T has no field 'rate'."
    assert open_workspace(fresh.folder).requests()[0].status == "withdrawn"


def test_erase_says_what_is_left(fresh: Place, done: Place) -> None:
    assert ok("erase", *done.at) == "Nothing made from forgotten records is stored.\n"
    ok("request", "add", "--key", "r7", "--yes", *fresh.at)
    left = rescind("erase", *fresh.at)
    assert left.exit_code == 4
    assert "is withdrawn" in left.stdout
    assert json.loads(rescind("erase", "--json", *fresh.at).stdout)["remaining"]


def test_certificate_show(done: Place) -> None:
    assert "Attested by the signer" in ok("certificate", "show", done.request, *done.at)
    assert parsed("certificate", "show", done.request, *done.at)["request"] == done.request


def test_verify_with_all_that_a_reader_may_bring(done: Place, tmp_path: Path) -> None:
    file, model, key = certificate(done, tmp_path), tmp_path / "model", tmp_path / "pub.pem"
    ok("certificate", "key", "--out", key, *done.at)
    ok("export", model, "--to", "the auditor", *done.at)
    head = parsed("certificate", "show", done.request, *done.at)["ledger_head"]
    brought = ("--key", str(key), "--model", str(model), "--ledger-head", str(head))
    checks = parsed("certificate", "verify", file, *brought)["checks"]
    assert {c["name"]: c["outcome"] for c in checks if c["outcome"] != "passed"} == {}
    said = ok("certificate", "verify", file)
    assert "you have not pinned this key" in said
    lists = ("Checked here", "Attested by the signer", "Not covered")
    assert [line for line in said.splitlines() if line in lists] == list(lists)


def test_verify_at_a_date_after_expiry(done: Place, tmp_path: Path) -> None:
    late = rescind("certificate", "verify", certificate(done, tmp_path), "--at", "2199-01-01")
    assert late.exit_code == 3
    assert "'validity' failed: it expired" in late.stderr
    assert "Checked here" in late.stdout


def test_verify_at_the_day_of_issue(done: Place, tmp_path: Path) -> None:
    file = certificate(done, tmp_path)
    issued = parsed("certificate", "show", done.request, *done.at)["issued_at"]
    ok("certificate", "verify", file, "--at", issued[:10])
    early = rescind("certificate", "verify", file, "--at", f"{issued[:10]}T00:00:00")
    assert early.exit_code == 3


def test_key_rotation_leaves_the_earlier_key_to_be_had(done: Place, tmp_path: Path) -> None:
    old = parsed("certificate", "key", "--out", tmp_path / "old.pem", *done.at)["key_id"]
    new = parsed("key", "rotate", *done.at)["key_id"]
    at = ("--out", str(tmp_path / "new.pem"), *done.at)
    assert parsed("certificate", "key", *at)["key_id"] == new != old
    assert parsed("certificate", "key", "--key-id", old, *at)["key_id"] == old
    file = certificate(done, tmp_path)
    assert rescind("certificate", "verify", file, "--key", tmp_path / "new.pem").exit_code == 0
    ok("certificate", "key", *at)
    wrong = rescind("certificate", "verify", file, "--key", tmp_path / "new.pem")
    assert wrong.exit_code == 3
    assert "'signer' failed" in wrong.stderr


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("r.html", (), "<!doctype html>"),
        ("r.md", (), "# "),
        ("r.txt", ("--format", "html"), "<!doctype html>"),
    ],
)
def test_report(
    done: Place, tmp_path: Path, name: str, options: tuple[str, ...], begins: str
) -> None:
    out = tmp_path / name
    ok("report", done.request, "--out", out, *options, *done.at)
    assert out.read_text().lower().startswith(begins)


def test_report_to_standard_output(done: Place) -> None:
    assert ok("report", done.request, *done.at).startswith("# ")
    found = parsed("report", done.request, *done.at)
    assert found["request"]["id"] == done.request
    assert found["request"] == parsed("request", "show", done.request, *done.at)["request"]
    assert not {"sealed_keys", "labels"} & set(found["request"])
    assert found["proof"]["outcome"] == "identical"
