"""Make a process reproducible, say what it depends on, and derive its seeds."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rescind.core.canonical import digest
from rescind.core.errors import DamagedArtifact
from rescind.core.run import Environment, Run
from rescind.core.task import Task
from rescind.training.pretrained import base_digest, is_adapted


def settle(threads: int = 1) -> None:
    """Fix thread counts and refuse non-deterministic kernels; call before the first tensor."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch asks of a GPU below
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # on by default with the line above, it writes every new tensor twice: 18 % of a training here;
    # it only makes a faulty read visible, and a replay that meets all bytes shows there is none
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # torch allows this once, before the pool's first use; the pool does no arithmetic of ours
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)


def environment(task: Task, threads: int) -> Environment:
    """What the bytes of a training on this machine depend on."""
    import torch

    return Environment(
        torch=torch.__version__,
        transformers=version("transformers"),
        peft=version("peft"),
        machine=f"{platform.system()} {platform.machine()}, {_processor()}",
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        threads=threads,
        encoder=base_digest(task),
    )


def check_encoder(run: Run) -> None:
    """Adapters answer only on the base they were trained on, and train on no other.

    Raises:
        DamagedArtifact: the files of the encoder are not what they were.
    """
    if base_digest(run.recipe.task) != run.environment.encoder:
        base = "pretrained encoder" if is_adapted(run.recipe.task) else "code of the module"
        raise DamagedArtifact(
            f"The {base} is not the one that this model was trained on.",
            "Its files have changed, and the weights fit no other base.",
            "Put the old files back, or train in a new workspace.",
        )


def _processor() -> str:
    """The processor's name: kernels are chosen by it, beyond what ``cpu_capability`` tells."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or "unknown processor"


def stage_seed(seed: int, shard: int, prefix: Sequence[int], what: str) -> int:
    """A seed below 2**60 from the recipe's seed, the shard and the slices up to this stage.

    ``what`` names the use, so that no two draws share a stream. The length of the prefix is the
    stage; nothing of other slices, other shards or the manifest enters.
    """
    return int(digest(["rescind stage", seed, shard, list(prefix), what])[:15], 16)
