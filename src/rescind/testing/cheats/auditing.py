"""The audits of the matrix, a list of named functions: add one here and it has a column.

Each reads one case and says p, below the level where it takes the server for a cheat. An audit that
has nothing to go by gives None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rescind.audits.lira_group import group_finding
from rescind.audits.margin_difference import measure
from rescind.audits.population import population_scores
from rescind.audits.seeding.bits import matched_bits
from rescind.audits.seeding.kernel import kernel_test
from rescind.audits.seeding.readout import centred, read_bits
from rescind.audits.shadows import unlearned_shadows
from rescind.testing.cheats.evidence import manifest, no_op, release, replay
from rescind.testing.cheats.look import Look
from rescind.testing.cheats.panel import Case, Panel, rank
from rescind.testing.cheats.reading import LEVEL, Reading
from rescind.testing.cheats.statistics import (
    DRAWS,
    accuracy,
    drop,
    extent,
    head_area,
    higher,
    jumps,
    likeness,
    mutual,
    question,
)

if TYPE_CHECKING:
    from torch import Tensor

Access = Literal["answers", "weights", "certificate", "training"]


Read = Callable[[Panel, Case], Reading | None]


@dataclass(frozen=True, slots=True)
class Audit:
    """A column: what it takes beside the records, and what it asks."""

    name: str
    access: Access
    read: Read


def population(panel: Panel, case: Case) -> Reading:
    """Do the requested records have a lower loss than records held out of all training?"""
    world, asked = panel.world, panel.world.requested
    labels = world.inputs["labels"][asked]
    inside = population_scores(case.after.logits[asked], labels, "loss")
    outside = population_scores(case.after.outside, world.outside_inputs["labels"], "loss")
    return Reading(*higher(inside, outside))


def lira(panel: Panel, case: Case) -> Reading:
    """Do their margins, together, look like those of models that saw them?"""
    found = group_finding(_own(panel, case.after), panel.shadows())
    return Reading(found.p, found.effect)


def u_lira(panel: Panel, case: Case) -> Reading | None:
    """Do they look like those of models that this very method has treated?"""
    if case.treated is None:
        return None
    shadows = unlearned_shadows(case.treated, panel.retrained_margins)
    found = group_finding(_own(panel, case.after), shadows, audit="u_lira")
    return Reading(found.p, found.effect)


def margin_difference(panel: Panel, case: Case) -> Reading:
    """Did their margins fall beside their neighbours' as far as retraining makes them fall?

    p counts models; the audit's own words stand beside it.
    """
    fell, p = panel.p("margin_difference", drop, case, "both")
    own = measure(question(panel, case.before), case.after.margins(panel.world), draws=DRAWS)
    return Reading(p, fell if own.extent is None else own.extent, own.told)


def shadow_difference(panel: Panel, case: Case) -> Reading:
    """The same, weighted by how far shadow models say that each record's margin must fall."""
    found, p = panel.p("shadow_difference", extent, case, "both")
    return Reading(p, found)


def utility(panel: Panel, case: Case) -> Reading:
    """Is the accuracy on held-out records below that of retrained models?"""
    found, p = panel.p("utility", accuracy, case, "low", paired=False)
    return Reading(p, found)


def near_copies(panel: Panel, case: Case) -> Reading:
    """Do answers to the records jump where the input changes by nothing that anyone could see?"""
    found, p = panel.p("near copies", jumps, case, "high", paired=False)
    return Reading(p, found)


def kinship(panel: Panel, case: Case) -> Reading:
    """Are the features nearer to the original's than those of models retrained from its seed?"""
    found, p = panel.p("kinship", likeness, case, "high")
    return Reading(p, found)


def depth(panel: Panel, case: Case) -> Reading:
    """Are the features of the records further from retrained models' than these from each other?"""
    means = mutual(panel, case.after)
    return Reading(rank(means[0], means[1:], "low"), means[0])


def new_head(panel: Panel, case: Case) -> Reading:
    """With a last layer of the auditor's own on the features: do the records look like members?"""
    found, p = panel.p("new head", head_area, case, "high", paired=False)
    return Reading(p, found)


def seeding_bits(panel: Panel, case: Case) -> Reading | None:
    """Do the bits that the user's read-out gives match the codes?"""
    world = panel.world
    if world.codes is None:
        return None
    own, public = world.inputs["labels"][world.requested], world.public_inputs["labels"]
    about = centred(case.after.codes_layer, case.after.codes_public, own.tolist(), public.tolist())
    found = matched_bits(read_bits(about, world.readout), world.own_codes, LEVEL)
    return Reading(found.p, found.effect)


def seeding_kernel(panel: Panel, case: Case) -> Reading | None:
    """Do the features foretell the codes, whatever the order of the units?"""
    world = panel.world
    if world.codes is None:
        return None
    found = kernel_test(case.after.codes_layer, world.own_codes, seed=0, draws=DRAWS, level=LEVEL)
    return Reading(found.p, found.effect)


AUDITS: tuple[Audit, ...] = (
    Audit("population", "answers", population),
    Audit("LiRA", "answers", lira),
    Audit("U-LiRA", "answers", u_lira),
    Audit("margin difference", "weights", margin_difference),
    Audit("shadow difference", "weights", shadow_difference),
    Audit("utility", "answers", utility),
    Audit("near copies", "answers", near_copies),
    Audit("kinship", "weights", kinship),
    Audit("depth (CKA)", "weights", depth),
    Audit("new head", "weights", new_head),
    Audit("seeding: bits", "weights", seeding_bits),
    Audit("seeding: kernel", "weights", seeding_kernel),
    Audit("no-op", "certificate", no_op),
    Audit("release digest", "certificate", release),
    Audit("manifest", "certificate", manifest),
    Audit("replay", "training", replay),
)


def _own(panel: Panel, after: Look) -> Tensor:
    return after.margins(panel.world)[panel.world.requested]
