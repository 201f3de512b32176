"""What the audits of the matrix count models by: one number of a model before and one after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.holdout_gap import Holdout
from rescind.audits.margin_difference import Question, changes, prepare
from rescind.audits.neighbours import centred, nearest_retained
from rescind.audits.shadow_difference import Records, foretold
from rescind.audits.shadows import trained_shadows
from rescind.metrics.cka import LinearCka
from rescind.metrics.membership import auc, margin
from rescind.testing.cheats.look import Look
from rescind.testing.cheats.panel import Panel

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 1_999
RIDGE = 1e-2


def question(panel: Panel, before: Look) -> Question:
    """Controls and neighbours of the request in the model before."""
    world = panel.world

    def asked() -> Question:
        held = Holdout(before.outside_margins(world), world.outside_inputs["labels"])
        return prepare(
            before.margins(world), world.inputs["labels"], before.features, world.requested,
            holdout=held,
        )  # fmt: skip

    found: Question = panel.once(("question", before), asked)
    return found


def drop(panel: Panel, before: Look, after: Look) -> float:
    """How far margins fell beside those of the controls, in nats."""
    found = changes(question(panel, before), after.margins(panel.world))
    return float((found[:, 1:].mean(1) - found[:, 0]).mean())


def extent(panel: Panel, before: Look, after: Look) -> float:
    """T of the requested records over what it is for removed ones, as ``shadow_difference``."""
    world = panel.world
    rows = world.pool.nonzero().flatten()

    def shadows() -> tuple[Tensor, Records]:
        labels, retained = world.inputs["labels"], ~world.pool
        near = nearest_retained(before.features, labels, rows, retained)
        margins = centred(panel.half_margins, rows, near)
        return near, foretold(trained_shadows(margins, panel.seen[:, rows]))

    near, records = panel.once(("shadows", before), shadows)
    t, expected, _ = records.scores(centred(after.margins(world), rows, near))
    asked = world.requested[rows]
    return float(t[asked].sum() / expected[asked].sum())


def accuracy(panel: Panel, before: Look, after: Look) -> float:
    """Share of right answers to records held out; the model before plays no part."""
    right = after.outside.argmax(1) == panel.world.outside_inputs["labels"]
    return float(right.double().mean())


def likeness(panel: Panel, before: Look, after: Look) -> float:
    """CKA of the features of records that no model was trained on."""
    return cka(before.outside_features, after.outside_features)


def cka(one: Tensor, other: Tensor) -> float:
    """Of features (n, d1) and (n, d2)."""
    found = LinearCka()
    found.add(one, other)
    return found.value()


def mutual(panel: Panel, after: Look) -> list[float]:
    """Mean CKA of the request's features to all other models: first this one's, then each
    retrained model's, which has this one among the others.
    """
    asked = panel.world.requested
    theirs = [each.features[asked] for each in panel.retrained]

    def among() -> list[float]:
        r = range(len(theirs))
        return [sum(cka(theirs[i], theirs[j]) for j in r if j != i) for i in r]

    sums = panel.once("mutual CKA", among)
    own = [cka(after.features[asked], each) for each in theirs]
    return [sum(own) / len(own), *((s + o) / len(own) for s, o in zip(sums, own, strict=True))]


def jumps(panel: Panel, before: Look, after: Look) -> float:
    """Mean change of the request's margins, in nats, when inputs change by nothing to see."""
    world, asked = panel.world, panel.world.requested
    labels = world.inputs["labels"][asked]
    moved = margin(after.near, labels) - margin(after.logits[asked], labels)
    return float(moved.abs().mean())


def head_area(panel: Panel, before: Look, after: Look) -> float:
    """AUC of the request's margins over those of outside records, by a layer of the auditor's."""
    import torch

    world, asked = panel.world, panel.world.requested
    middle, scale = after.public_features.mean(0), after.public_features.std(0) + 1e-6
    parts = (after.public_features, after.features[asked], after.outside_features)
    public, *others = (((part - middle) / scale).double() for part in parts)
    weight = linear_head(public, world.public_inputs["labels"], after.logits.shape[1])
    labels = (world.inputs["labels"][asked], world.outside_inputs["labels"])
    logits = [torch.nn.functional.pad(z, (0, 1), value=1.0) @ weight for z in others]
    margins = [margin(z, y) for z, y in zip(logits, labels, strict=True)]
    return auc(margins[0], margins[1])


def higher(inside: Tensor, outside: Tensor) -> tuple[float, float]:
    """One-sided p of the permutation test of mean ranks, and the AUC.

    Exact where the requested records were drawn as the held-out ones are and the model saw neither.
    """
    import torch

    both = torch.cat([inside, outside]).double()
    ordered = both.sort().values
    below, upto = (torch.searchsorted(ordered, both, right=r) for r in (False, True))
    ranks = (below + upto).double() / 2
    n = len(inside)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(DRAWS, len(both), generator=generator).topk(n, dim=1).indices
    own, null = float(ranks[:n].mean()), ranks[drawn].mean(1)
    area = (own - n / 2) / len(outside)
    return (1 + int((null >= own - 1e-9 * own).sum())) / (1 + DRAWS), area


def linear_head(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Multinomial logistic regression with a ridge, (width + 1, classes), by L-BFGS."""
    import torch

    inputs = torch.nn.functional.pad(features, (0, 1), value=1.0)
    weight = torch.zeros(inputs.shape[1], classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight, labels)
        loss = loss + RIDGE / 2 * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach()
