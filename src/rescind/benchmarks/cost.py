"""What a piece of work took: processor time, optimiser steps, memory at most, bytes read."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Meter:
    """Filled while ``metered`` is open; ``peak_bytes`` is what was held beyond the start."""

    cpu_seconds: float = 0.0
    steps: int = 0
    bytes_read: int = 0
    peak_bytes: int = 0


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what runs within, in this process.

    ``bytes_read`` counts the tensors that enter a module from outside any other: each example as
    often as it is looked at. The peak is that of the whole process (VmHWM, reset at the start); on
    other systems than Linux it is the growth of its largest size so far, which may be 0. On a GPU
    its own memory is added, and the processor's time is what it spends to feed the GPU and wait.
    """
    from torch.nn.modules.module import (
        register_module_forward_hook,
        register_module_forward_pre_hook,
    )
    from torch.optim.optimizer import register_optimizer_step_post_hook

    meter, depth = Meter(), [0]

    def entered(module: Any, inputs: tuple[Any, ...]) -> None:
        if depth[0] == 0:
            meter.bytes_read += sum(_bytes(part) for part in inputs)
        depth[0] += 1

    def left(module: Any, inputs: Any, output: Any) -> None:
        depth[0] -= 1

    def stepped(*_: Any) -> None:
        meter.steps += 1

    before, started = _begin(), time.process_time()
    on_gpu = _gpu_bytes()
    with ExitStack() as hooks:
        hooks.callback(register_module_forward_pre_hook(entered).remove)
        hooks.callback(register_module_forward_hook(left, always_call=True).remove)
        hooks.callback(register_optimizer_step_post_hook(stepped).remove)
        yield meter
    used = _gpu_bytes() - on_gpu  # waits until the GPU is done
    meter.cpu_seconds = time.process_time() - started
    meter.peak_bytes = max(0, _peak() - before) + max(0, used)


def _gpu_bytes() -> int:
    """The most that lay on the GPU since this was last asked; what lies there now begins anew."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0
    torch.cuda.synchronize()
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


def _bytes(part: Any) -> int:
    return int(getattr(part, "nbytes", 0))


def _begin() -> int:
    """Bytes held now, the mark of the largest size set back to them where that can be done."""
    _trim()
    try:
        CLEAR.write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _trim() -> None:
    """Give back what the allocator keeps of earlier work: it would hide what this work takes."""
    import ctypes

    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it, others do not
        trim(0)


def _peak() -> int:
    if STATUS.is_file():
        return _status("VmHWM")
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def _status(name: str) -> int:
    lines = STATUS.read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(found.split()[1])
