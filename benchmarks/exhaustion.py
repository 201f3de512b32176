"""How many deletions S3T survives: truncation simulated against the theory of arXiv 2406.16257.

One request hits a cell (shard, slice) drawn uniformly from all m L of them, with replacement: a
cell may be hit again, as when records are many. Every order of that shard then keeps only the
slices before the hit one. A shard is dead when no order keeps a slice; the system is exhausted when
all shards are dead.

Exact under these assumptions, so that the simulation can only confirm them:
  * requests until exhaustion, m L H(m B') with B' = min(B, L) distinct first slices (a shard dies
    when the last of its first slices is hit, which makes this a coupon collector);
  * requests until the first shard dies, ``first_death``;
  * the retained slice share, from the Markov chain of how many slices are hit (``hit_slices``).
Approximate: Lemma 2 takes the orders of a shard to be independent, which they are only if B = 1.
Different first slices cannot be hit by the same request, so for 1 kept slice the lemma is too low.
Longer prefixes overlap, which works the other way: for B <= L rotations the lemma errs on both
sides, and for B > L it is far too high, since it counts orders with the same first k slices in
another sequence as if each could survive alone. ``lemma_error`` gives the extremes found.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations
from math import comb, factorial, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescind.methods.s3t.sequences import rotations

RESULTS = Path(__file__).parent / "results"
Orders = Sequence[Sequence[int]]
Cells = NDArray[np.int64]

LIVES = (
    *((3, 3, b) for b in (1, 2, 3, 6)),
    *((5, 4, b) for b in (1, 2, 4, 24)),
    *((5, 6, b) for b in (1, 2, 4, 6)),
    *((10, 6, b) for b in (1, 2, 4, 6)),
    *((20, 50, b) for b in (1, 50)),
)
KEPT_AFTER = (1, 2, 5, 10, 20, 40)
LEMMA = ((3, 1), (3, 3), (4, 1), (4, 2), (4, 4), (4, 24), (6, 3), (6, 6))
LEMMA_REQUESTS = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Lives:
    """Per replication: requests until the first and the last shard died, and what was left.

    ``best[r]`` holds, for each replication and shard, the longest prefix after r requests.
    """

    first_death: NDArray[np.int64]
    exhaustion: NDArray[np.int64]
    best: dict[int, NDArray[np.int64]]


def draws(shards: int, slices: int, replications: int, seed: Sequence[int]) -> Iterator[Cells]:
    """For ever: one uniformly random cell, shard * slices + slice, for each replication."""
    generator = np.random.default_rng(seed)
    while True:
        yield generator.integers(shards * slices, size=replications)


def simulate(
    shards: int, orders: Orders, cells: Iterator[Cells], watch: Sequence[int] = ()
) -> Lives:
    """Truncate every order of the hit shard, request by request, until all replications are out."""
    slices, positions = len(orders[0]), np.argsort(np.asarray(orders), axis=1).T.copy()
    ahead = next(cells)
    prefix = np.full((len(ahead), shards, len(orders)), slices)
    row, left = np.arange(len(ahead)), np.full(len(ahead), shards)
    first, exhausted = np.zeros_like(left), np.zeros_like(left)
    best: dict[int, NDArray[np.int64]] = {}
    for request, cell in enumerate(chain((ahead,), cells), start=1):
        shard, hit = np.divmod(cell, slices)
        before = prefix[row, shard]
        after = np.minimum(before, positions[hit])
        prefix[row, shard] = after
        left -= (before.max(axis=1) > 0) & (after.max(axis=1) == 0)
        first[(left < shards) & (first == 0)] = request
        exhausted[(left == 0) & (exhausted == 0)] = request
        if request in watch:
            best[request] = prefix.max(axis=2)
        if request >= max(watch, default=0) and exhausted.all():
            break
    return Lives(first, exhausted, best)


def exhaustion(shards: int, slices: int, firsts: int) -> float:
    """Exact mean number of requests until all ``firsts`` first slices of every shard are hit."""
    return shards * slices * sum(1 / i for i in range(1, shards * firsts + 1))


def first_death(shards: int, slices: int, firsts: int) -> float:
    """Exact mean number of requests until one shard has lost all its ``firsts`` first slices.

    With requests as a Poisson process of rate 1 a cell, shards are independent and live at time t
    with probability 1 - u ** firsts, u = 1 - exp(-t). Hence m L times the integral over (0, 1) of
    (1 - u ** firsts) ** m / (1 - u), a polynomial, summed here as fractions.
    """
    terms = (
        Fraction((-1) ** i * comb(shards - 1, i), firsts * i + j)
        for i in range(shards)
        for j in range(1, firsts + 1)
    )
    return shards * slices * float(sum(terms))


def hit_slices(shards: int, slices: int, requests: int) -> list[float]:
    """Probability that just h of the slices of one shard were hit, h = 0..L, after ``requests``."""
    share = [1.0] + [0.0] * slices
    for _ in range(requests):
        new = [(slices - h) / (shards * slices) for h in range(slices + 1)]
        share = [
            share[h] * (1 - new[h]) + (share[h - 1] * new[h - 1] if h else 0.0)
            for h in range(slices + 1)
        ]
    return share


def survival(shards: int, orders: Orders, requests: int) -> list[float]:
    """Exact P(some order of a shard keeps >= k slices), k = 0..L, by trying all sets of hits."""
    slices = len(orders[0])
    tail = [0.0] * (slices + 1)
    for h, probability in enumerate(hit_slices(shards, slices, requests)):
        for hits in combinations(range(slices), h):
            longest = max(min((order.index(k) for k in hits), default=slices) for order in orders)
            for k in range(longest + 1):
                tail[k] += probability / comb(slices, h)
    return tail


def lemma(slices: int, orders: int, kept: int, requests: int) -> float:
    """Lemma 2: as ``survival`` for one shard, were min(B, L!/(L-k)!) orders independent."""
    independent = min(orders, factorial(slices) // factorial(slices - kept))
    return float(1 - (1 - (1 - kept / slices) ** requests) ** independent)


def compared(values: NDArray[Any], theory: float) -> dict[str, float]:
    """Mean over replications with its standard error, beside an exact value; z is their distance.

    Without spread beyond rounding, z is 0 if and only if the two are equal. Shares of replications,
    given as booleans, take the standard error that the exact value implies: a rare event that never
    happened has no spread to estimate it from.
    """
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if values.dtype == np.bool_:
        spread = sqrt(max(theory * (1 - theory), 0.0))
    error, distance = spread / sqrt(len(values)), mean - theory
    equal = 0.0 if abs(distance) < 1e-9 else float("inf")
    z = distance / error if error > 1e-12 else equal
    return {"mean": mean, "standard_error": error, "exact": theory, "z": z}


def life(shards: int, slices: int, budget: int, seed: int, replications: int) -> dict[str, Any]:
    """One row of the first two tables."""
    orders = rotations(slices, budget)
    stream = draws(shards, slices, replications, (seed, shards, slices, budget))
    lives = simulate(shards, orders, stream, KEPT_AFTER)
    firsts = min(budget, slices)
    row: dict[str, Any] = {"shards": shards, "slices": slices, "orders": budget}
    row["distinct_first_slices"] = firsts
    row["exhaustion"] = compared(lives.exhaustion, exhaustion(shards, slices, firsts))
    row["first_death"] = compared(lives.first_death, first_death(shards, slices, firsts))
    if slices > 10:
        row["retained"] = "not computed: the exact share needs all 2 ** slices sets of hits"
        return row
    row["retained"] = [
        {
            "requests": r,
            **compared(lives.best[r].mean(axis=1) / slices, retained(shards, orders, r)),
        }
        for r in KEPT_AFTER
    ]
    return row


def retained(shards: int, orders: Orders, requests: int) -> float:
    """Exact mean share of its slices that a shard still serves after ``requests`` to the system."""
    return sum(survival(shards, orders, requests)[1:]) / len(orders[0])


def lemma_rows(slices: int, budget: int, seed: int, replications: int) -> list[dict[str, Any]]:
    """One shard: simulated and exact survival of k slices beside Lemma 2."""
    orders = rotations(slices, budget)
    stream = draws(1, slices, replications, (seed, 1, slices, budget))
    lives = simulate(1, orders, stream, LEMMA_REQUESTS)
    rows = []
    for r in LEMMA_REQUESTS:
        tail = survival(1, orders, r)
        for k in range(1, slices):
            row = compared(lives.best[r][:, 0] >= k, tail[k])
            guess = lemma(slices, budget, k, r)
            row |= {"lemma": guess, "simulated_minus_lemma": row["mean"] - guess}
            setting = {"slices": slices, "orders": budget, "kept": k, "requests": r}
            rows.append({**setting, **row, "exact_minus_lemma": tail[k] - guess})
    return rows


def measure(seed: int, replications: int) -> dict[str, Any]:
    """All tables, with what is needed to make them again."""
    lives = [life(*setting, seed, replications) for setting in LIVES]
    lemmas = [row for at in LEMMA for row in lemma_rows(*at, seed, 10 * replications)]
    return {
        "command": f"python benchmarks/exhaustion.py --seed {seed} --replications {replications}",
        "seed": seed,
        "replications": replications,
        "replications_of_lemma": 10 * replications,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "notes": [" ".join(part.split()) for part in (__doc__ or "").split("\n\n")],
        "against_exact": agreement(lives, lemmas, 10 * replications),
        "lemma_error": {
            "B = 1": _extremes(row for row in lemmas if row["orders"] == 1),
            "1 < B <= L": _extremes(r for r in lemmas if 1 < r["orders"] <= r["slices"]),
            "B > L": _extremes(row for row in lemmas if row["orders"] > row["slices"]),
        },
        "lives": lives,
        "lemma": lemmas,
    }


def agreement(
    lives: list[dict[str, Any]], lemmas: list[dict[str, Any]], replications: int
) -> dict[str, Any]:
    """How the simulation as a whole meets the exact values; 4.6 % of z should exceed 2.

    Left out, and counted: probabilities so near 0 or 1 that fewer than 10 of the replications are
    expected on one side, where z is not normal, and values that cannot vary at all.
    """
    cells = [row[name] for row in lives for name in ("exhaustion", "first_death")]
    cells += [
        cell for row in lives if isinstance(row["retained"], list) for cell in row["retained"]
    ]
    often = [row for row in lemmas if replications * min(row["exact"], 1 - row["exact"]) >= 10]
    z = [abs(cell["z"]) for cell in (*cells, *often) if cell["standard_error"] > 1e-12]
    return {
        "compared": len(z),
        "left_out": len(cells) + len(lemmas) - len(z),
        "beyond_2_standard_errors": sum(distance > 2 for distance in z),
        "largest_z": max(z),
    }


def _extremes(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Where the exact probability lies farthest below and above that of Lemma 2."""
    keys = ("slices", "orders", "kept", "requests", "exact_minus_lemma", "standard_error")
    ordered = sorted(rows, key=lambda row: row["exact_minus_lemma"])
    return {
        name: {key: row[key] for key in (*keys, "simulated_minus_lemma")}
        for name, row in (("lemma_highest", ordered[0]), ("lemma_lowest", ordered[-1]))
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Three panels: requests until exhaustion, retained share, and how far Lemma 2 is off."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4.8), layout="constrained")
    _draw_exhaustion(axes[0], results["lives"])
    _draw_retained(axes[1], results["lives"])
    _draw_lemma(axes[2], results["lemma"])
    figure.supxlabel(
        "Markers: simulation, bars of 4 standard errors. Lines join exact values in the first two "
        "panels and the markers in the third.",
        fontsize=9,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_exhaustion(axis: Any, lives: list[dict[str, Any]]) -> None:
    for color, (m, n) in zip(
        ("C0", "C1", "C2", "C3"), ((3, 3), (5, 4), (5, 6), (10, 6)), strict=True
    ):
        rows = [row for row in lives if (row["shards"], row["slices"]) == (m, n)]
        budgets = [row["orders"] for row in rows]
        for name, marker, line in (("exhaustion", "o", "-"), ("first_death", "s", ":")):
            axis.plot(budgets, [row[name]["exact"] for row in rows], line, color=color)
            error = [4 * row[name]["standard_error"] for row in rows]
            mean = [row[name]["mean"] for row in rows]
            label = f"{m} shards, {n} slices" if name == "exhaustion" else None
            axis.errorbar(
                budgets, mean, error, fmt=marker, color=color, capsize=3, markersize=5, label=label
            )
    axis.set(xscale="log", yscale="log", xlabel="orders per shard, B", ylabel="mean requests")
    axis.set_xticks([1, 2, 3, 4, 6, 24], ["1", "2", "3", "4", "6", "24"], minor=False)
    axis.minorticks_off()
    axis.set_title("Until exhaustion (solid) and until\nthe first shard dies (dotted)")
    axis.legend(fontsize=8)


def _draw_retained(axis: Any, lives: list[dict[str, Any]]) -> None:
    for row in (row for row in lives if (row["shards"], row["slices"]) == (5, 4)):
        at = [0, *(cell["requests"] for cell in row["retained"])]
        (line,) = axis.plot(at, [1.0, *(cell["exact"] for cell in row["retained"])])
        axis.errorbar(
            at[1:],
            [cell["mean"] for cell in row["retained"]],
            [4 * cell["standard_error"] for cell in row["retained"]],
            fmt="o",
            color=line.get_color(),
            capsize=3,
            markersize=5,
            label=f"B = {row['orders']}",
        )
    axis.set(
        xlabel="requests to the system", ylabel="mean share of slices still served", ylim=(0, 1.02)
    )
    axis.set_title("What is left of 5 shards\nwith 4 slices")
    axis.legend()


def _draw_lemma(axis: Any, lemmas: list[dict[str, Any]]) -> None:
    for slices, budget, kept in ((4, 4, 1), (4, 4, 2), (4, 4, 3), (4, 24, 2), (4, 24, 3)):
        want = (slices, budget, kept)
        rows = [row for row in lemmas if (row["slices"], row["orders"], row["kept"]) == want]
        axis.errorbar(
            [row["requests"] for row in rows],
            [-row["simulated_minus_lemma"] for row in rows],
            [4 * row["standard_error"] for row in rows],
            fmt="o-",
            capsize=3,
            markersize=4,
            label=f"B = {budget}, k = {kept}",
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xlabel="requests to the shard", ylabel="Lemma 2 minus simulated probability")
    axis.set_title("Error of Lemma 2: P(a shard of 4 slices\nkeeps at least k)")
    axis.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--replications", type=int, default=4000, help="ten times as many for Lemma 2"
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    results = measure(arguments.seed, arguments.replications)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    (RESULTS / "exhaustion.json").write_text(text)
    draw(results, RESULTS / "exhaustion.png")
    print(json.dumps(results["against_exact"]), f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
