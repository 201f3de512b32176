"""Every cheat and honest retraining under every audit; who is caught is ``counting``.

A row is one server of one world, kept in a cell: a run that was stopped goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rescind.core.canonical import build, plain
from rescind.testing.cheats.auditing import AUDITS, Audit
from rescind.testing.cheats.catalogue import CHEATS, Cheat
from rescind.testing.cheats.counting import Row
from rescind.testing.cheats.look import look
from rescind.testing.cheats.panel import Case, Panel, Progress, panel, treated
from rescind.testing.cheats.reading import Reading
from rescind.testing.cheats.served import Served, served, weights_of

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.world import World

SAME, NEW = "retrained, same initialisation", "retrained, new initialisation"
NEW_SEED, TREATED_SEED = 500, 1_500


@dataclass(frozen=True, slots=True)
class Size:
    """How many models: the auditor's pairs and shadow models, originals that each cheat is tried
    on, originals that U-LiRA runs it on, and honest servers of each kind.
    """

    references: int = 20
    halves: int = 8
    servers: int = 2
    treated: int = 3
    honest: int = 4


@dataclass(frozen=True)
class Bench:
    """A world at a size. The auditor's models are trained when the first missing row asks."""

    world: World
    size: Size
    progress: Progress
    audits: tuple[Audit, ...] = AUDITS
    cheats: tuple[Cheat, ...] = CHEATS

    @cached_property
    def panel(self) -> Panel:
        """The auditor's models."""
        return panel(self.world, self.size.references, self.size.halves, self.progress)

    def rows(self) -> list[Row]:
        """All rows, from their cells where they are there."""
        world, size, found = self.world, self.size, list[Row]()
        chosen = [c for c in self.cheats if not c.coded or world.codes is not None]
        names = [(c.name, c) for c in chosen] + [(SAME, None), (NEW, None)]
        for done, (name, cheat) in enumerate(names):
            self.progress(f"{world.name}: {name}", done, len(names))
            count = size.servers if cheat is not None else size.honest
            found.extend(self._row(name, cheat, seed) for seed in range(count))
        self.progress(f"{world.name}: all servers", len(names), len(names))
        return found

    def _row(self, name: str, cheat: Cheat | None, seed: int) -> Row:
        world = self.world
        records = [world.manifest(mask) for mask in (world.everything, ~world.requested)]
        outside = [[[r.key, plain(r.row)] for r in part] for part in (world.outside, world.public)]
        made_from = [plain(world.recipe), world.coded, records, sorted(world.others), outside]
        audits = [each.name for each in self.audits]
        key = ["cheat", made_from, asdict(self.size), name, seed, audits]
        stored = world.cells.value(key, lambda: self._readings(name, cheat, seed))
        readings = {n: None if r is None else build(Reading, r) for n, r in stored.items()}
        return Row(world.name, name, cheat is None, seed, readings)

    def _readings(self, name: str, cheat: Cheat | None, seed: int) -> dict[str, Any]:
        world = self.world
        original = world.trained(world.everything, seed)
        given = self._honest(name, seed) if cheat is None else cheat.make(original, world, seed)
        before = served(original, world.manifest(world.everything), seed)
        case = Case(
            look(before, world),
            look(given, world),
            given,
            weights_of(original),
            self._treated(name, cheat),
        )
        read = {each.name: each.read(self.panel, case) for each in self.audits}
        return {n: None if r is None else asdict(r) for n, r in read.items()}

    def _honest(self, name: str, seed: int) -> Served:
        own, kept = seed if name == SAME else NEW_SEED + seed, ~self.world.requested
        return served(self.world.trained(kept, own), self.world.manifest(kept), own)

    def _treated(self, name: str, cheat: Cheat | None) -> Tensor:
        """U-LiRA's models; an honest server's method is retraining, here from further seeds."""
        found: Tensor = self.panel.once(
            ("treated", name),
            lambda: self._retrained() if cheat is None else self._cheated(cheat),
        )
        return found

    def _cheated(self, cheat: Cheat) -> Tensor:
        return treated(self.panel, cheat, self.size.treated)

    def _retrained(self) -> Tensor:
        import torch

        world, kept = self.world, ~self.world.requested
        models = [
            served(world.trained(kept, TREATED_SEED + i), "", 0) for i in range(self.size.treated)
        ]
        return torch.stack([look(m, world).margins(world)[world.requested] for m in models])
