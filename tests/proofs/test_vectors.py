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
from make_vectors import AT, EXPECTED, EXPORTS, HEAD, HERE, LIES, write

from rescind.core.errors import VerificationFailed
from rescind.proofs import claims, coherence, export_digest, verifier
from rescind.proofs.signing import load_public
from rescind.proofs.verifier import Check, Verification, verify

GOLDEN = (
    "golden_all_measurements",
    "golden_audited",
    "golden_certified",
    "golden_certified_without_a_replay",
    "golden_no_test_record",
    "golden_not_served",
    "golden_not_served_empirical",
    "golden_test_only",
    "golden_empirical",
    "golden_exact_beside_a_residue",
    "golden_exact_never_saw",
    "golden_exact_retrain",
    "golden_lowered_by_an_audit",
    "golden_with_unknown_field",
)
PEM = (HERE / "key.pem").read_bytes()
# no check of their content can be left out: without it there is nothing to look at
UNREADABLE = {"not_an_envelope", "missing_field", "missing_erasure_list", "foreign_predicate_type"}
# the rule of coherence that each lie about the evidence breaks, and no other
RULES: dict[str, str] = {
    "no_request": "request",
    "for_no_record": "counts",
    "more_test_records_than_records": "counts",
    "fewer_copies_than_records": "counts",
    "missing_evidence": "measured",
    "missing_erasure": "erasure",
    "erasure_left_something": "erasure",
    "replay_of_other_weights": "replay",
    "identical_yet_never_run": "replay",
    "nothing_on_the_list_of_the_forgotten": "forgotten",
    "no_op": "weights",
    "no_op_called_test_only": "weights",
    "unchanged_yet_other": "weights",
    "withdrawn_before_received": "times",
    "value_outside_interval": "values",
    "accuracy_above_one": "ranges",
    "accuracy_interval_beyond_one": "ranges",
    "accuracy_changed_by_more_than_all": "ranges",
    "agreement_below_zero": "ranges",
    "measured_without_a_test_record": "measured",
    "served_yet_called_unserved": "measured",
    "audits_against_their_results": "audited",
    "an_audit_against_its_numbers": "audited",
    "supported_by_an_added_audit_alone": "audited",
}
GOOD = "golden_exact_never_saw"
FALSE_EXPORTS = [name for name in EXPORTS if not name.startswith("golden")]
# what the reader is told of each
TOLD = {
    "golden_with_recipe": "as certified",
    "parts_twice": "a name stands twice",
    "another_model_named": "calls its model weather, not news",
    "unnamed_pickle": "pytorch_model.bin",
    "unnamed_in_capitals": "x.SAFETENSORS",
    "unnamed_in_a_folder": "sub/x.safetensors",
    "weights_in_a_folder_called_recipe": "recipe.json/x.bin",
}
UNNAMED = [name for name in EXPORTS if name.startswith(("unnamed", "weights_in"))]
INDEPENDENT = Path(__file__).parent / "independent_verifier.py"
MANUAL = Path(__file__).parents[2] / "docs" / "how-to" / "read-a-certificate.md"


def check(name: str, export: Path = HERE / "export") -> Verification:
    return verify(
        (HERE / f"{name}.json").read_bytes(),
        key=load_public(PEM),
        model=export,
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
    assert expected == EXPECTED
    assert {p.name for p in (HERE / "exports").iterdir()} == set(EXPORTS)
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


@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if lie == "evidence"])
def test_each_rule_of_coherence_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finer than the check: the others together do not notice this lie."""
    rule = RULES[name]
    monkeypatch.setitem(coherence.RULES, rule, lambda _: [])
    check(name).require()


def test_every_rule_of_coherence_has_a_lie() -> None:
    assert set(RULES.values()) == set(coherence.RULES)


@pytest.mark.parametrize("name", [name for name in LIES if name.startswith("certified_with_")])
def test_the_numbers_of_a_certified_claim_are_needed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_impossible", lambda _: "")
    check(name).require()


@pytest.mark.parametrize("name", EXPORTS)
def test_each_false_export_fails_the_model_and_no_other(name: str) -> None:
    found = check(GOOD, HERE / "exports" / name)
    assert failures(found) == ["model"] * (name in FALSE_EXPORTS)
    (said,) = [c.detail for c in found.checks if c.name == "model"]
    assert TOLD[name] in said


@pytest.mark.parametrize("name", UNNAMED)
def test_the_look_at_the_whole_folder_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_digest, "_stray", lambda *_: [])
    check(GOOD, HERE / "exports" / name).require()


def test_strict_reading_of_the_selection_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_digest, "parse_json", json.loads)
    check(GOOD, HERE / "exports" / "parts_twice").require()


def test_the_weights_under_another_name_are_the_same() -> None:
    """Only the name tells these apart: no other look at the folder or the statement does."""
    renamed = export_digest.read_export(HERE / "exports" / "another_model_named")
    certified = export_digest.read_export(HERE / "export")
    assert (renamed.model, certified.model) == ("weather", "news")
    assert renamed.weights == certified.weights


@pytest.mark.parametrize("name", EXPORTS)
def test_the_independent_verifier_agrees_about_exports(name: str) -> None:
    export = HERE / "exports" / name
    data = (HERE / f"{GOOD}.json").read_bytes()
    assert failed(data, PEM, export, HEAD, AT) == failures(check(GOOD, export))


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
    length = len(source.splitlines())
    assert length <= 138
    assert f"in {length} lines" in MANUAL.read_text()
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
