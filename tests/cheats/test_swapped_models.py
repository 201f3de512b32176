"""The model is swapped after its evidence: in the store, in the table of parts, in an export."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lying_methods as lying
import pytest
from outsider import ROW, ask, failed_checks

from rescind import certify, state, steps
from rescind.core.canonical import dumps
from rescind.core.certificate import Certificate
from rescind.core.errors import DamagedArtifact, LedgerInconsistent, RescindError
from rescind.core.protocols import Entry
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.workspace import Workspace, open_workspace


def served(workspace: Workspace) -> Snapshot:
    return selection(state.parts(workspace.backends))[0]


def flip_a_byte_on_disk(workspace: Workspace) -> None:
    artifact = workspace.backends.artifacts.find(served(workspace).name)
    assert artifact is not None
    path = workspace.folder / "artifacts" / artifact.address[:2] / artifact.address
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def put_other_weights(workspace: Workspace) -> None:
    """What somebody does who holds all keys: the store itself is content."""
    b, part = workspace.backends, served(workspace)
    b.artifacts.put(part.name, "snapshot", lying.noisy(b, part), state.labels(b, part.cells))


def change_the_table_of_parts(workspace: Workspace) -> None:
    """The table is made to list other weights, past the ledger."""
    b, part = workspace.backends, served(workspace)
    put_other_weights(workspace)
    import hashlib

    digest = hashlib.sha256(b.artifacts.get(part.name)).hexdigest()
    value = dumps(replace(part, digest=digest)).decode()
    with sqlite3.connect(workspace.folder / "rescind.db") as connection:
        connection.execute(
            "UPDATE state SET value = ? WHERE table_name = 'part' AND key = ?", (value, part.name)
        )
    connection.close()


SWAPS: list[tuple[Callable[[Workspace], None], type[RescindError]]] = [
    (flip_a_byte_on_disk, DamagedArtifact),
    (put_other_weights, DamagedArtifact),
    (change_the_table_of_parts, LedgerInconsistent),
]


def swap_before(monkeypatch: pytest.MonkeyPatch, step: str, swap: Callable[[], None]) -> None:
    """Have the swap take place right before a step of the pipeline."""
    module = certify if step == "certify" else steps
    honest = getattr(module, step)

    def swapped(*arguments: object) -> object:
        swap()
        return honest(*arguments)

    monkeypatch.setattr(module, step, swapped)


@pytest.mark.parametrize(("swap", "error"), SWAPS)
def test_swapped_after_the_certificate(
    swap: Callable[[Workspace], None], error: type[RescindError], workspace: Workspace
) -> None:
    request = workspace.request(ask(workspace))
    workspace.process(request.id)
    workspace.verify()
    swap(workspace)
    with pytest.raises(error):
        workspace.verify()


@pytest.mark.parametrize("swap", [flip_a_byte_on_disk, put_other_weights])
def test_swapped_weights_are_neither_served_nor_exported(
    swap: Callable[[Workspace], None], workspace: Workspace, tmp_path: Path
) -> None:
    workspace.process(workspace.request(ask(workspace)).id)
    assert len(workspace.predict([ROW])) == 1
    swap(workspace)
    with pytest.raises(DamagedArtifact):
        open_workspace(workspace.folder).predict([ROW])
    with pytest.raises(DamagedArtifact):
        workspace.export(tmp_path / "export", "a customer")


def certified(workspace: Workspace) -> Certificate:
    return workspace.process(workspace.request(ask(workspace)).id)


def test_an_export_of_the_certified_model_verifies(workspace: Workspace, tmp_path: Path) -> None:
    certificate = certified(workspace)
    workspace.export(tmp_path / "export", "a customer")
    assert failed_checks(certificate, tmp_path / "export") == set()


def test_an_export_of_a_model_listed_past_the_ledger_does_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    certificate = certified(workspace)
    change_the_table_of_parts(workspace)
    workspace.export(tmp_path / "export", "a customer")
    assert failed_checks(certificate, tmp_path / "export") == {"model"}


def test_a_changed_export_does_not_verify(workspace: Workspace, tmp_path: Path) -> None:
    certificate = certified(workspace)
    workspace.export(tmp_path / "export", "a customer")
    file = next((tmp_path / "export").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert failed_checks(certificate, tmp_path / "export") == {"model"}


def test_an_export_of_the_original_does_not_verify(workspace: Workspace, tmp_path: Path) -> None:
    workspace.export(tmp_path / "original", "a customer")
    assert failed_checks(certified(workspace), tmp_path / "original") == {"model"}


@pytest.mark.parametrize("step", ["release", "certify"])
def test_the_table_changed_between_proof_and_certificate(
    step: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = workspace.request(ask(workspace))
    swap_before(monkeypatch, step, lambda: change_the_table_of_parts(workspace))
    with pytest.raises(RescindError):
        workspace.process(request.id)
    assert workspace.backends.ledger.get("certificate", request.id) is None
    assert state.request(workspace.backends, request.id).status == "failed"


def test_weights_swapped_between_proof_and_certificate_never_answer(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    swap_before(monkeypatch, "certify", lambda: put_other_weights(workspace))
    certificate = certified(workspace)  # it speaks of the weights that were replayed ...
    with pytest.raises(DamagedArtifact):  # ... and the others are not served in their place
        workspace.predict([ROW])
    with pytest.raises(DamagedArtifact):
        workspace.verify()
    assert failed_checks(certificate) == set()


def test_a_part_put_back_by_an_entry_is_seen_by_the_next_replay(workspace: Workspace) -> None:
    """Even through the ledger, a cut snapshot comes back only until somebody looks."""
    request = workspace.request(ask(workspace))
    sealed = state.sealed(workspace.backends, request.id)
    writes = tuple(state.write_part(part) for part in sealed)
    workspace.backends.ledger.append(Entry("put.back", writes=writes))
    with pytest.raises(RescindError, match="made from the forget set"):
        workspace.process(request.id)
    assert workspace.backends.ledger.get("certificate", request.id) is None
    assert [e.kind for e in workspace.backends.ledger.entries()].count("put.back") == 1
