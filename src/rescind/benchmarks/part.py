"""One part of a benchmark: a model, a forget set, every method and control beside retraining."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from rescind.benchmarks.across import TOO_FEW, Columns, add_klom, add_zrf, classifies, enough
from rescind.benchmarks.class_measures import FEWEST
from rescind.benchmarks.deep import deep_columns
from rescind.benchmarks.lines import Table
from rescind.benchmarks.models import RETRAINED, Halves
from rescind.benchmarks.readings import FORGET, TEST, TEST_FORGET, Looks, columns
from rescind.benchmarks.result import Floor, Part
from rescind.benchmarks.sets import Sets, sets_of
from rescind.benchmarks.setting import REFERENCES, SHOWN, ForgetSet
from rescind.benchmarks.subjects import ANEW_LINE, RANDOM_LINE, Bench, Subject, mean_cost, subjects
from rescind.benchmarks.tuning import SEEDS
from rescind.core.errors import BadData
from rescind.metrics.features import PENULTIMATE
from rescind.search import apart


def run_part(bench: Bench, forget: ForgetSet) -> Part:
    """Everything about one forget set. Cells that are there are not computed again.

    Raises:
        BadParameter: a seed that was searched on would be reported.
    """
    setting = bench.setting
    halves = Halves.of(setting.train, forget.records)
    count = REFERENCES if forget.decides else SHOWN
    apart(SEEDS, [*range(setting.seeds), *range(RETRAINED, RETRAINED + count)])
    retrained = bench.train(halves.retain, RETRAINED, count, f"{forget.name}: retrained models")
    rows, refused = subjects(bench, forget, halves)
    task = bench.models.recipe.task
    sets = sets_of(task, setting, forget, halves.retain.records, setting.test)
    reading = time.process_time()
    references = [sets.looks(made.model, profile=True) for made in retrained]
    looked, values, broken = _measured(bench, sets, rows, references)
    rows = {name: subject for name, subject in rows.items() if name in looked}
    against = columns(sets.measures, references, references)
    add_zrf(values, against, looked, references, looked[RANDOM_LINE][0])
    add_klom(values, against, looked, references, ANEW_LINE)
    spent = time.process_time() - reading
    retraining = mean_cost([made.cost for made in retrained])
    deep_notes = _deepen(sets, rows, looked, values, references) if bench.deep else []
    if bench.deep:
        against |= deep_columns(sets, retrained, references, references)
    table = Table(setting, forget, sets, references, against, retraining, looked, values)
    reading = time.process_time()
    lines = table.lines(rows, refused | broken)
    spent += time.process_time() - reading
    passes = count + sum(len(looks) for looks in looked.values())
    made = [*retrained, *(each for subject in rows.values() for each in subject.models)]
    return Part(
        benchmark=setting.name,
        model=bench.name,
        forget_set=forget.name,
        kind=forget.kind,
        goal="influence",
        decides=forget.decides,
        forget=len(halves.forget),
        retain=len(halves.retain),
        test=len(sets.groups),
        references=count,
        seeds=setting.seeds,
        margins=table.margins,
        notes=(*_notes(table), *deep_notes),
        classes=forget.classes,
        lines=lines,
        retraining=retraining,
        metrics_share=spent / passes / retraining.cpu_seconds,
        floor=_floor(references[0]),
        cpu_seconds=spent + sum(each.cost.cpu_seconds for each in made),
        search_cpu_seconds=bench.searched.cpu_seconds,
    )


def _notes(table: Table) -> Iterator[str]:
    """What could not be measured on this forget set, and why."""
    for margin in table.setting.margins:
        if margin not in table.margins:
            yield f"{margin.metric} is not measured: the forget set has too few examples."
    if table.forget.classes and TEST_FORGET not in table.sets.batches:
        yield "AGL is undefined: the test set has no example of the classes that go."
    if not table.forget.classes:
        yield "AGL, AGR and H-LR are for whole classes: here the test set has no forget side."
    anew, references = table.looked[ANEW_LINE], table.references
    if classifies(references[0]) and not enough(anew, references):
        yield TOO_FEW


def _measured(
    bench: Bench, sets: Sets, rows: Mapping[str, Subject], references: Sequence[Looks]
) -> tuple[dict[str, list[Looks]], dict[str, Columns], dict[str, str]]:
    """What each row's models give and what is read from it.

    A method whose model cannot be measured, as one with logits that are no numbers, is told among
    the refused ones; it must not cost the table its other rows. Controls have to be measured.
    """
    looked, values, broken = {}, {}, {}
    for name, subject in rows.items():
        try:
            looks = _looked(bench, sets, name, subject)
            values[name] = _finite(columns(sets.measures, looks, references))
        except BadData as error:
            if subject.control:
                raise
            broken[name] = f"Its models cannot be measured: {error.what}"
            continue
        looked[name] = looks
    return looked, values, broken


def _deepen(
    sets: Sets,
    rows: Mapping[str, Subject],
    looked: Mapping[str, Sequence[Looks]],
    values: Mapping[str, Columns],
    references: Sequence[Looks],
) -> list[str]:
    """Add the deep measures to each row's values, and say whose could not be measured."""
    notes = []
    for name, looks in looked.items():
        try:
            values[name].update(deep_columns(sets, rows[name].models, looks, references))
        except BadData as error:
            notes.append(f"Deep measures of {name} are missing: {error.what}")
    return notes


def _finite(found: Columns) -> Columns:
    bad = [name for name, each in found.items() if not all(map(math.isfinite, each))]
    if bad:
        raise BadData(f"{', '.join(bad)} of a model is no finite number.")
    return found


def _looked(bench: Bench, sets: Sets, name: str, subject: Subject) -> list[Looks]:
    bench.progress(f"looking at {name}", 0, 1)
    found = [sets.looks(made.model, profile=True) for made in subject.models]
    bench.progress(f"looking at {name}", 1, 1)
    return found


def _floor(reference: Looks) -> Floor:
    """CKA of independent Gaussian features of the penultimate shape, by both estimators.

    As many as forget examples, or as test examples where these are too few for CKA.
    """
    import torch

    from rescind.metrics.cka import LinearCka, biased_cka

    name = FORGET if len(reference[FORGET].features[PENULTIMATE]) >= FEWEST else TEST
    n, width = reference[name].features[PENULTIMATE].shape
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(n, width, generator=generator) for _ in range(2))
    cka = LinearCka()
    cka.add(one, other)
    return Floor(
        biased=biased_cka(one, other), unbiased=cka.value(), examples=int(n), width=int(width)
    )
