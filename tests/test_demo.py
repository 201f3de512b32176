"""The demo at its real size, and all its requests processed to replays and certificates."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rescind.certify import envelope_bytes
from rescind.core.guarantee import Exact
from rescind.proofs.signing import load_public, read_statement
from rescind.proofs.verifier import verify
from rescind.workspace import Workspace, open_workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story") / "demo"
    done = demo(folder)
    assert "What to try next" in done
    return folder


def demo(folder: Path) -> str:
    command = [str(Path(sys.executable).parent / "rescind"), "demo", "--workspace", str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix not in {".lock"})
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_demo_leaves_a_report_and_a_certificate_that_verifies(played: Path) -> None:
    key = load_public((played / "signer.pem").read_bytes())
    found = verify((played / "certificate.json").read_bytes(), key=key)
    found.require()
    assert found.statement is not None
    assert found.statement.guarantee == Exact("never_saw")
    assert found.statement.proof.compared >= 1
    outcome = json.loads((played / "outcome.json").read_text())
    assert outcome["person"]["remaining"] == 0
    assert outcome["repeated"]["row"][2] == "already forgotten"
    page = (played / "report.html").read_text()
    assert "Clare Short" not in page
    assert "replayed bit for bit" in page


def test_a_second_run_changes_nothing(played: Path) -> None:
    before = digests(played)
    assert "nothing is done again" in demo(played)
    assert digests(played) == before


def certified(ws: Workspace, request: str, replay: bool) -> str:
    certificate = ws.process(request, replay=replay)
    verify(envelope_bytes(certificate)).require()
    return read_statement(certificate.payload).guarantee.kind


def test_the_single_article_is_replayed_to_an_exact_claim(played: Path) -> None:
    ws = open_workspace(played / "fork-article")
    [request] = ws.requests()
    assert certified(ws, request.id, replay=True) == "exact"
    assert ws.remaining() == {}


def test_the_stream_ends_in_a_replay_that_covers_the_rebuilt_shard(played: Path) -> None:
    ws = open_workspace(played / "fork-stream")
    *earlier, last = ws.requests()
    assert {certified(ws, r.id, replay=False) for r in earlier} == {"empirical"}
    assert certified(ws, last.id, replay=True) == "exact"
    assert ws.remaining() == {}
    ws.verify()


def test_the_parent_still_serves_everything(played: Path) -> None:
    parent = open_workspace(played / "news")
    assert parent.requests() == ()
    assert len(parent.backends.ledger.items("part")) == 27
