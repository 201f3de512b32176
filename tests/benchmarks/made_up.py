"""A result that nobody measured: every number here is invented to try the page and the storage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from rescind.benchmarks.result import Floor, Layer, Line, Mean, Part, Point, Result, Shown
from rescind.benchmarks.setting import Kind, Ranking
from rescind.core.judgement import Gap, Judgement, Margin, Role, Verdict
from rescind.core.search import Search, Trial
from rescind.metrics.scores import WEIGHTS, Cost, Entry, Scores, Weighting, rank, score
from rescind.metrics.subgroups import damage

MARGINS = (
    Margin("forget_accuracy", 0.05, "forgetting"),
    Margin("forget_loss", 0.25, "forgetting"),
    Margin("forget_entropy_membership", 0.04, "forgetting"),
    Margin("forget CKA to retrained", 0.1, "forgetting"),
    Margin("retain_accuracy", 0.02, "utility"),
    Margin("test_accuracy", 0.02, "utility"),
    Margin("test_calibration", 0.015, "utility"),
)
RETRAINING = Cost(812.3456789, 4690, 1.21e9, 7.5e9, 4.5e7)
# gaps in margins, share of retraining, steps: from like retraining to like the original
METHODS: dict[str, tuple[float, float, float, int]] = {
    "scrub": (0.31, 0.42, 0.12, 450),
    "salun": (0.52, 0.35, 0.09, 300),
    "finetune": (6.2, 0.22, 0.18, 940),
    "bad_teacher": (1.9, 0.8, 0.06, 188),
    "negative_gradient": (14.0, 7.5, 0.05, 188),
    "random_label": (2.05, 0.85, 0.061, 188),
    "l1_sparse": (2.1, 0.86, 0.2, 940),
    "ssd": (6.1, 0.25, 0.013, 0),
    "eu_k": (5.9, 0.3, 0.08, 900),
}
CONTROLS: dict[str, tuple[float, float, float, int]] = {
    "original": (6.3, 0.24, 0.0, 0),
    "no-op": (6.3, 0.24, 0.0, 0),
    "random re-initialisation": (40.0, 46.0, 0.0001, 0),
    "last layer only": (5.1, 0.6, 0.03, 200),
    "retrained against retrained": (0.05, 0.06, 1.0, 4690),
}
LAYERS = ("stem", "block 1", "block 2", "block 3", "pool")


def gap(margin: Margin, widths: float, power: bool) -> Gap:
    """A gap of so many margins, with an interval of 0.4 margins to each side."""
    counts = power or margin.role == "utility"
    p = 0.001 if widths < 0.6 else 0.4
    sign = -1 if margin.metric.endswith("accuracy") and margin.role == "utility" else 1
    middle = sign * widths * margin.width
    return Gap(
        metric=margin.metric,
        role=margin.role,
        value=0.8 + middle,
        retrained_mean=0.8,
        gap=middle,
        interval=(middle - 0.4 * margin.width, middle + 0.4 * margin.width),
        natural_spread=0.1 * margin.width,
        margin=margin.width,
        p_equivalent=p,
        p_corrected=p if counts else None,
        power=power,
        equivalent=counts and p < 0.05,
    )


def judgement(forget: float, utility: float, power: bool, decides: bool) -> Judgement:
    """As the judge would say it, from the gaps."""
    widths: dict[Role, float] = {"forgetting": forget, "utility": utility}
    gaps = tuple(
        gap(m, widths[m.role] * (1 - 0.07 * i), power and m.metric != "forget_entropy_membership")
        for i, m in enumerate(MARGINS)
    )
    counting = [g for g in gaps if g.counts]
    verdict: Verdict = "admissible" if all(g.equivalent for g in counting) else "not_admissible"
    verdict = verdict if power else "no_power"
    verdict = verdict if decides else "display_only"
    told = f"{sum(g.equivalent for g in counting)} of {len(counting)} are equivalent."
    return Judgement(verdict, "influence", gaps, 8 if decides else 3, 3, 0.125, told)


def scores(forget: float, utility: float, defined: bool) -> Scores:
    """Scores whose parts follow the gaps."""
    lost = {"FA": 0.05 * forget, "RA": 0.02 * utility, "TFA": 0.04 * forget, "TRA": 0.02 * utility}
    far = {name: max(0.0, 0.9 - gap) for name, gap in lost.items()}
    near = max(0.0, 0.8 - 0.01 * utility)
    cka = max(-0.1, 1.02 - 0.06 * forget)
    return score(
        far, dict.fromkeys(far, 0.9), cka if defined else None, {"tops": near}, {"tops": 0.8}
    )


def seed_scores(found: Scores) -> dict[str, Mean]:
    """A little lower than those of the means, with an interval; none where undefined."""
    named = {"AGL": found.agl, "AGR": found.agr, "H-LR": found.h_lr}
    return {
        name: Mean(0.9 * value, (0.8 * value, 0.95 * value))
        for name, value in named.items()
        if value is not None
    }


def layers(forget: float) -> tuple[Layer, ...]:
    """A profile that falls towards the output."""
    found = []
    for i, name in enumerate(LAYERS):
        floor, ceiling = 0.05 + 0.02 * i, 0.97 - 0.01 * i
        value = ceiling - 0.02 * i * min(forget, 9.0)
        normalised = (value - floor) / (ceiling - floor) if i else None
        gap = value - ceiling
        found.append(Layer(name, value, floor, ceiling, normalised, (gap - 0.03, gap + 0.03)))
    return tuple(found)


def search(name: str) -> Search:
    """Three trials, the last of which failed."""
    trials = (
        Trial({"lr": 0.000123456789, "epochs": 2}, 3.25),
        Trial({"lr": 0.01, "epochs": 1}, 0.875),
        Trial({"lr": 1.0, "epochs": 3}, None, "the loss is not finite after step 12"),
    )
    return Search(name, 8, 11, (100, 101), trials, trials[1].parameters)


def line(
    name: str, numbers: tuple[float, float, float, int], control: bool, power: bool, decides: bool
) -> Line:
    """One row, not yet ranked."""
    forget, utility, share, steps = numbers
    right = [i % 10 < 9 for i in range(200)]
    after = [r and i % 17 != 0 for i, r in enumerate(right)]
    groups = ["day" if i % 4 else "night" for i in range(200)]
    less = [r and i % 13 != 0 for i, r in enumerate(right)]
    kept = [r and i % 29 != 0 for i, r in enumerate(right)]
    found = scores(forget, utility, decides)
    return Line(
        name=name,
        control=control,
        judgement=judgement(forget, utility, power, decides),
        unchanged=name in ("original", "no-op"),
        parameters={} if control else search(name).chosen,
        search=None if control else search(name),
        shown={
            "agreement": Shown(
                0.9 - 0.01 * forget, 0.01, 0.9, 0.02, (-0.01 * forget - 0.02, 0.02 - 0.01 * forget)
            ),
            "klom": Shown(0.1 * forget, 0.01, 0.08, 0.02),
            "zrf": Shown(0.7, None, 0.72, None),
        },
        layers=layers(forget),
        scores=found,
        seed_scores=seed_scores(found),
        damage={
            "clean": damage([right] * 2, [after, less], [kept, right, kept], groups),
            "corrupted": damage([right] * 2, [kept, kept], [kept, right, kept], groups),
        },
        cost=Cost(share * RETRAINING.cpu_seconds, steps, 9e8, share * 7.5e9, 4.5e7),
    )


def ranked(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """With the ranks and savings that ``metrics.scores`` gives them."""
    entries = [
        Entry(ln.name, ln.judgement.verdict, ln.cost, ln.control or ln.unchanged)
        for ln in lines
        if ln.judgement and ln.cost
    ]
    places: dict[str, dict[Weighting, tuple[int | None, float]]] = {}
    for weighting in WEIGHTS:
        w: Weighting = weighting  # type: ignore[assignment]
        for found in rank(entries, RETRAINING, w):
            places.setdefault(found.entry.name, {})[w] = (found.rank, found.saving)
    return tuple(_placed(ln, places.get(ln.name, {})) for ln in lines)


def _placed(ln: Line, places: Mapping[Weighting, tuple[int | None, float]]) -> Line:
    return replace(
        ln,
        ranks={name: place for name, (place, _) in places.items()},
        savings={name: saving for name, (_, saving) in places.items()},
    )


def part(
    forget_set: str = "random 10 %",
    power: bool = True,
    decides: bool = True,
    worse: float = 1.0,
    model: str = "resnet",
) -> Part:
    """A table with all methods, all controls and one method that refused the model."""
    lines = [
        line(name, (n[0] * worse, n[1] * worse, n[2], n[3]), name in CONTROLS, power, decides)
        for name, n in {**METHODS, **CONTROLS}.items()
    ]
    refused = Line(
        name="influence", control=False, refused="Not yet: the Fisher matrix is too large here."
    )
    return Part(
        benchmark="fashion",
        model=model,
        forget_set=forget_set,
        kind="random",
        goal="influence",
        decides=decides,
        forget=1200,
        retain=10800,
        test=2000,
        references=8 if decides else 3,
        seeds=3,
        margins=MARGINS,
        lines=(refused, *ranked(tuple(lines))),
        retraining=RETRAINING,
        metrics_share=0.0712345678,
        floor=Floor(biased=0.412, unbiased=-0.0013, examples=1200, width=512),
        cpu_seconds=4321.0,
        notes=("A note on this part.",),
    )


def sequence() -> tuple[Point, ...]:
    """Two methods drift, one of them out of the margin; one number of requests is missing."""
    points = []
    for name, speed in (("scrub", 0.004), ("finetune", 0.019)):
        for metric, width in (("forget_accuracy", 0.05), ("test_accuracy", 0.02)):
            for requests in (1, 2, 5, 10):
                off = speed * math.log2(1 + requests) * (1 if metric == "forget_accuracy" else -0.4)
                ends = (off - 0.008, off + 0.008)
                points.append(
                    Point(
                        model="resnet",
                        method=name,
                        requests=requests,
                        forgotten=120 * requests,
                        metric=metric,
                        value=0.8 + off,
                        retrained=0.8,
                        interval=ends,
                        margin=width,
                        retraining_due=max(map(abs, ends)) >= width,
                    )
                )
    return tuple(points)


def result() -> Result:
    """Everything a result may hold."""
    return Result(
        benchmark="fashion",
        what="Invented numbers: a fixture, not a measurement.",
        quick=False,
        command="rescind bench fashion",
        system="Linux, 2 cores, Python 3.11, torch 2.7.1 (CPU)",
        threads=1,
        parts=(
            part(),
            part("class sandal", power=False),
            part("top classes", decides=False, model="vit"),
            part("subgroup night", worse=4.0),
        ),
        sequence=sequence(),
        rankings=(
            Ranking("tops", ("pullover", "dress", "bag"), ("dress", "pullover", "bag"), 0.5),
            Ranking("shoes", ("sneaker", "boot", "bag")),
        ),
        not_applicable=("Top classes by text: no text encoder is installed.",),
    )


# forget set, kind, records of 6,000, how much farther from retraining, whether AGR is defined
CLASS_SETS: tuple[tuple[str, Kind, int, float, bool], ...] = (
    ("class bag", "class", 900, 0.8, True),
    ("top 2 classes", "top class", 2100, 2.0, True),
    ("class boot", "class", 1500, 1.2, False),
    ("class sneaker", "class", 1100, 1.0, True),
    ("top 1 class", "top class", 1000, 1.8, True),
    ("class dress", "class", 1500, 0.7, True),
)
GONE = {"top 1 class": ("pullover",), "top 2 classes": ("pullover", "sneaker")}
PREDICTIONS = ("sneaker", "pullover", "dress", "boot", "bag")


def class_part(
    forget_set: str, kind: Kind, forget: int, worse: float, defined: bool, model: str = "resnet"
) -> Part:
    """A table of a forget set of whole classes with its scores and little more."""
    found = part(forget_set, worse=worse, decides=defined, model=model)
    lines = tuple(
        Line(
            name=ln.name,
            control=ln.control,
            refused=ln.refused,
            scores=ln.scores,
            seed_scores=ln.seed_scores,
            cost=ln.cost,
            savings=ln.savings,
        )
        for ln in found.lines
    )
    return replace(
        found,
        kind=kind,
        forget=forget,
        retain=6_000 - forget,
        lines=lines,
        classes=GONE.get(forget_set, (forget_set.removeprefix("class "),)),
    )


def classes(*models: str) -> Result:
    """Five classes, of which the pullover is the top one: all of them, for each model."""
    ranking = Ranking(
        "tops", PREDICTIONS, ("pullover", "dress", "sneaker", "bag", "boot"), 0.123456789
    )
    parts = [class_part(*one, model=model) for model in models for one in CLASS_SETS]
    return replace(
        result(),
        parts=tuple(parts),
        sequence=(),
        rankings=(ranking,),
        not_applicable=(
            "top 1 class was declared as pullover; the resnet of this run puts sneaker first.",
            "Another thing: there is none.",
        ),
    )


def bare() -> Result:
    """As little as a result may hold: nothing computed yet."""
    return Result(
        benchmark="adult",
        what="Invented: nothing has been computed.",
        quick=True,
        command="rescind bench adult --quick",
        system="Linux",
        threads=2,
    )
