"""The rows of a table from what was measured: verdicts, scores, profiles, damage, ranks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rescind.benchmarks.class_measures import similarity
from rescind.benchmarks.readings import CORRUPTED, FORGET, TEST, TEST_FORGET, Looks
from rescind.benchmarks.result import Layer, Line, Shown
from rescind.benchmarks.sets import Sets
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.benchmarks.subjects import ORIGINAL_LINE, RANDOM_LINE, Subject
from rescind.core.judgement import Judgement, Margin
from rescind.metrics.admissible import judge
from rescind.metrics.cka import normalised
from rescind.metrics.scores import WEIGHTS, Cost, Entry, Scores, Weighting, rank, score
from rescind.metrics.subgroups import Damage, damage

Columns = Mapping[str, Sequence[float]]
CKA = "forget CKA to retrained"
ACCURACIES = {
    "FA": "forget accuracy",
    "RA": "retain accuracy",
    "TFA": "test forget accuracy",
    "TRA": "test accuracy",
}


@dataclass(frozen=True, slots=True)
class Table:
    """All that the rows of one part are made from. ``looked`` and ``values`` are by row."""

    setting: Setting
    forget: ForgetSet
    sets: Sets
    references: Sequence[Looks]
    against: Columns
    retraining: Cost
    looked: Mapping[str, Sequence[Looks]]
    values: Mapping[str, Columns]

    def lines(
        self, subjects: Mapping[str, Subject], refused: Mapping[str, str]
    ) -> tuple[Line, ...]:
        """One row a subject, ranked, and one for each method that refused the model."""
        rows = [self._line(name, subject, subjects) for name, subject in subjects.items()]
        return (*self._ranked(rows), *(_refusal(n, why) for n, why in sorted(refused.items())))

    def _line(self, name: str, subject: Subject, subjects: Mapping[str, Subject]) -> Line:
        before = [made.weights for made in subjects[ORIGINAL_LINE].models]
        return Line(
            name=name,
            control=subject.control,
            judgement=self._judged(name),
            unchanged=[made.weights for made in subject.models] == before,
            parameters=subject.parameters,
            search=subject.search,
            shown=self._shown(name),
            layers=self._layers(name),
            scores=self._scores(name),
            damage=self._damage(name),
            cost=subject.cost,
        )

    @property
    def margins(self) -> tuple[Margin, ...]:
        """Those whose metric can be measured on this forget set: CKA needs four examples."""
        return tuple(m for m in self.setting.margins if m.metric in self.against)

    def _judged(self, name: str) -> Judgement:
        return judge(
            self.values[name],
            self.values[ORIGINAL_LINE],
            self.against,
            self.margins,
            "influence",
            display=not self.forget.decides,
        )

    def _shown(self, name: str) -> dict[str, Shown]:
        """What has no margin."""
        decided = {margin.metric for margin in self.setting.margins}
        return {
            measure: _shown(values, self.against[measure])
            for measure, values in self.values[name].items()
            if measure not in decided
        }

    def _on_scale(self, values: Columns) -> float | None:
        """CKA from random weights (0) to retrained models (1), None where there is no scale."""
        if CKA not in values:
            return None
        floors, ceilings = self.values[RANDOM_LINE][CKA], self.against[CKA]
        return normalised(statistics.fmean(values[CKA]), floors, ceilings).value

    def _scores(self, name: str) -> Scores | None:
        """AGL, AGR and H-LR where whole classes go; elsewhere the test set has no forget side."""
        if TEST_FORGET not in self.sets.batches:
            return None
        cka = self._on_scale(self.values[name])
        ours, theirs = _means(self.values[name]), _means(self.against)
        near = [n for n in ours if n.startswith("k-NN ")]
        return score(
            {key: ours[measure] for key, measure in ACCURACIES.items()},
            {key: theirs[measure] for key, measure in ACCURACIES.items()},
            cka,
            {n: ours[n] for n in near},
            {n: theirs[n] for n in near},
        )

    def _layers(self, name: str) -> tuple[Layer, ...]:
        """The profile over the layers of the forget set's pass."""
        if CKA not in self.against:
            return ()
        return tuple(
            _layer(layer, self.looked[name], self.looked[RANDOM_LINE], self.references)
            for layer in self.references[0][FORGET].features
        )

    def _damage(self, name: str) -> dict[str, Damage]:
        """By subgroup of the test set, clean and corrupted, for the first seed of each."""
        if CORRUPTED not in self.sets.batches or len(set(self.sets.groups)) < 2:
            return {}
        one = (self.looked[ORIGINAL_LINE][0], self.looked[name][0], self.references[0])
        found = {}
        for key, at in (("clean", TEST), ("corrupted", CORRUPTED)):
            before, after, retrained = (_right(looks, at) for looks in one)
            found[key] = damage(before, after, retrained, self.sets.groups)
        return found

    def _ranked(self, rows: Sequence[Line]) -> list[Line]:
        """Ranks and savings under each weighting, in the order of the balanced one."""
        entries = [_entry(row) for row in rows]
        by_name = {row.name: row for row in rows}
        for weighting in WEIGHTS:
            for place in rank(entries, self.retraining, _weighting(weighting)):
                row = by_name[place.entry.name]
                by_name[row.name] = replace(
                    row,
                    ranks={**row.ranks, weighting: place.rank},
                    savings={**row.savings, weighting: place.saving},
                )
        order = [place.entry.name for place in rank(entries, self.retraining)]
        return [by_name[name] for name in order]


def _weighting(name: str) -> Weighting:
    found: dict[str, Weighting] = {"balanced": "balanced", "fast": "fast", "small": "small"}
    return found[name]


def _entry(row: Line) -> Entry:
    """A method that changed nothing is a control: it is listed and never ranked."""
    verdict = "display_only" if row.judgement is None else row.judgement.verdict
    cost = row.cost or Cost(0.0, 0.0, 0.0, 0.0, 0.0)
    return Entry(row.name, verdict, cost, row.control or row.unchanged)


def _refusal(name: str, why: str) -> Line:
    return Line(name=name, control=False, refused=why)


def _means(values: Columns) -> dict[str, float]:
    return {name: statistics.fmean(each) for name, each in values.items()}


def _shown(values: Sequence[float], retrained: Sequence[float]) -> Shown:
    return Shown(
        statistics.fmean(values),
        statistics.stdev(values) if len(values) > 1 else None,
        statistics.fmean(retrained),
        statistics.stdev(retrained) if len(retrained) > 1 else None,
    )


def _layer(
    name: str,
    models: Sequence[Looks],
    random: Sequence[Looks],
    references: Sequence[Looks],
) -> Layer:
    def alike(looks: Sequence[Looks]) -> list[float]:
        return [
            statistics.fmean(
                similarity(one[FORGET], other[FORGET], name)
                for other in references
                if other is not one
            )
            for one in looks
        ]

    value, floors, ceilings = statistics.fmean(alike(models)), alike(random), alike(references)
    scale = normalised(value, floors, ceilings)
    return Layer(name, value, scale.floor, scale.ceiling, scale.value)


def _right(looks: Looks, name: str) -> list[bool]:
    found = looks[name].outputs
    return [bool(x) for x in found["logits"].argmax(dim=1) == found["labels"]]
