"""The directions along which influence is looked for: all weights, single layers, outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter, NoOp
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]
    Outputs = Callable[[nn.Module, Batch], Tensor]
    Direction = dict[str, Tensor]


def difference(before: nn.Module, after: nn.Module) -> Direction:
    """theta_B - theta_A by name of the parameter, in the type of A.

    Raises:
        BadData: the models have other parameters, or a difference is not finite.
        NoOp: no parameter differs.
    """
    import torch

    mine = dict(before.named_parameters())
    theirs = dict(after.named_parameters())
    shapes = [{name: tuple(p.shape) for name, p in found.items()} for found in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise BadData(
            f"The models before and after have {len(mine)} and {len(theirs)} parameters, and they"
            " differ in name or shape.",
            "A difference needs the same architecture.",
            "Compare outputs, or build both from one recipe.",
        )
    with torch.no_grad():
        found = {name: theirs[name].to(p) - p for name, p in mine.items()}
    for name, part in found.items():
        checked_values(part.flatten(), f"differences of {name}")
    if not any(bool(part.any()) for part in found.values()):
        raise NoOp(
            "The models before and after have the same weights.",
            "Nothing has moved in any direction.",
            "Check which two versions were loaded.",
        )
    return found


def layers(direction: Mapping[str, Tensor]) -> dict[str, Direction]:
    """The parts of a direction by submodule, each at length 1; submodules that did not move drop.

    Names are those of the parameter without its last part: weight and bias go together.
    """
    found: dict[str, Direction] = {}
    for name, part in direction.items():
        found.setdefault(name.rpartition(".")[0], {})[name] = part
    lengths = {
        layer: sum(float((part.double() ** 2).sum()) for part in parts.values()) ** 0.5
        for layer, parts in found.items()
    }
    return {
        layer: {name: part / lengths[layer] for name, part in parts.items()}
        for layer, parts in found.items()
        if lengths[layer] > 0
    }


def towards(
    before: nn.Module, outputs: Outputs, queries: Iterable[Batch], after: Iterable[Tensor]
) -> Direction:
    """The logit-space direction: gradient at A of sum_q <f(x_q), f_B(x_q) - f_A(x_q)>.

    Nothing of B is needed but its outputs. Each query's difference is centred over its outputs,
    since a constant added to all logits is no answer.

    Args:
        before: A, in evaluation mode.
        outputs: of a module and a batch, (n, ...).
        queries: batches.
        after: outputs of B on the same batches.

    Raises:
        BadParameter: A is in training mode.
        BadData: no queries, not as many outputs, another shape.
    """
    import torch

    refuse_training(before)
    weights = dict(before.named_parameters())
    found = {name: torch.zeros_like(p) for name, p in weights.items()}
    given, count = list(after), 0
    for count, batch in enumerate(queries, start=1):
        with torch.enable_grad(), _learning(before):
            mine = outputs(before, batch).flatten(1)
            theirs = _matching(mine, given, count).flatten(1).to(mine)
            gap = (theirs - mine).detach()
            # one output has no others to be centred over
            gap = gap - gap.mean(1, keepdim=True) if gap.shape[1] > 1 else gap
            parts = torch.autograd.grad(
                (mine * gap).sum(), list(weights.values()), allow_unused=True
            )
        for name, part in zip(weights, parts, strict=True):
            if part is not None:
                found[name] += part
    if count == 0 or count != len(given):
        raise BadData(
            f"There are {count} batches of queries and outputs of {len(given)}.",
            "Each query needs the answer of the model after.",
            "Ask both models the same queries.",
        )
    return found


def refuse_training(module: nn.Module) -> None:
    """Raise ``BadParameter`` where a part of the module is in training mode."""
    if any(part.training for part in module.modules()):
        raise BadParameter(
            "The model before, or a part of it, is in training mode.",
            "Dropout and batch statistics would be part of the scores.",
            "Call module.eval() first.",
        )


@contextmanager
def _learning(module: nn.Module) -> Iterator[None]:
    """Gradients for all parameters, within."""
    held = [(p, p.requires_grad) for p in module.parameters()]
    try:
        for parameter, _ in held:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, before in held:
            parameter.requires_grad_(before)


def _matching(mine: Tensor, given: Sequence[Tensor], count: int) -> Tensor:
    """The outputs of B on the batch with this number."""
    theirs = given[count - 1] if count <= len(given) else None
    if theirs is None or theirs.numel() != mine.numel():
        there = "none" if theirs is None else f"shape {tuple(theirs.shape)}"
        raise BadData(
            f"Batch {count} has outputs of {mine.numel()} numbers before, and after {there}.",
            "Each query needs the answers of both models.",
            "Ask both models the same queries, in the same batches.",
        )
    return theirs
