"""Worker processes: fresh, rightly threaded, and ended with whatever ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from executor_jobs import (
    Die,
    Give,
    Meet,
    Process,
    Raise,
    Sleep,
    Square,
    TorchThreads,
    Variables,
    run_alone,
    silent,
)

from rescind.core.errors import BadParameter, RescindError
from rescind.core.protocols import Job, Progress
from rescind.executors.inline import InlineExecutor
from rescind.executors.local import LocalExecutor

HERE = Path(__file__).parent
SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from executor_jobs import Give, Sleep, Square
from rescind.executors.local import LocalExecutor
jobs = {jobs}
print(sorted(LocalExecutor(2).run(jobs, lambda *seen: None)))
"""


def hears_ctrl_c() -> None:
    """A shell starts background commands deaf to SIGINT, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(file: Path) -> int:
    for _ in range(600):
        if file.exists():
            return int(file.read_text())
        time.sleep(0.05)
    raise TimeoutError(file)


def ends(pid: int, seconds: float = 20.0) -> bool:
    for _ in range(int(seconds / 0.05)):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_jobs_run_in_other_processes_than_this() -> None:
    pids = {pid for _, pid in LocalExecutor(2).run([Process()] * 4, silent)}
    assert os.getpid() not in pids
    assert not any(alive(pid) for pid in pids)
    assert dict(InlineExecutor().run([Process()], silent)) == {0: os.getpid()}


def test_no_more_workers_than_asked_for() -> None:
    assert len({pid for _, pid in LocalExecutor(1).run([Process()] * 3, silent)}) == 1


def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert dict(LocalExecutor(2).run([Meet(a, b), Meet(b, a)], silent)) == {0: True, 1: True}


def test_no_number_means_one_worker_a_core() -> None:
    cores = len(os.sched_getaffinity(0))
    assert LocalExecutor()._processes() == cores
    assert LocalExecutor(threads=cores)._processes() == 1
    assert LocalExecutor(threads=cores + 1)._processes() == 1
    assert LocalExecutor(workers=7)._processes() == 7


def test_the_variables_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    expected = dict(zip(names, ("3", "3", "PASSIVE", "false"), strict=True))
    assert run_alone(Variables(names), threads=3) == expected
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("value", ["0", "1", None])
def test_offline_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    if value is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert run_alone(Variables(("HF_HUB_OFFLINE",))) == {"HF_HUB_OFFLINE": value}


def test_torch_meets_its_threads_when_it_is_imported() -> None:
    assert run_alone(TorchThreads(), threads=2) == (False, 2)


@pytest.mark.parametrize(("by", "said"), [("kill", "killed by SIGKILL"), ("exit", "exit code 7")])
def test_a_dead_worker_is_one_clear_error(by: str, said: str, tmp_path: Path) -> None:
    other = tmp_path / "pid"
    jobs: list[Job] = [Sleep(str(other)), Die(by)]
    with pytest.raises(RescindError) as caught:
        for _ in LocalExecutor(2).run(jobs, silent):
            raise AssertionError("no job ends")
    assert said in caught.value.what
    assert ("memory" in caught.value.why) == (by == "kill")
    assert "again" in caught.value.do
    if other.exists():  # the other worker may have been ended before it began
        assert not alive(int(other.read_text()))


def test_an_interrupt_is_for_the_parent_to_act_on() -> None:
    """A terminal sends Ctrl-C to the workers too; only the parent may end them."""
    assert run_alone(Die("interrupt")) is None


def test_what_was_finished_before_a_death_was_handed_over() -> None:
    results = LocalExecutor(1).run([Square(3), Die("kill"), Square(4)], silent)
    assert next(results) == (0, 9)
    with pytest.raises(RescindError, match="SIGKILL"):
        next(results)


def test_a_caller_who_stops_reading_ends_the_workers(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    results = LocalExecutor(2).run([Sleep(str(file)), Meet(str(tmp_path / "a"), str(file))], silent)
    assert next(results) == (1, True)
    pid = pid_in(file)
    assert alive(pid)
    results.close()  # type: ignore[attr-defined]
    assert not alive(pid)


def test_an_error_ends_the_other_workers(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    pids = []

    def stop(what: str, done: int, total: int) -> None:
        pids.append(pid_in(file))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        list(LocalExecutor(2).run([Sleep(str(file)), Square(2, steps=1)], stop))
    assert not alive(pids[0])


def test_an_error_carries_the_traceback_of_the_worker() -> None:
    with pytest.raises(ValueError, match="plain") as caught:
        run_alone(Raise("value"))
    assert "executor_jobs.py" in "".join(caught.value.__notes__)


def test_what_cannot_be_sent_back_is_an_error_and_no_hang() -> None:
    with pytest.raises(Exception, match="pickle"):
        run_alone(Give("function"))
    with pytest.raises(RescindError, match="OddError: odd 1 2"):
        run_alone(Raise("odd"))


def test_each_run_has_processes_of_its_own() -> None:
    first, second = run_alone(Process()), run_alone(Process())
    assert len({first, second, os.getpid()}) == 3
    assert not alive(first)


def test_a_worker_passes_progress_on() -> None:
    seen: list[int] = []
    assert run_alone(Square(4, steps=2), lambda what, done, total: seen.append(done)) == 16
    assert seen == [1, 2]


@dataclass(frozen=True)
class InMain:
    def run(self, progress: Progress) -> None:
        """Never reached."""


def test_a_job_of_the_main_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InMain, "__module__", "__main__")
    with pytest.raises(BadParameter, match="main script"):
        run_alone(InMain())


@pytest.mark.parametrize("how", ["script", "command", "input"])
def test_it_works_without_an_importable_main(how: str, tmp_path: Path) -> None:
    """No main guard either: a worker must not run the script again."""
    text = SCRIPT.format(here=str(HERE), jobs='[Square(2), Square(3), Give("noise")]')
    file = tmp_path / "no_guard.py"
    file.write_text(text)
    arguments = {"script": [str(file)], "command": ["-c", text], "input": ["-"]}[how]
    out = subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=60
    )
    assert out.stdout == "[(0, 4), (1, 9), (2, 'quiet')]\n"
    assert out.stderr == "noise from a library\n"


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(by: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    text = SCRIPT.format(here=str(HERE), jobs=f"[Sleep({str(file)!r})]")
    parent = subprocess.Popen(
        [sys.executable, "-c", text],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    pid = pid_in(file)
    assert alive(pid)
    if by == signal.SIGINT:
        os.killpg(parent.pid, by)  # as a terminal sends it: to the worker too
    else:
        parent.send_signal(by)
    _, said = parent.communicate(timeout=20)
    assert parent.returncode == -by
    assert ends(pid)
    assert said.count(b"Traceback") == (1 if by == signal.SIGINT else 0)
