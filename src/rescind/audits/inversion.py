"""Inversion: what the records that were unlearned looked like, from the pair of models alone.

A step that removes a record moves the weights along its gradient, and the gradient gives the record
away. H. Hu et al., S&P 2024 (arXiv 2404.03233), match it by optimisation; M. Bertran et al.,
NeurIPS 2024 (arXiv 2405.20272), read simple models off exactly. Like ``update_attack`` this speaks
of the *pair*: it says what publishing both models tells a stranger. Exact unlearning of a convex
model is found too, so a residue found here is no fault of the model after alone.

It has power over one record, or a few, and updates near first order: gradient ascent, influence
steps, NegGrad+ over one record. It has none over retraining, with another seed, where two models
differ far more than by the record, or with the same one and even the same batches; nor over
fine-tuning, whose change is not the record's (``benchmarks/pair_attacks.py``). Of many records of
one class the gradients add up, and less of each is found. Records with a loss of 2e-6 and less were
missed there; where a model is so sure of one that its step is lost in float32, nothing is left to
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.audits.neighbours import centred, nearest_retained
from rescind.audits.permutation import DRAWS, permuted
from rescind.audits.rows import checked_kinds, checked_mask
from rescind.core.errors import BadData, BadParameter, Diverged, InsufficientEvidence, NoOp

if TYPE_CHECKING:
    from torch import Tensor, nn

    Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]

AUDIT = "inversion_of_pair"
UNIT = "cosine with the record above that with its neighbours, beyond other records"
NEIGHBOURS = 5
CONTROLS = 40  # beside one record the least p is then 1/41


@dataclass(frozen=True, slots=True)
class Matching:
    """How ``match_gradient`` searches: Adam from ``starts`` random points, the best is kept.

    ``smooth`` weighs the mean difference of adjacent values along the last two dimensions, as in
    J. Geiping et al., NeurIPS 2020 (arXiv 2003.14053); 0 for records that are no pictures.
    """

    steps: int = 300
    lr: float = 0.05
    starts: int = 2
    smooth: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.starts < 1 or not self.lr > 0 or not self.smooth >= 0:
            raise BadParameter(
                f"{self}.",
                "Steps and starts must be 1 or more, lr above 0, smooth at least 0.",
                "Use Matching(), or correct what lies outside.",
            )


def change(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """Weights after minus before, by name: the direction in which a removal raises a loss.

    Raises:
        BadData: modules of other names or shapes.
        NoOp: no weight differs; there is nothing to invert.
    """
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    if {n: w.shape for n, w in old.items()} != {n: w.shape for n, w in new.items()}:
        raise BadData("The two modules have other weights.", do="Pass one model before and after.")
    found = {name: (new[name] - weight).detach() for name, weight in old.items()}
    if not any(bool(moved.any()) for moved in found.values()):
        raise NoOp(
            "No weight differs between the two models.",
            "There is nothing to invert: nothing was removed, or one model was passed twice.",
            "Pass the model before and the one after.",
        )
    return found


def from_first_layer(weight: Tensor, bias: Tensor) -> Tensor:
    """The input (d,) from the change (h, d) and (h,) of a linear layer that sees it.

        x = dW^T db / |db|^2.

    The gradient of W is the outer product of that of b and x, so that any number of plain gradient
    steps on one record gives it exactly. Of several records it is a weighted mean.

    Raises:
        BadData: shapes that do not fit, or a bias that did not change.
    """
    if weight.dim() != 2 or bias.shape != weight.shape[:1]:
        raise BadData(
            f"A weight {tuple(weight.shape)} has no bias {tuple(bias.shape)}.",
            "The record is read off a linear layer, one bias an output.",
            "Pass the changes of the first nn.Linear, or use match_gradient.",
        )
    size = bias.double().square().sum()
    if not size > 0:
        raise BadData("The bias of the layer did not change.", do="Use match_gradient.")
    found: Tensor = weight.double().T @ bias.double() / size
    return found


def match_gradient(
    before: nn.Module,
    loss: Loss,
    moved: Mapping[str, Tensor],
    labels: Tensor,
    shape: Sequence[int],
    matching: Matching | None = None,
) -> Tensor:
    """Inputs (n, *shape) whose gradient at the model before is most like the change of weights.

        minimise over x: 1 - cos(grad loss(x, labels), moved) + smooth * roughness(x).

    Args:
        before: in evaluation mode; it is not changed.
        loss: of a module, inputs and labels; the mean over records.
        moved: from ``change``.
        labels: (n,), one for each record that was unlearned; the auditor knows them.
        shape: of one input.
        matching: the search.

    Raises:
        Diverged: no start gives a finite gradient.
    """
    import torch

    chosen = Matching() if matching is None else matching
    weights = [p for p in before.parameters() if p.requires_grad]
    if not weights:
        raise BadParameter("No weight of the module requires a gradient.", do="Thaw the copy.")
    target = [moved[name] for name, p in before.named_parameters() if p.requires_grad]
    generator, best, least = torch.Generator().manual_seed(chosen.seed), None, float("inf")
    for _ in range(chosen.starts):
        x = (0.1 * torch.randn(len(labels), *shape, generator=generator)).requires_grad_(True)
        optimizer = torch.optim.Adam([x], lr=chosen.lr)
        for _ in range(chosen.steps):
            gradients = torch.autograd.grad(loss(before, x, labels), weights, create_graph=True)
            far = 1 - _cosine(gradients, target)
            (x.grad,) = torch.autograd.grad(far + chosen.smooth * _roughness(x), x)
            if float(far.detach()) < least:
                best, least = x.detach().clone(), float(far.detach())
            optimizer.step()
    if best is None:
        raise Diverged("No start gave a finite gradient.", do="Use a smaller lr.")
    return best


def inversion_finding(
    inverted: Tensor,
    inverted_labels: Tensor,
    records: Tensor,
    labels: Tensor,
    requested: Tensor,
    level: float = 0.05,
    power: float | None = None,
    seed: int = 0,
) -> Finding:
    """Test that what was inverted is no more like the requested records than like others.

    A record's score is its cosine with the nearest inversion of its class, both without the mean of
    the class, minus the mean score of its nearest neighbours: whoever guesses the neighbourhood has
    not got the record. The score of each requested record stands beside those of controls, others
    of its class drawn at random and not requested, in a permutation test. It is exact where the
    requested records are drawn like the others.

    Args:
        inverted: (m, ...) from ``from_first_layer`` or ``match_gradient``.
        inverted_labels: (m,).
        records: (n, ...) requested ones and others, of the same shape.
        labels: (n,).
        requested: (n,) bool.
        level: the p-value below which the null is rejected.
        power: how often pairs with a known answer are rejected; None leaves it unsaid.
        seed: of the controls and draws.

    Raises:
        BadData: shapes that do not fit; a class with too few others.
        InsufficientEvidence: so few controls that no p is below the level, or a class that is
            requested and not inverted.
    """
    values = _scores(inverted, inverted_labels, records, labels, requested)
    test = permuted(values[_groups(labels, requested, seed)], DRAWS, seed, level)
    low, high = test.null.quantile(test.null.new_tensor([0.025, 0.975])).tolist()
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=int(requested.sum()),
        p=test.above,
        effect=test.gap,
        interval=(test.gap - max(0.0, high), test.gap - min(0.0, low)),
        unit=UNIT,
        level=level,
        power=power,
    )


def likeness(inverted: Tensor, inverted_labels: Tensor, records: Tensor, labels: Tensor) -> Tensor:
    """Cosine (n,) of each record with the nearest inversion of its class, the class mean taken off.

    Records of a class that was not inverted have 0.
    """
    import torch

    flat, found = records.double().flatten(1), inverted.double().flatten(1).to(records.device)
    scores = torch.zeros(len(flat), dtype=torch.float64)
    for kind in torch.unique(inverted_labels).tolist():
        here = labels == kind
        middle = flat[here].mean(0)
        ours = torch.nn.functional.normalize(found[inverted_labels == kind] - middle, dim=1)
        theirs = torch.nn.functional.normalize(flat[here] - middle, dim=1)
        scores[here] = (theirs @ ours.T).max(1).values.cpu()
    return scores


def _scores(
    inverted: Tensor, inverted_labels: Tensor, records: Tensor, labels: Tensor, requested: Tensor
) -> Tensor:
    """``likeness`` beyond that of the neighbours, (n,); of classes that are not requested 0."""
    import torch

    kinds, asked = (
        checked_kinds(labels, len(records)),
        checked_mask(requested, len(records), "requested"),
    )
    if inverted[0].numel() != records[0].numel() or len(inverted) != len(inverted_labels):
        raise BadData(
            f"Inversions {tuple(inverted.shape)} with {len(inverted_labels)} labels beside records"
            f" {tuple(records.shape)}.",
            do="Invert to the shape of the records, with a label each.",
        )
    lacking = sorted(set(kinds[asked].tolist()) - set(inverted_labels.tolist()))
    if lacking:
        raise InsufficientEvidence(
            f"Class {lacking[0]} is requested and was not inverted.", do="Invert its label too."
        )
    like = likeness(inverted, inverted_labels, records, kinds)
    queries = torch.isin(kinds, kinds[asked]).nonzero().flatten()
    near = nearest_retained(records.flatten(1), kinds, queries, ~asked, NEIGHBOURS)
    found = torch.zeros_like(like)
    found[queries] = centred(like, queries, near)
    return found


def _groups(labels: Tensor, requested: Tensor, seed: int) -> Tensor:
    """Rows (q, 1 + controls): each requested record and controls of its own, of its class."""
    import torch

    generator, rows = torch.Generator().manual_seed(seed), []
    kinds = torch.unique(labels[requested]).tolist()
    pools = [((labels == k) & ~requested).nonzero().flatten() for k in kinds]
    asked = [((labels == k) & requested).nonzero().flatten() for k in kinds]
    each = min(CONTROLS, *(len(p) // len(a) for p, a in zip(pools, asked, strict=True)))
    for own, pool in zip(asked, pools, strict=True):
        drawn = pool[torch.randperm(len(pool), generator=generator)[: each * len(own)]]
        rows.append(torch.cat([own[:, None], drawn.reshape(len(own), each)], 1))
    return torch.cat(rows)


def _cosine(gradients: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Of all weights together."""
    import torch

    one, other = (torch.cat([t.flatten() for t in parts]) for parts in (gradients, target))
    return torch.nn.functional.cosine_similarity(one, other, dim=0)


def _roughness(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along the last two dimensions, 0 where x has one."""
    if x.dim() < 3:
        return x.new_zeros(())
    return x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()
