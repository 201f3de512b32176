"""How fast a record leaves service, beside how long retraining one SISA shard takes.

Three figures, all on real data and in one run:

1. In a process that holds an open model: milliseconds from the accept call until an answer can no
   longer use the record (fsync included, the surviving snapshots loaded), and until the first
   answer without it is there.
2. In a second process that holds the model: milliseconds from the first process's accept call until
   its next look at the ledger's head sees it, and microseconds that such a look costs.
3. Seconds that retraining one SISA shard takes at full size (128 tokens, two blocks a slice, four
   epochs a stage), one thread.

Run `make demo` first: the trained workspace is forked and the fork is used up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"

from rescind import rows, state
from rescind.core.errors import Exhausted
from rescind.core.partition import Cell
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.live import LiveModel
from rescind.methods.sisa import Sisa
from rescind.workspace import Ask, Workspace, open_workspace

RESULT = Path(__file__).parent / "results" / "withdrawal.json"
QUESTION = [{"text": "The striker scored twice in the final."}]

WATCH = """
import json, sys, time
from rescind.live import LiveModel
from rescind.workspace import open_workspace
live = LiveModel(open_workspace(sys.argv[1]).backends)
served = live.served()
print("ready", flush=True)
while True:
    now = live.served()
    if now != served:
        served = now
        print(json.dumps(time.time()), flush=True)
    if not now:
        break
"""


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("demo/news"))
    parser.add_argument("--requests", type=int, default=25)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        parent = open_workspace(args.workspace)
        one = own_process(parent.fork(Path(scratch) / "one"), args.requests)
        two = other_process(parent.fork(Path(scratch) / "two"), args.requests)
        seconds, passes = sisa_shard(parent)
    slowest = max(one["until_no_answer_can_use_it_ms"])
    found = {
        "command": "python benchmarks/withdrawal.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "open_model": one,
        "second_process": two,
        "sisa_shard_full_size": {"cpu_seconds": seconds, "record_block_passes": passes},
        "median_ms": statistics.median(one["until_no_answer_can_use_it_ms"]),
        "slowest_ms": slowest,
        "times_less_than_a_sisa_shard": seconds * 1e3 / slowest,
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: found[k] for k in list(found)[-3:]}, indent=1))


def own_process(ws: Workspace, requests: int) -> dict[str, Any]:
    """Accept one request after the other in the process that answers."""
    ws.predict(QUESTION)
    live = LiveModel(ws.backends)
    live.predict(QUESTION)
    cannot, first = [], []
    for key in ws.keys()[:requests]:
        draft = ws.resolve(Ask(keys=(key,), near="keep", accept_outage=True))
        started = time.perf_counter()
        ws.accept(draft)
        loaded = live.ready()
        cannot.append((time.perf_counter() - started) * 1e3)
        try:
            live.predict(QUESTION)
        except Exhausted:
            break
        first.append((time.perf_counter() - started) * 1e3)
        assert loaded == live.served()
    return {
        "requests": len(cannot),
        "until_no_answer_can_use_it_ms": [round(x, 3) for x in cannot],
        "until_the_first_answer_without_it_ms": [round(x, 3) for x in first],
        "one_answer_ms": round(_answer_ms(live), 3),
    }


def _answer_ms(live: LiveModel) -> float:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        try:
            live.predict(QUESTION)
        except Exhausted:
            break
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times) if times else 0.0


def other_process(ws: Workspace, requests: int) -> dict[str, Any]:
    """A second process watches the head; the first accepts."""
    look = _look_us(ws)
    child = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(ws.folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    delays = []
    for key in ws.keys()[:requests]:
        draft = ws.resolve(Ask(keys=(key,), near="keep", accept_outage=True))
        served = len(ws.backends.ledger.items("part"))
        started = time.time()
        request = ws.accept(draft)
        changes = state.original(ws.backends, request.id) != _served(ws)
        if changes:
            delays.append((json.loads(child.stdout.readline()) - started) * 1e3)
        if not served or not _served(ws):
            break
    child.kill()
    return {
        "requests_seen": len(delays),
        "accept_to_seen_ms": [round(x, 3) for x in delays],
        "median_ms": round(statistics.median(delays), 3),
        "one_look_at_the_head_us": round(look, 1),
    }


def _served(ws: Workspace) -> tuple[Snapshot, ...]:
    return selection(state.parts(ws.backends))


def _look_us(ws: Workspace) -> float:
    started = time.perf_counter()
    for _ in range(1000):
        ws.backends.ledger.head()
    return (time.perf_counter() - started) * 1e3


def sisa_shard(ws: Workspace) -> tuple[float, int]:
    """CPU seconds of training shard 0 anew, all stages, at full size."""
    from rescind.training.determinism import settle
    from rescind.training.encoder import StagedModel
    from rescind.training.stages import cell_data, train_order

    settle(1)
    run = state.run(ws.backends)
    task = replace(run.recipe.task, max_length=128)  # type: ignore[type-var]
    recipe = replace(run.recipe, task=task, method="sisa", blocks_per_slice=2, epochs=4)
    model = StagedModel(recipe)
    [order, *_] = Sisa().orders(recipe, model.n_blocks)
    entries = state.allowed(ws.backends)
    by_cell = {
        cell: [e for e in entries if e.cell == str(cell)]
        for cell in order.cells(len(order.slices) - 1)
    }
    records = {c: [r.row for r in rows.read(ws.backends, e)] for c, e in by_cell.items()}

    def data(cell: Cell) -> Any:
        return cell_data(model, records[cell])

    started = time.process_time()
    train_order(model, recipe, order, data, {}, lambda stage, snapshot: None, _told)
    sizes = [len(records[c]) for c in by_cell]
    passes = recipe.epochs * sum(sum(sizes[: i + 1]) for i in range(len(sizes)))
    return time.process_time() - started, passes * len(order.blocks[0])


def _told(what: str, done: int, total: int) -> None:
    if done in (1, total):
        print(f"{what}: {done}/{total}", file=sys.stderr)


if __name__ == "__main__":
    main()
