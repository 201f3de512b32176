"""Both ends of a worker process: start one and talk to it, and what runs inside it.

The child is a plain ``python -c``, not ``multiprocessing.Process``: it does not import the caller's
main module again, so a script needs no ``if __name__ == "__main__"``, and its environment is set
before Python starts, hence before torch is imported.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from rescind.core.errors import BadParameter, RescindError
from rescind.core.protocols import Job

START = (
    "import json, sys; fd, *path = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from rescind.executors.worker import serve; serve(fd)"
)


@dataclass(frozen=True, slots=True)
class Worker:
    """A running child and our end of the pipe to it; messages are (kind, content)."""

    process: subprocess.Popen[bytes]
    pipe: Connection

    def give(self, job: Job) -> None:
        """Send a job; its answer comes through ``pipe``.

        Raises:
            BadParameter: its class lives in the main module, which a worker does not import.
            RescindError: the worker is dead.
        """
        if type(job).__module__ == "__main__":
            raise BadParameter(
                f"The job {type(job).__name__} is defined in the main script.",
                "A worker process does not run that script again.",
                'Move the class into a module, or set executor = "inline".',
            )
        try:
            self.pipe.send(job)
        except ConnectionError as error:
            raise self.death() from error

    def read(self) -> tuple[str, Any]:
        """The next message.

        Raises:
            RescindError: the worker is dead.
        """
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self.death() from error
        return message

    def death(self) -> RescindError:
        """The error that says how the worker ended."""
        code = self.process.wait()
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        why = "Its own message, if any, is above."
        if code == -signal.SIGKILL:
            why = "Most often the machine ran out of memory."
        return RescindError(
            f"A worker process {how}.",
            why,
            "Finished work is kept: type the same command again, with RESCIND_WORKERS=1 in front "
            "if memory is short.",
        )

    def stop(self) -> None:
        """End the child now; what it had finished has been handed over already."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def start(threads: int) -> Worker:
    """Start a brand-new Python process with this many torch threads."""
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps([theirs.fileno(), *map(str, sys.path)])],
            env=environment(threads),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a library prints must not mix with the answer of a command
        )
    return Worker(process, ours)


def environment(threads: int) -> dict[str, str]:
    """The caller's variables with those that fix the number of threads."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def serve(fd: int) -> None:
    """Inside the child: run jobs as they come until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when Ctrl-C ends us
    os.set_inheritable(fd, False)
    pipe = Connection(fd)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, jobs), daemon=True).start()
    while True:
        pipe.send_bytes(_answer(pipe, jobs.get()))


def _receive(pipe: Connection, jobs: queue.SimpleQueue[bytes]) -> None:
    """Queue jobs. A closed pipe means that the parent is gone: then the job in hand ends too."""
    while True:
        try:
            jobs.put(pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _answer(pipe: Connection, data: bytes) -> bytes:
    def progress(what: str, done: int, total: int) -> None:
        pipe.send(("progress", (what, done, total)))

    try:
        job: Job = ForkingPickler.loads(data)
        return _packed("result", job.run(progress))
    except Exception as error:  # the outermost loop of a worker: any error is the caller's to see
        error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
        return _packed_error(error)


def _packed_error(error: Exception) -> bytes:
    try:
        data = _packed("error", error)
        ForkingPickler.loads(data)  # some errors can be packed and not unpacked
    except Exception:
        return _packed(
            "error",
            RescindError(
                f"A job failed in its worker: {type(error).__name__}: {error}",
                "The error itself cannot be sent between processes.",
                "See it whole with RESCIND_EXECUTOR=inline in front of the command.",
            ),
        )
    return data


def _packed(kind: str, content: Any) -> bytes:
    return bytes(ForkingPickler.dumps((kind, content)))
