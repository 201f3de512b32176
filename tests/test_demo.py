"""The demo at its real size, and all its requests processed to replays and certificates."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rescind.core.guarantee import Exact
from rescind.demo import setting
from rescind.proofs.signing import load_public
from rescind.proofs.verifier import Verification, verify
from rescind.workspace import Workspace, open_workspace

pytestmark = [pytest.mark.slow, pytest.mark.fresh]

PROGRAM = Path(sys.executable).parent / "rescind"
PLACE = Path("my stories") / "demo"  # neither here nor without a blank, so that names are quoted


@dataclass(frozen=True)
class Played:
    """Where the demo was started, what it said there, and what it noted."""

    start: Path
    said: str

    @property
    def folder(self) -> Path:
        return self.start / PLACE

    @property
    def outcome(self) -> Any:
        return json.loads((self.folder / "outcome.json").read_text())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    start = tmp_path_factory.mktemp("start")
    return Played(start, demo(start))


def demo(start: Path) -> str:
    command = [str(PROGRAM), "demo", "--workspace", str(PLACE)]
    return subprocess.run(command, cwd=start, check=True, stdout=subprocess.PIPE, text=True).stdout


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix not in {".lock"})
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_demo_leaves_a_report_and_a_certificate_that_verifies(played: Played) -> None:
    key = load_public((played.folder / "signer.pem").read_bytes())
    found = verify((played.folder / "certificate.json").read_bytes(), key=key)
    found.require()
    assert found.statement is not None
    assert found.statement.guarantee == Exact("never_saw")
    assert found.statement.proof.compared >= 1
    assert played.outcome["person"]["remaining"] == 0
    page = (played.folder / "report.html").read_text()
    assert setting.PERSON not in page
    assert "replayed bit for bit" in page


def test_placed_by_owner_one_cell_is_cut_instead_of_many(played: Played) -> None:
    by_record, by_owner = played.outcome["person"]["plans"]
    assert len(by_owner["cells"]) == 1 < len(by_record["cells"])
    assert 0 < by_owner["snapshots_cut"] < by_record["snapshots_cut"]
    assert by_owner["retained_share"] > by_record["retained_share"]


def test_the_stream_is_warned_of_and_falls_back_to_the_shards_that_live(played: Played) -> None:
    found = played.outcome["stream"]
    dead, plan = [str(shard) for shard in found["dead"]], found["plan"]
    warning = f"Shard {dead[0]} would have no survivor; `rescind rebuild` brings it back."
    assert warning in plan["warnings"]
    assert f"Warning: {warning}" in played.said
    before, after, rebuilt = found["serves"]
    assert set(before) == {"0", "1", "2"}
    assert set(after) == set(before) - set(dead) != set()  # dead shards are skipped
    assert sum(after.values()) < sum(before.values())
    assert all(after[shard] <= before[shard] for shard in after)
    assert {str(s["shard"]): s["slices_after"] for s in plan["shards"]} == {
        **after,
        **dict.fromkeys(dead, 0),
    }
    assert set(rebuilt) == set(before)
    assert found["shares"] == sorted(found["shares"], reverse=True)


def test_a_key_that_is_not_there_is_refused_and_a_repetition_is_answered(played: Played) -> None:
    outcome = played.outcome
    assert outcome["unknown"]["row"][2].startswith("refused: ")
    assert outcome["repeated"]["row"][2] == "already forgotten"
    assert f"already forgotten: request {outcome['person']['request']}" in played.said


def test_a_second_run_changes_nothing(played: Played) -> None:
    before = digests(played.folder)
    assert "nothing is done again" in demo(played.start)
    assert digests(played.folder) == before


def test_what_the_demo_suggests_works_as_it_is_printed(played: Played) -> None:
    """The last of them replays the single article, request 1, as well."""
    told = played.said.partition("What to try next\n")[2].splitlines()
    lines = [line.strip() for line in told if line.startswith("  ")]
    assert [line.split("rescind ")[1].split()[0] for line in lines] == [
        *("certificate", "predict", "request", "process")
    ]
    said = [
        subprocess.run(line, shell=True, cwd=played.start, check=True, input="y\n", **PIPES).stdout
        for line in lines
    ]
    assert "the key you pinned" in said[0]
    assert "entertainment" in said[1]
    assert "5 records" in said[2] and "it is withdrawn" in said[2]
    assert said[3].count("Claim: exact (never_saw)") == 2
    ws = open_workspace(played.folder / "fork-article")
    assert [certified(ws, r.id) for r in ws.requests()] == ["exact", "exact"]
    assert ws.remaining() == {}


PIPES: Any = {"stdout": subprocess.PIPE, "text": True}


def certified(ws: Workspace, request: str, *, replay: bool = True) -> str:
    """The claim of the certificate that processing ends in."""
    ws.process(request, replay=replay)
    found: Verification = verify(ws.certificate_file(request))
    found.require()
    assert found.statement is not None
    return found.statement.guarantee.kind


def test_the_stream_of_takedowns_is_replayed(played: Played) -> None:
    """All are withdrawn and a shard is rebuilt, so each replay would train the same snapshots: it
    is run for the first and the last of them, before and after the erasures in between.
    """
    ws = open_workspace(played.folder / "fork-stream")
    requests = ws.requests()
    assert len(requests) == len(played.outcome["stream"]["shares"]) > 1
    first, *others, last = [r.id for r in requests]
    assert certified(ws, first) == "exact"
    assert {certified(ws, r, replay=False) for r in others} <= {"empirical"}
    assert certified(ws, last) == "exact"
    assert {r.status for r in ws.requests()} == {"closed"}
    assert ws.remaining() == {}
    ws.verify()


def test_the_parent_still_serves_everything(played: Played) -> None:
    parent = open_workspace(played.folder / "news")
    assert parent.requests() == ()
    assert len(parent.backends.ledger.items("part")) == 27
