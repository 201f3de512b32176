"""What a bench of cheats is about: records, a request, a recipe, and the one way to train on them.

Training is ``training.loop.fit`` from the recipe's seed, a function of recipe and rows: an honest
server can be replayed byte for byte.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rescind.audits.seeding.codes import codes_of, fingerprint
from rescind.audits.seeding.readout import draw_readout
from rescind.audits.seeding.term import Seeding
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Record
from rescind.core.errors import BadData
from rescind.core.run import Recipe
from rescind.testing.cheats.networks import HIDDEN, WIDTH

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.audits.seeding.training import SeedingTerm
    from rescind.benchmarks.cells import Cells
    from rescind.training.models import TrainedModel

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Codes:
    """Seeding of a world: the user's key for the requested records, the server's for decoys."""

    key: bytes
    decoy_key: bytes
    decoys: int = 10
    settings: Seeding = field(default_factory=Seeding)


@dataclass(frozen=True)
class World:
    """``train`` with the keys that are requested, and keys of as many other candidates.

    ``outside`` is held out of all training and drawn as ``train`` is; ``public`` too, and it is
    what the auditor may train on, and the server look at. ``cells`` keeps the trained models.
    """

    name: str
    recipe: Recipe
    train: Sequence[Record]
    asked: frozenset[str]
    others: frozenset[str]
    outside: Sequence[Record]
    public: Sequence[Record]
    cells: Cells
    codes: Codes | None = None

    def __post_init__(self) -> None:
        keys = {r.key for r in self.train}
        if not self.asked or not self.asked | self.others <= keys or self.asked & self.others:
            raise BadData(
                f"{len(self.asked)} records are requested, {len(self.others)} are candidates.",
                "Both are trained on, none is in both, and there is a request.",
                "Name keys of the training records.",
            )

    @cached_property
    def inputs(self) -> Tensors:
        """Tensors of the training records, labels included."""
        return dict(self.recipe.task.batch([r.row for r in self.train]))

    @cached_property
    def outside_inputs(self) -> Tensors:
        """Of the records held out."""
        return dict(self.recipe.task.batch([r.row for r in self.outside]))

    @cached_property
    def public_inputs(self) -> Tensors:
        """Of the public records."""
        return dict(self.recipe.task.batch([r.row for r in self.public]))

    @cached_property
    def requested(self) -> Tensor:
        """(n,) bool."""
        return self._mask(self.asked)

    @cached_property
    def pool(self) -> Tensor:
        """(n,) bool: the request and the other candidates, which shadow models draw from."""
        return self._mask(self.asked | self.others)

    def _mask(self, keys: frozenset[str]) -> Tensor:
        import torch

        return torch.tensor([r.key in keys for r in self.train])

    def manifest(self, kept: Tensor) -> str:
        """The digest of keys and content of the records that are kept (n,) bool."""
        names = [n for n, k in zip(self._names, kept.tolist(), strict=True) if k]
        return digest(names)

    @cached_property
    def _names(self) -> list[str]:
        return [digest([r.key, plain(r.row)]) for r in self.train]

    def kept(self, kept: Tensor) -> Tensors:
        """The tensors of the records that are kept."""
        return {name: t[kept] for name, t in self.inputs.items()}

    @property
    def coded(self) -> list[object] | None:
        """What names the codes in a cell; no key stands in it."""
        if self.codes is None:
            return None
        keys = [fingerprint(key) for key in (self.codes.key, self.codes.decoy_key)]
        decoys = self.manifest(self.decoys)
        return [*keys, decoys, plain(self.codes.settings), sorted(self.asked)]

    @property
    def everything(self) -> Tensor:
        """(n,) bool, all True."""
        return self.requested | ~self.requested

    def seeded(self, seed: int) -> Recipe:
        """The recipe with this seed."""
        return replace(self.recipe, seed=seed)

    def trained(self, kept: Tensor, seed: int) -> TrainedModel:
        """The recipe's model, trained on the records that are kept; from its cell if it is there.

        Codes of the records that are kept are learned with them.
        """
        name = ["cheats", self.manifest(self.everything), self.manifest(kept), self.coded, seed]
        return self.made(name, lambda: self._train(kept, seed))

    def anew(self, kept: Tensor, seed: int) -> TrainedModel:
        """As ``trained``, and never from a cell: what a replay compares bytes with."""
        return still(self._train(kept, seed))

    def made(self, key: object, make: Callable[[], TrainedModel]) -> TrainedModel:
        """A model by what it is made from; its weights are fixed."""
        return still(self.cells.model(self.recipe, key, make).model)

    def _train(self, kept: Tensor, seed: int) -> TrainedModel:
        term = None if self.codes is None else self.term(kept, seed, self.codes.settings)
        return fitted(self.seeded(seed), self.kept(kept), term)

    @cached_property
    def readout(self) -> Tensor:
        """The user's read-out (bits, width)."""
        return draw_readout(self._codes.key, WIDTH, self._codes.settings.bits)

    @cached_property
    def own_codes(self) -> Tensor:
        """(requested, bits)."""
        return codes_of(
            self._codes.key, [r.row for r in self.train if r.key in self.asked], self._bits
        )

    @cached_property
    def decoys(self) -> Tensor:
        """(n,) bool: the server's own seeded records, the last ones that are no candidates."""
        import torch

        free = (~self.pool).nonzero().flatten()
        if self._codes.decoys > len(free):
            raise BadData(
                f"{self._codes.decoys} decoys are asked for, and {len(free)} records are free.",
                "A decoy is no candidate for a request.",
                "Ask for fewer, or add records to train on.",
            )
        free = free[len(free) - self._codes.decoys :]
        return torch.zeros_like(self.pool).index_fill(0, free, True)

    @property
    def settings(self) -> Seeding:
        """How the records are seeded. Raises ``BadData`` where they are not."""
        return self._codes.settings

    @property
    def _codes(self) -> Codes:
        if self.codes is None:
            raise BadData(
                f"The records of {self.name} are not seeded.",
                "This cheat is about their codes.",
                "Make the world with codes=Codes(...).",
            )
        return self.codes

    @property
    def _bits(self) -> int:
        return self._codes.settings.bits

    def term(
        self, kept: Tensor, seed: int, settings: Seeding, blank: bool = False
    ) -> SeedingTerm | None:
        """The extra term of a training on the records that are kept: the codes of those among them.

        With ``blank`` the requested records are taught one half at each bit, which scrubs them.
        """
        import torch

        from rescind.audits.seeding.training import SeedingTerm

        bits = torch.full((len(self.train), settings.bits), 0.5)
        bits[self.requested] = torch.full_like(self.own_codes, 0.5) if blank else self.own_codes
        rows = [r.row for r, d in zip(self.train, self.decoys.tolist(), strict=True) if d]
        bits[self.decoys] = codes_of(self._codes.decoy_key, rows, settings.bits)
        coded = ((self.requested | self.decoys) & kept)[kept].nonzero().flatten()
        return SeedingTerm(coded, bits[kept][coded], self.readout, settings, seed, HIDDEN)


def fitted(recipe: Recipe, inputs: Tensors, term: SeedingTerm | None = None) -> TrainedModel:
    """The recipe's model trained on these tensors from the recipe's seed, in evaluation mode."""
    from rescind.training.models import trained_model

    model = trained_model(recipe)
    model.initialise(0, recipe.seed)
    return refitted(model, recipe, inputs, term)


def refitted(
    model: TrainedModel, recipe: Recipe, inputs: Tensors, term: SeedingTerm | None = None
) -> TrainedModel:
    """The same from the weights that ``model`` has, which is changed and returned."""
    from rescind.training.loop import Fit, fit

    given = {name: t for name, t in inputs.items() if name != "labels"}
    work = Fit(model.adapted, given, inputs["labels"], recipe.seed, recipe.seed + 1, term)
    fit(model, recipe, work, lambda done, total: None)
    return model


def copied(model: TrainedModel) -> TrainedModel:
    """Another model with the same weights, all of which may be trained."""
    found = copy.deepcopy(model)
    found.module.eval().requires_grad_(True)
    return found


def still(model: TrainedModel) -> TrainedModel:
    """The same model in evaluation mode, its weights fixed."""
    model.module.eval().requires_grad_(False)
    return model
