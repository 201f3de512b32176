"""The rows of a table from what was measured: verdicts, scores, profiles, damage, ranks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rescind.benchmarks.class_measures import similarity
from rescind.benchmarks.readings import CORRUPTED, FORGET, TEST, TEST_FORGET, Looks
from rescind.benchmarks.result import Layer, Line, Shown
from rescind.benchmarks.scoring import CKA, Columns, of_means, of_seeds
from rescind.benchmarks.sets import Sets
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.benchmarks.subjects import ORIGINAL_LINE, RANDOM_LINE, Subject
from rescind.core.judgement import Judgement, Margin
from rescind.metrics.admissible import judge
from rescind.metrics.cka import normalised
from rescind.metrics.equivalence import gap_interval
from rescind.metrics.scores import WEIGHTS, Cost, Entry, Weighting, rank
from rescind.metrics.subgroups import Damage, damage


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
        measured = (self.values[name], self.against, self.values[RANDOM_LINE])
        return Line(
            name=name,
            control=subject.control,
            judgement=self._judged(name),
            unchanged=[made.weights for made in subject.models] == before,
            parameters=subject.parameters,
            search=subject.search,
            shown=self._shown(name),
            layers=self._layers(name),
            scores=of_means(*measured) if self._whole_classes else None,
            seed_scores=of_seeds(*measured) if self._whole_classes else {},
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

    @property
    def _whole_classes(self) -> bool:
        """Whether there are scores: elsewhere the test set has no forget side."""
        return TEST_FORGET in self.sets.batches

    def _layers(self, name: str) -> tuple[Layer, ...]:
        """The profile over the layers of the forget set's pass."""
        if CKA not in self.against:
            return ()
        return tuple(
            _layer(layer, self.looked[name], self.looked[RANDOM_LINE], self.references)
            for layer in self.references[0][FORGET].features
        )

    def _damage(self, name: str) -> dict[str, Damage]:
        """By subgroup of the test set, clean and corrupted, over all seeds of each."""
        if CORRUPTED not in self.sets.batches or len(set(self.sets.groups)) < 2:
            return {}
        models = (self.looked[ORIGINAL_LINE], self.looked[name], self.references)
        found = {}
        for key, at in (("clean", TEST), ("corrupted", CORRUPTED)):
            before, after, retrained = ([_right(looks, at) for looks in each] for each in models)
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


def _shown(values: Sequence[float], retrained: Sequence[float]) -> Shown:
    return Shown(
        statistics.fmean(values),
        statistics.stdev(values) if len(values) > 1 else None,
        statistics.fmean(retrained),
        statistics.stdev(retrained) if len(retrained) > 1 else None,
        gap_interval(values, retrained),
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

    values, floors, ceilings = alike(models), alike(random), alike(references)
    value = statistics.fmean(values)
    scale = normalised(value, floors, ceilings)
    interval = gap_interval(values, ceilings)
    return Layer(name, value, scale.floor, scale.ceiling, scale.value, interval)


def _right(looks: Looks, name: str) -> list[bool]:
    found = looks[name].outputs
    right: list[bool] = (found["logits"].argmax(dim=1) == found["labels"]).tolist()
    return right
