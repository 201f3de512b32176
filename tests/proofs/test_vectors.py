"""Golden certificates verify, each lie fails its own check, and no check can be left out."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from independent_verifier import failed
from make_vectors import AT, HEAD, HERE, LIES, write

from rescind.core.errors import VerificationFailed
from rescind.proofs import verifier
from rescind.proofs.signing import load_public
from rescind.proofs.verifier import Check, Verification, verify

GOLDEN = (
    "golden_no_test_record",
    "golden_not_served",
    "golden_not_served_empirical",
    "golden_test_only",
    "golden_empirical",
    "golden_exact_never_saw",
    "golden_exact_retrain",
    "golden_with_unknown_field",
)
PEM = (HERE / "key.pem").read_bytes()
# no check of their content can be left out: without it there is nothing to look at
UNREADABLE = {"not_an_envelope", "missing_field", "missing_erasure_list", "foreign_predicate_type"}
INDEPENDENT = Path(__file__).parent / "independent_verifier.py"


def check(name: str) -> Verification:
    return verify(
        (HERE / f"{name}.json").read_bytes(),
        key=load_public(PEM),
        model=HERE / "export",
        ledger_head=HEAD,
        at=datetime.fromisoformat(AT),
    )


def failures(found: Verification) -> list[str]:
    return [c.name for c in found.checks if c.outcome == "failed"]


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {p.relative_to(HERE): p.read_bytes() for p in HERE.rglob("*") if p.is_file()}
    kept.pop(Path("README.md"))
    assert made == kept


def test_every_vector_has_its_verdict() -> None:
    expected = json.loads((HERE / "expected.json").read_text())
    assert expected == {"at": AT, "ledger_head": HEAD, "fails": LIES}
    names = {p.stem for p in HERE.glob("*.json")} - {"expected"}
    assert names == set(LIES) | set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    found = check(name)
    found.require()
    assert {c.outcome for c in found.checks} == {"passed"}
    assert [c.name for c in found.checks] == [
        *verifier.ENVELOPE_CHECKS,
        *verifier.STATEMENT_CHECKS,
    ]


@pytest.mark.parametrize(("name", "lie"), LIES.items())
def test_each_lie_fails_its_own_check_and_no_other(name: str, lie: str) -> None:
    found = check(name)
    assert failures(found) == [lie]
    with pytest.raises(VerificationFailed) as caught:
        found.require()
    assert caught.value.check == lie


@pytest.mark.parametrize("name", sorted(set(LIES) - UNREADABLE))
def test_each_check_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lie = LIES[name]
    holder = (
        verifier.ENVELOPE_CHECKS if lie in verifier.ENVELOPE_CHECKS else verifier.STATEMENT_CHECKS
    )
    assert lie in holder
    monkeypatch.setitem(holder, lie, lambda *_: Check(lie, "passed", "left out"))
    check(name).require()


def test_every_check_has_a_lie() -> None:
    readable = {lie for name, lie in LIES.items() if name not in UNREADABLE}
    assert readable == {*verifier.ENVELOPE_CHECKS, *verifier.STATEMENT_CHECKS}


@pytest.mark.parametrize("name", [*GOLDEN, *LIES])
def test_the_independent_verifier_agrees(name: str) -> None:
    data = (HERE / f"{name}.json").read_bytes()
    assert failed(data, PEM, HERE / "export", HEAD, AT) == failures(check(name))


@pytest.mark.parametrize(("name", "code"), [(GOLDEN[0], 0), ("expired", 1)])
def test_the_independent_verifier_runs_by_itself(name: str, code: int) -> None:
    arguments = [HERE / f"{name}.json", HERE / "key.pem", HERE / "export", HEAD, AT]
    command = [sys.executable, str(INDEPENDENT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (code, ["validity"] * code)


def test_the_independent_verifier_is_small_and_independent() -> None:
    source = INDEPENDENT.read_text()
    assert len(source.splitlines()) <= 100
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
