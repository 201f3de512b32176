"""Try cheap methods in turn, let retrained models and fresh seeds decide, end with retraining."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.methods.base import OnePart
from rescind.methods.retrain import Retrain


@dataclass(frozen=True, slots=True)
class Auto(OnePart):
    """Each method of ``methods``, the cheapest first, with ``seeds`` seeds; then retraining.

    The default order is that of processor time in ``rescind bench fashion``, random tenth.

    A method that the margins of the recipe admit is run again with as many seeds never used before,
    and judged at level 0.05 / number of methods. If it is admitted again, the first of these fresh
    models serves; else the next method is tried. ``parameters`` is a JSON file of recorded searches
    by method, whose chosen parameters are used; without it they are the defaults. It pays only
    where several requests or methods share the eight retrained models that it judges by.

    A class cannot judge itself, so this is done above the methods. Called without that frame,
    ``unlearn`` is what comes last.
    """

    methods: tuple[str, ...] = (
        "delete",
        "influence",
        "l1_sparse",
        "gradient_difference",
        "finetune",
    )
    seeds: int = 3
    parameters: str = ""

    def __post_init__(self) -> None:
        problems = [f"seeds is {self.seeds}, and must be at least 1"] if self.seeds < 1 else []
        if not self.methods or len(set(self.methods)) < len(self.methods):
            problems.append(f"methods is {list(self.methods)}; it must name some, each once")
        if "auto" in self.methods:
            problems.append("methods names auto itself")
        if problems:
            raise BadParameter(f"Auto cannot work: {'; '.join(problems)}.", do="Correct it.")

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """The end of the escalation: train everything again on the retain set, which is exact.

        Raises:
            BadParameter: the layout of the run is not known.
        """
        return Retrain().unlearn(model, split, run)
