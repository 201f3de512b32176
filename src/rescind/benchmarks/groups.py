"""Who pays where answers are no classes: an error of the test examples of each subgroup.

Accuracy by subgroup has a table of its own (``metrics.subgroups``). Numbers and texts have errors,
one a subgroup, that stand beside the same errors of retrained models with all other measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rescind.benchmarks.readings import Values
from rescind.metrics.subgroups import ENOUGH

if TYPE_CHECKING:
    from torch import Tensor

GROUP = "group"  # the entry of a batch that says which subgroup each example is of
SMALL = -1


def large(groups: Sequence[str], at_least: int = ENOUGH) -> tuple[str, ...]:
    """The subgroups with so many examples, by name; none where fewer than two have them."""
    found = sorted(name for name, count in Counter(groups).items() if count >= at_least)
    return tuple(found) if len(found) > 1 else ()


def places(groups: Sequence[str], names: Sequence[str]) -> Tensor:
    """Which of ``names`` each example is of, (n,); -1 where its subgroup is none of them."""
    import torch

    index = {name: i for i, name in enumerate(names)}
    return torch.tensor([index.get(group, SMALL) for group in groups])


def by_group(
    what: str,
    values: Tensor,
    place: Tensor,
    names: Sequence[str],
    figure: Callable[[Tensor], float],
) -> Values:
    """``figure`` of the values of each subgroup, and of the worst one: the highest.

    Args:
        what: the name of the figure; it comes first in the name of each measure.
        values: one an example, (n,), higher where the model is worse.
        place: as ``places`` gives it.
        names: of the subgroups.
        figure: such as the mean.
    """
    found = {f"{what}, {name}": figure(values[place == i]) for i, name in enumerate(names)}
    return {**found, f"{what}, worst group": max(found.values())} if found else {}
