"""Ledger and claims between real processes, some of which are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rescind.core.errors import Busy
from rescind.core.protocols import Entry
from rescind.storage.sql import SqlLedger

OPEN = """
import sys, time
from rescind.core.protocols import Entry, Write
from rescind.storage.sql import SqlLedger
folder, name = sys.argv[1:]
ledger = SqlLedger(folder + "/rescind.db", folder + "/locks")
"""
APPEND = """
for n in range(50):
    ledger.append(Entry("a", name, {"n": n}, (Write("t", f"{name}.{n}", n), Write("t", "last", n))))
"""
APPEND_FOR_EVER = """
n = 0
while True:
    ledger.append(Entry("a", name, {"n": n}, tuple(Write("t", f"{k}", n) for k in range(20))))
    print(n, flush=True)
    n += 1
"""
CLAIM = """
with ledger.claim(name):
    print("claimed", flush=True)
    time.sleep(60)
"""


def start(script: str, folder: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN + script, str(folder), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_writers_make_one_unbroken_chain(tmp_path: Path) -> None:
    writers = [start(APPEND, tmp_path, name) for name in ("one", "two")]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    ledger = SqlLedger(tmp_path / "rescind.db", tmp_path / "locks")
    ledger.verify()
    assert ledger.head()[0] == 100
    assert [e.facts["n"] for e in ledger.entries("one")] == list(range(50))
    assert [e.facts["n"] for e in ledger.entries("two")] == list(range(50))
    assert len(ledger.items("t")) == 101
    ledger.close()


def test_four_processes_may_make_one_new_ledger_at_once(tmp_path: Path) -> None:
    makers = [start("ledger.append(Entry(name))", tmp_path, f"m{n}") for n in range(4)]
    for maker in makers:
        maker.communicate(timeout=120)
    assert [maker.returncode for maker in makers] == [0] * 4
    ledger = SqlLedger(tmp_path / "rescind.db", tmp_path / "locks")
    ledger.verify()
    assert ledger.head()[0] == 4
    ledger.close()


def test_a_killed_writer_leaves_a_whole_chain(tmp_path: Path) -> None:
    reported = 0
    for round_ in range(3):
        writer = start(APPEND_FOR_EVER, tmp_path, f"w{round_}")
        for _ in range(5 + round_):
            reported += line(writer).isdigit()
        time.sleep(0.003 * round_)
        kill(writer)
        ledger = SqlLedger(tmp_path / "rescind.db", tmp_path / "locks")
        ledger.verify()
        # what append returned from is there; one more may be
        assert ledger.head()[0] >= reported
        last = list(ledger.entries(f"w{round_}"))[-1].facts["n"]
        assert ledger.items("t") == {str(k): last for k in range(20)}
        reported = ledger.append(Entry("b")).seq
        ledger.close()


def test_a_claim_is_exclusive_and_freed_by_a_kill(tmp_path: Path) -> None:
    holder = start(CLAIM, tmp_path, "r1")
    assert line(holder) == "claimed"
    ledger = SqlLedger(tmp_path / "rescind.db", tmp_path / "locks")
    with pytest.raises(Busy) as caught, ledger.claim("r1"):
        pytest.fail("claimed what another process holds")
    assert "r1" in str(caught.value)
    with ledger.claim("r2"):
        pass
    kill(holder)
    with ledger.claim("r1"):
        pass
    ledger.close()
