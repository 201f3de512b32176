"""How often does each test of seeded records see a model with codes, and accuse one without?

    python benchmarks/seeding_power.py [--quick] [--work FOLDER]

The network, the images and the settings of ``seeding.py``, with batch norm too, and a user a model:
forty models, and ten with batch norm, are trained with the codes of 50 records and of ten decoys,
and as many honest ones again without the records, half of them from the same initialisation. Of
each model one set of 1, 2, 5, 10, 20, 30 and 50 of the records is asked for, so that the models of
a row are independent, and shares have exact intervals. Readings and matched bits are read at .001
and the kernel test at .01, its goal's level; ``ask`` is the whole question at .001, which takes
readings under 20 records and both other tests from there on. The honest models are asked at .05
beside that: so few can bound no smaller level. One thread; a model is a file in the work folder, so
that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seeding as images  # before torch is imported: it settles the threads
from seeding import Cnn, Seeds, Size, User

# isort: split
import torch
from torch import nn

from rescind.audits.seeding import ask, read_out, sign_test
from rescind.audits.seeding.bits import LEVEL, matched_bits
from rescind.audits.seeding.kernel import FEWEST, kernel_test
from rescind.core.canonical import digest
from rescind.metrics.equivalence import holm
from rescind.metrics.statistics import clopper_pearson

RESULT = Path(__file__).parent / "results" / "seeding_power.json"
FIRST = 100  # its seeds: seeding.py has those from 0
RECORDS = (1, 2, 5, 10, 20, 30, 50)
LEVELS = {"readings": LEVEL, "bits": LEVEL, "kernel": 0.01, "ask": LEVEL}
FALSE = 0.05  # what honest models are asked at beside that
WITH, HONEST = "with codes", "retrained without the records"
BATCH_NORM = "cnn, batch norm"


@dataclass(frozen=True, slots=True)
class Run:
    """How much is trained, and how often."""

    size: Size
    models: Mapping[str, int]
    records: Sequence[int]


FULL = Run(images.SIZES["full"], {"cnn": 40, BATCH_NORM: 10}, RECORDS)
QUICK = Run(images.SIZES["toy"], {"cnn": 2, BATCH_NORM: 1}, (1, 5, 20))


class NormedCnn(Cnn):
    """The same with batch norm behind both convolutions."""

    def __init__(self) -> None:
        super().__init__()
        first, relu, second, *rest = self.body
        norms = nn.BatchNorm2d(16), nn.BatchNorm2d(32)
        self.body = nn.Sequential(first, norms[0], relu, second, norms[1], *rest)


NETWORKS: dict[str, type[Cnn]] = {"cnn": Cnn, BATCH_NORM: NormedCnn}


def trained(network: str, init: int, user: User, seeds: Seeds, gone: bool, size: Size) -> Cnn:
    """With all codes, or without the user's records and with those of the decoys alone."""
    torch.manual_seed(init)
    model = NETWORKS[network]()
    kept = torch.arange(size.images)
    if gone:
        own = len(user.own)
        kept = kept[~torch.isin(kept, user.own)]
        seeds = Seeds(seeds.index[own:], seeds.codes[own:], seeds.matrix, seeds.settings)
    images.train(model, user.data, kept, seeds, size.epochs, init)
    return model


def p_values(model: Cnn, user: User, seed: int, records: Sequence[int]) -> dict[str, Any]:
    """Of each test for one drawn set of each size; from ``FEWEST`` on the kernel's too."""
    raw = images.features_of(model, user.records[0])
    about = images.less_public(model, user, *user.records)
    readings, found = read_out(about, user.matrix), {}
    for n in records:
        drawn = torch.tensor(random.Random(f"{seed} {n}").sample(range(len(raw)), n))
        codes, own = user.codes[drawn], readings[drawn]
        whole = ask(raw[drawn], codes, user.matrix, seed=seed, centred=about[drawn])
        found[str(n)] = {
            "readings": sign_test(own, codes).p,
            "bits": matched_bits(own > 0, codes).p,
            "ask": min(holm([one.p for one in whole])),
        }
        if n >= FEWEST:
            found[str(n)]["kernel"] = kernel_test(raw[drawn], codes, seed=seed).p
    return found


def one_model(network: str, seed: int, run: Run) -> dict[str, Any]:
    """A user, and what both servers' models show of the records."""
    user, seeds = images.user_of(seed, run.size)
    other = seed if seed % 2 else seed + 10_000  # every second honest one begins anew
    found = {}
    for name, init, gone in ((WITH, seed, False), (HONEST, other, True)):
        model = trained(network, init, user, seeds, gone, run.size)
        found[name] = p_values(model, user, seed, run.records)
    return found


def models_of(network: str, run: Run, work: Path) -> Iterator[dict[str, Any]]:
    """From the work folder, or made and put there."""
    what = [network, images.settings(run.size), list(run.records)]
    for seed in range(FIRST, FIRST + run.models[network]):
        path = work / f"power-{digest([seed, what])[:16]}.json"
        if not path.exists():
            done = json.dumps(one_model(network, seed, run))
            path.with_suffix(".part").write_text(done)
            path.with_suffix(".part").replace(path)
        print(f"{network} {seed} done", file=sys.stderr, flush=True)
        yield json.loads(path.read_text())


def rows_of(run: Run, work: Path) -> list[dict[str, Any]]:
    """A row a network, a kind of model, a test and a number of records."""
    rows = []
    for network in run.models:
        found = list(models_of(network, run, work))
        for kind in (WITH, HONEST):
            for n in run.records:
                tests = [one[kind][str(n)] for one in found]
                for test, level in LEVELS.items():
                    if test in tests[0]:
                        p = [each[test] for each in tests]
                        row = {"network": network, "models_are": kind, "test": test, "n": n}
                        told = {"level": level, "rejected": share(p, level)}
                        rows.append(
                            row | told | ({"at_0.05": share(p, FALSE)} if kind == HONEST else {})
                        )
    return rows


def share(p: Sequence[float], level: float) -> dict[str, Any]:
    """How many lie below the level, with the exact 95 % interval and one-sided ends."""
    hits = sum(each < level for each in p)
    two, one = clopper_pearson(hits, len(p)), clopper_pearson(hits, len(p), 0.9)
    ends = {"interval": [round(e, 4) for e in two], "lower_95": round(one[0], 4)}
    return {"hits": hits, "models": len(p), **ends, "upper_95": round(one[1], 4)}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Power over the number of records, a picture a network."""
    import matplotlib.pyplot as plt

    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, all_axes = plt.subplots(1, len(networks), figsize=(10.5, 4), layout="constrained")
    for axes, network in zip(all_axes, networks, strict=True):
        for test, level in LEVELS.items():
            own = [
                r
                for r in rows
                if (r["network"], r["models_are"], r["test"]) == (network, WITH, test)
            ]
            x, hits = [r["n"] for r in own], [r["rejected"] for r in own]
            axes.plot(
                x, [h["hits"] / h["models"] for h in hits], marker="o", label=f"{test}, {level}"
            )
            axes.fill_between(x, *zip(*(h["interval"] for h in hits), strict=True), alpha=0.12)
        axes.set(xscale="log", ylim=(0, 1.02), title=f"{network}: models with codes that are told")
        axes.set(xticks=RECORDS, xticklabels=RECORDS, xlabel="records asked for")
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=85)
    plt.close(figure)


def main() -> None:
    """Run, and store the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few models, nothing is stored")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "seeding_power")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    run = QUICK if args.quick else FULL
    rows = rows_of(run, args.work)
    for row in rows:
        print(*list(row.values())[:-1], row["rejected"]["hits"])
    if args.quick:
        return
    head = {
        "what": "How often tests of seeded records see codes, and accuse models without.",
        "command": "python benchmarks/seeding_power.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "settings": images.settings(run.size),
    }
    told = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    RESULT.write_text("{\n" + told + f',\n "rows": [\n{lines}\n ]\n' + "}\n")
    draw(rows, RESULT.with_suffix(".png"))


if __name__ == "__main__":
    main()
