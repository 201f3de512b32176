"""Models that the auditor trains by the recipe, and the exact p-value that counting them gives.

A statistic of an honestly retrained model is one more draw of the same statistic of the auditor's
retrained models, whatever it is. So P(p <= level) <= level with no assumption but that. A statistic
that compares with the model before has two such nulls, since an honest server may begin from the
seed of the model before or from another: the larger p decides, and keeps the level for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rescind.audits.shadows import Shadows, trained_shadows
from rescind.testing.cheats.look import Look, look
from rescind.testing.cheats.served import Served, served

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.catalogue import Cheat
    from rescind.testing.cheats.world import World

FIRST, HALVES = 1_000, 3_000  # seeds of references and of shadow models
Side = Literal["high", "low", "both"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One server: the model before, what it serves, and what was read of both.

    ``treated`` are margins (u, requested) of the auditor's own originals after the same method.
    """

    before: Look
    after: Look
    served: Served
    original: str
    treated: Tensor | None = None


Statistic = Callable[["Panel", Look, Look], float]


@dataclass(frozen=True, eq=False)
class Panel:
    """``originals`` and ``retrained`` of the same seeds in turn; ``halves`` saw half of the pool.

    ``seen`` (halves, n) says what each of these was trained on, and ``half_margins`` are theirs.
    """

    world: World
    models: list[Served]
    originals: list[Look]
    retrained: list[Look]
    half_margins: Tensor
    seen: Tensor
    kept: dict[object, Any] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What is worked out for a key, the first time alone; a Look is a key by its identity."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def p(
        self, name: str, statistic: Statistic, case: Case, side: Side, paired: bool = True
    ) -> tuple[float, float]:
        """The statistic of a case, and its p by counting; ``paired`` where it reads the before."""
        own = statistic(self, case.before, case.after)
        if not paired:  # then the pairs are the retrained models, read once for all cases
            return own, rank(own, self._pairs(name, statistic), side)
        nulls = self._new(name, statistic, case.before), self._pairs(name, statistic)
        return own, max(rank(own, null, side) for null in nulls)

    def _new(self, name: str, statistic: Statistic, before: Look) -> list[float]:
        found: list[float] = self.once(
            (name, before), lambda: [statistic(self, before, after) for after in self.retrained]
        )
        return found

    def _pairs(self, name: str, statistic: Statistic) -> list[float]:
        pairs = list(zip(self.originals, self.retrained, strict=True))
        found: list[float] = self.once(
            (name, "pairs"), lambda: [statistic(self, before, after) for before, after in pairs]
        )
        return found

    def shadows(self) -> Shadows:
        """LiRA's: originals that saw the request, retrained models that did not."""
        import torch

        asked = self.world.requested
        looks = [*self.originals, *self.retrained]
        margins = torch.stack([each.margins(self.world)[asked] for each in looks])
        saw = torch.tensor([True] * len(self.originals) + [False] * len(self.retrained))
        return trained_shadows(margins, saw[:, None].expand_as(margins))

    @property
    def retrained_margins(self) -> Tensor:
        """(r, requested)."""
        import torch

        asked = self.world.requested
        return torch.stack([each.margins(self.world)[asked] for each in self.retrained])


def rank(own: float, null: Sequence[float], side: Side) -> float:
    """The share of all models, this one among them, that lie at least as far to the side.

    For both sides the distance is that from the mean of all, which treats all alike.
    """
    if side == "low":
        own, null = -own, [-x for x in null]
    if side == "both":
        middle = (own + sum(null)) / (1 + len(null))
        own, null = abs(own - middle), [abs(x - middle) for x in null]
    tie = 1e-9 * max(abs(own), *(abs(x) for x in null))  # rounding decides nothing
    return (1 + sum(x >= own - tie for x in null)) / (1 + len(null))


def panel(world: World, references: int, halves: int, progress: Progress) -> Panel:
    """Train what the auditor needs: twice ``references`` models, and ``halves`` shadow models."""
    import torch

    whole, kept = world.everything, ~world.requested
    names = [world.manifest(mask) for mask in (whole, kept)]
    sides: list[list[Served]] = [[], []]
    for i in range(references):
        progress(f"{world.name}: references", i, references)
        for side, mask, name in zip(sides, (whole, kept), names, strict=True):
            side.append(served(world.trained(mask, FIRST + i), name, FIRST + i))
    seen = torch.stack([half(world, i) for i in range(halves)])
    margins = []
    for i, mask in enumerate(seen):
        progress(f"{world.name}: shadow models", i, halves)
        model = served(world.trained(mask, HALVES + i), "", HALVES + i)
        margins.append(look(model, world).margins(world))
    progress(f"{world.name}: auditor's models", 1, 1)
    looks = [[look(each, world) for each in side] for side in sides]
    return Panel(world, sides[0], looks[0], looks[1], torch.stack(margins), seen)


def half(world: World, number: int) -> Tensor:
    """All records but a random half of the pool, (n,) bool."""
    import torch

    rows = world.pool.nonzero().flatten()
    generator = torch.Generator().manual_seed(HALVES + number)
    out = rows[torch.randperm(len(rows), generator=generator)[: len(rows) // 2]]
    return world.everything.index_fill(0, out, False)


def treated(panel: Panel, cheat: Cheat, count: int) -> Tensor:
    """Margins (count, requested) of the auditor's originals after the cheat itself: U-LiRA."""
    import torch

    world, asked = panel.world, panel.world.requested
    found = [
        look(cheat.make(each.model, world, each.claim.seed), world).margins(world)[asked]
        for each in panel.models[:count]
    ]
    return torch.stack(found)
