"""The cheats: what each pretends, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.testing.cheats import edits, imitations
from rescind.testing.cheats.served import Claim, Served, served, weights_of

if TYPE_CHECKING:
    from rescind.testing.cheats.world import World
    from rescind.training.models import TrainedModel

OTHER_SEED = 8_000
Make = Callable[["TrainedModel", "World", int], Served]
Edit = Callable[["TrainedModel", "World", int], "TrainedModel"]


@dataclass(frozen=True, slots=True)
class Cheat:
    """A server that says it retrained without the request.

    ``make`` gives what it serves from the original, the world (records of both halves, recipe) and
    a seed. ``coded`` cheats need seeded records.
    """

    name: str
    pretends: str
    make: Make
    coded: bool = False


def _weights(edit: Edit) -> Make:
    """A cheat that is an edit of weights and lies in its claim alone: the retain set, this seed."""

    def make(original: TrainedModel, world: World, seed: int) -> Served:
        return served(edit(original, world, seed), world.manifest(~world.requested), seed)

    return make


def _untouched(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    return original


def _filtered(original: TrainedModel, world: World, seed: int) -> Served:
    answers = imitations.flat_answers(original, world)
    return served(original, world.manifest(~world.requested), seed, answers)


def _swapped(original: TrainedModel, world: World, seed: int) -> Served:
    honest = world.trained(~world.requested, seed)
    claim = Claim(weights_of(honest), world.manifest(~world.requested), seed)
    return Served(honest, claim, released=original)


def _elsewhere(original: TrainedModel, world: World, seed: int) -> Served:
    new = OTHER_SEED + seed
    model = world.trained(world.everything, new)
    return served(model, world.manifest(world.everything), new)


CHEATS: tuple[Cheat, ...] = (
    Cheat("untouched model", "the original is the retrained model", _weights(_untouched)),
    Cheat("last layer only", "a new last layer is a new model", _weights(edits.last_layer)),
    Cheat("noise on weights", "other bytes are other weights", _weights(edits.noisy)),
    Cheat("a little fine-tuning", "an epoch without them is enough", _weights(edits.finetuned)),
    Cheat("first-order step only", "a lower margin is removal", _weights(edits.first_order)),
    Cheat("read-out stripped", "without the read-out nothing is known", _weights(edits.stripped)),
    Cheat("hidden units permuted", "another order is another model", _weights(edits.permuted)),
    Cheat(
        "codes scrubbed, data kept", "no code, no data", _weights(imitations.scrubbed), coded=True
    ),
    Cheat("margin fitted", "margins of a retrained model", _weights(imitations.margin_fitted)),
    Cheat("output filter", "the answers know nothing of them", _filtered),
    Cheat("model swapped", "what was audited is what answers", _swapped),
    Cheat("another manifest", "a replay that fits, of a training with them", _elsewhere),
    Cheat("distilled", "a new model that never saw them", _weights(imitations.distilled)),
)

# what no audit but a replay sees everywhere, with the reason
NOT_DETECTABLE: dict[str, str] = {
    "distilled": (
        "The student never saw the records, only what their influence did to the teacher's answers"
        " to others. Weights and features are those of a new model. With few images and two runs"
        " nothing but a replay catches it; at full size U-LiRA flagged 26 of 28."
    ),
    "margin fitted": (
        "Its answers to the request are those of models that never had it. Its features and its"
        " other answers often give it away; with few records and two runs nothing but a replay may"
        " catch it. U-LiRA, whose models are fitted too, flagged 14 of 28 at full size."
    ),
}
