"""What comparing representations costs beside the matrix products it cannot do without.

    python benchmarks/representations.py

One thread, float32, Gaussian features, CPU seconds; what is compared runs alternately and the
median counts.

1. Unbiased linear CKA of a batch beside its two kernels (512 x 2048) and beside its three
   covariances (8192 x 512).
2. k-NN (k = 5, cosine) of 10,000 queries against 100,000 references of width 512 beside the bare
   product in the same blocks; the peak memory is that of a process of its own.
3. The peak memory of a process that streams CKA over a million examples of width 2048, and of one
   that stops after 16 batches; and of one that makes the same million and compares nothing.

Beside them, where they are installed, public implementations of the same metric: ckatorch and
pytorch-cka for unbiased linear CKA, the KNeighborsClassifier of scikit-learn and the exact
classifier of faissknn, on faiss-cpu, for k-NN. rescind needs none of them; give them by PYTHONPATH:

    pip install --no-deps --target /tmp/tools ckatorch seaborn pytorch-cka faiss-cpu faissknn
    PYTHONPATH=/tmp/tools python benchmarks/representations.py

With ``--tools`` only the comparisons with them are made, at a tenth of the k-NN references, printed
and not stored.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from rescind.metrics import knn_transfer
from rescind.metrics.cka import LinearCka, biased_cka

RESULT = Path(__file__).parent / "results" / "representations.json"
BATCH, WIDE = 512, 2048
QUERIES, REFERENCES, WIDTH, CLASSES = 10_000, 100_000, 512, 100
FEW, MANY = 16, 1954  # batches of 512; the second is a million examples
MISSING = "not installed"
TOOLS = ("ckatorch", "pytorch-cka", "scikit-learn", "faissknn", "faiss-cpu")
CKA_LIMIT, KNN_LIMIT, MEMORY_LIMIT_MB = 2.0, 2.0, 1000.0
# four pairs of batches, 0.2 % of the features: where the allocator puts a batch moves the peak by
# up to two pairs, once and with or without CKA
GROWTH_LIMIT_MB = 32.0


def main() -> int:
    """Measure and store, or be a process whose memory is measured."""
    torch.set_num_threads(1)
    if sys.argv[1:] == ["--tools"]:
        found = {"versions": versions(), "cka": cka(BATCH, WIDE), "knn": knn(REFERENCES // 10)}
        print(json.dumps(found, indent=1))
        return 0
    if len(sys.argv) > 1:
        CHILDREN[sys.argv[1]]()
        print(json.dumps(round(peak_mb(), 1)))
        return 0
    return stored()


def stored() -> int:
    """Everything, in one run."""
    found: dict[str, Any] = {
        "command": "python benchmarks/representations.py",
        "machine": f"{platform.system()} {platform.machine()}, {_processor()},"
        f" {os.cpu_count()} cores, 1 thread",
        "versions": versions(),
        "cka_kernels": cka(BATCH, WIDE),
        "cka_covariances": cka(8192, 512),
        "knn": {**knn(REFERENCES), **knn_memory()},
        "streaming": streaming(),
    }
    found["passed"] = (
        max(found[kind]["ratio"] for kind in ("cka_kernels", "cka_covariances")) <= CKA_LIMIT
        and found["knn"]["ratio"] <= KNN_LIMIT
        and found["knn"]["peak_mb"] < MEMORY_LIMIT_MB
        and found["streaming"]["grown_mb"] < GROWTH_LIMIT_MB
    )
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if found["passed"] else 1


def alternately(what: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median CPU seconds of each, run in turn; the first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(runs + 1):
        for name, run in what.items():
            started = time.process_time()
            run()
            times[name].append(time.process_time() - started)
    return {name: round(statistics.median(spent[1:]), 5) for name, spent in times.items()}


def gaussian(n: int, d: int, seed: int) -> Tensor:
    """Independent standard normal features."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def ours(x: Tensor, y: Tensor) -> float:
    """Unbiased linear CKA of one batch."""
    one = LinearCka()
    one.add(x, y)
    return one.value()


def ckatorch(x: Tensor, y: Tensor) -> float:
    """The same by https://pypi.org/project/ckatorch."""
    from ckatorch.core import cka_batch  # type: ignore[import-not-found]

    return float(cka_batch(x[None], y[None]))


def pytorch_cka(x: Tensor, y: Tensor) -> float:
    """The same by https://pypi.org/project/pytorch-cka; it cuts below 0."""
    from cka import cka_from_features  # type: ignore[import-not-found]

    return float(cka_from_features(x, y))


def cka(n: int, d: int) -> dict[str, Any]:
    """One batch: CKA, its products alone, and the tools that are there.

    Times are of independent features; differences of features that share half of their width,
    since one tool knows no negative value.
    """
    x, y = gaussian(n, d, 0), gaussian(n, d, 1)
    shared = torch.cat([x[:, : d // 2], y[:, d // 2 :]], 1)

    def products() -> object:
        return (x @ x.T, y @ y.T) if n < d else (x.T @ x, y.T @ y, x.T @ y)

    what: dict[str, Callable[[], object]] = {"cka": lambda: ours(x, y), "bare_products": products}
    tools = installed(CKA_TOOLS) if n < d else {}  # they know kernels only
    what |= {name: lambda tool=tool: tool(x, y) for name, tool in tools.items()}  # type: ignore[misc]
    spent = alternately(what, 11)
    return {
        "examples": n,
        "width": d,
        "cpu_seconds": spent,
        "ratio": round(spent["cka"] / spent["bare_products"], 3),
        "limit": CKA_LIMIT,
        "cka_of_independent_features": round(ours(x, y), 5),
        "biased_cka_of_the_same": round(biased_cka(x, y), 5),
        "cka_of_features_that_share_half": round(ours(x, shared), 5),
        "tools": {
            name: {
                "times_as_long": round(spent[name] / spent["cka"], 2),
                "differs_by": float(f"{abs(tool(x, shared) - ours(x, shared)):.2g}"),
                "cka_of_independent_features": round(tool(x, y), 5),
            }
            for name, tool in tools.items()
        },
    }


def clouds(count: int = REFERENCES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """References, their labels, queries, theirs: overlapping clouds about random centres."""
    centres = gaussian(CLASSES, WIDTH, 0) * 0.25
    y = torch.arange(count) % CLASSES
    y_query = torch.arange(QUERIES) % CLASSES
    references, queries = gaussian(count, WIDTH, 1), gaussian(QUERIES, WIDTH, 2)
    for features in (references, queries):  # in place: a copy would be the peak of memory
        features.view(-1, CLASSES, WIDTH).add_(centres)
    return references, y, queries, y_query


def bare_knn(references: Tensor, queries: Tensor) -> None:
    """The product alone, in the blocks of ``knn_transfer``."""
    for start in range(0, len(references), knn_transfer.REFERENCES):
        block = references[start : start + knn_transfer.REFERENCES]
        for at in range(0, len(queries), knn_transfer.QUERIES):
            queries[at : at + knn_transfer.QUERIES] @ block.T


def scikit_learn(references: Tensor, y: Tensor, queries: Tensor, y_query: Tensor) -> float:
    """The accuracy by the class that the released code of arXiv 2503.06991 uses."""
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]

    model = KNeighborsClassifier(n_neighbors=5, metric="cosine")
    model.fit(references.numpy(), y.numpy())
    return float(model.score(queries.numpy(), y_query.numpy()))


def faissknn(references: Tensor, y: Tensor, queries: Tensor, y_query: Tensor) -> float:
    """The accuracy by https://pypi.org/project/faissknn, which searches a flat index of faiss."""
    from faissknn import FaissKNNClassifier  # type: ignore[import-not-found]

    model = FaissKNNClassifier(5, metric="cosine").fit(references, y)
    return float((model.predict(queries) == y_query.numpy()).mean())


def knn(count: int) -> dict[str, Any]:
    """CPU seconds and accuracies, with so many references."""
    data = clouds(count)
    accuracies: dict[str, float] = {}

    def keep(name: str, run: Callable[..., float]) -> Callable[[], object]:
        return lambda: accuracies.update({name: run(*data)})

    tools = installed(KNN_TOOLS)
    what = {
        "knn": keep("knn", knn_transfer.accuracy),
        "bare_product": lambda: bare_knn(data[0], data[2]),
        **{name: keep(name, tool) for name, tool in tools.items()},
    }
    spent = alternately(what, 3)
    return {
        "queries": QUERIES,
        "references": count,
        "width": WIDTH,
        "k": 5,
        "cpu_seconds": spent,
        "ratio": round(spent["knn"] / spent["bare_product"], 3),
        "limit": KNN_LIMIT,
        "accuracy": accuracies,
        "tools": {name: {"times_as_long": round(spent[name] / spent["knn"], 2)} for name in tools},
    }


def knn_memory() -> dict[str, Any]:
    """Peak memory, each in a process that does nothing else."""
    return {
        "peak_mb": child("knn"),
        "peak_limit_mb": MEMORY_LIMIT_MB,
        "peak_mb_of_the_features_and_torch_alone": child("clouds"),
        "peak_mb_of_tools": {name: child(name) for name in installed(KNN_TOOLS)},
    }


def streaming() -> dict[str, Any]:
    """Peak memory after few and after many batches, and after many that are only made."""
    few, many, made = child("few"), child("many"), child("made")
    return {
        "width": WIDE,
        "batch": BATCH,
        "examples": {"few": FEW * BATCH, "many": MANY * BATCH},
        "features_mb": MANY * BATCH * 2 * WIDE * 4 // 2**20,
        "peak_mb": {"few": few, "many": many, "many_without_cka": made},
        "grown_mb": round(many - few, 1),
        "limit_mb": GROWTH_LIMIT_MB,
    }


def pairs(batches: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Fresh features of two models that share half of their width."""
    for i in range(batches):
        x = gaussian(BATCH, WIDE, i)
        yield x, torch.cat([x[:, : WIDE // 2], gaussian(BATCH, WIDE // 2, MANY + i)], 1)


def stream(batches: int) -> None:
    """CKA over all of them."""
    found = LinearCka()
    for x, y in pairs(batches):
        found.add(x, y)
    if found.examples != batches * BATCH or not 0.45 < found.value() < 0.55:
        raise SystemExit(f"CKA of {found.examples} examples is {found.value()}, expected 0.5")


CKA_TOOLS = {"ckatorch": ckatorch, "pytorch-cka": pytorch_cka}
KNN_TOOLS = {"scikit-learn": scikit_learn, "faissknn": faissknn}
CHILDREN: dict[str, Callable[[], object]] = {
    "knn": lambda: knn_transfer.accuracy(*clouds()),
    "clouds": clouds,
    "scikit-learn": lambda: scikit_learn(*clouds()),
    "faissknn": lambda: faissknn(*clouds()),
    "few": lambda: stream(FEW),
    "many": lambda: stream(MANY),
    "made": lambda: [None for _ in pairs(MANY)],
}


def child(name: str) -> float:
    """Peak resident memory in MB of a fresh process that does only this."""
    command = [sys.executable, __file__, name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak: float = json.loads(done.stdout)
    return peak


def peak_mb() -> float:
    """Peak resident memory of this process since it was started.

    ``ru_maxrss`` would include what the parent held when it forked.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def versions() -> dict[str, str]:
    """Of torch and of each tool; those that are not there are named too."""
    return {name: _version(name) for name in ("torch", *TOOLS)}


def installed(tools: dict[str, Callable[..., float]]) -> dict[str, Callable[..., float]]:
    """Those that are there."""
    return {name: tool for name, tool in tools.items() if _version(name) != MISSING}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    sys.exit(main())
