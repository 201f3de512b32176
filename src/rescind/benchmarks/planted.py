"""A cheat with a known answer: it gives the retrained model's outputs and keeps all else.

The backbone is that of the original model and its last linear layer is fitted to what a retrained
model answers. Metrics of outputs must let it pass and metrics of representations must not; where
they do otherwise, it is they that are at fault. It is no method: it needs the retrained model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, UnsupportedModel
from rescind.core.task import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.training.models import TrainedModel

LIMIT = 4_096  # examples that the layer is fitted to
SIZE = 256  # examples that go through a model at once
STEPS = 200  # of L-BFGS, each with its line search
PENALTY = 1e-6  # half its product with the squared change keeps the minimum finite


def planted(
    original: TrainedModel, retrained: TrainedModel, batch: Mapping[str, Tensor], seed: int
) -> TrainedModel:
    """A copy of ``original`` that answers like ``retrained``; only its last nn.Linear is another.

    With z the input of that layer and p the retrained model's answer, W and b minimise the mean of
    KL(p || softmax(W z + b)) over examples, and over tokens where there are some; of numbers, the
    mean squared difference. L-BFGS in float64, from the original's own layer.

    Args:
        original: in evaluation mode; it is not changed.
        retrained: of the same task.
        batch: what both take, examples of retain and forget set; labels play no part.
        seed: draws 4,096 of the examples where there are more; else it plays no part.

    Raises:
        BadData: there are no examples.
        UnsupportedModel: there is no nn.Linear, the outputs are not those of the last one, or it
            shares its weights with another layer.
    """
    import torch

    found = copy.deepcopy(original)
    head = _head(found.module)
    batch = _draw(batch, seed)
    inputs, outputs = _through(found, head, batch)
    with torch.no_grad():
        same = torch.allclose(_shaped(head(inputs), outputs), outputs, rtol=1e-4, atol=1e-5)
    if not same:
        raise UnsupportedModel(
            "The outputs of the model are not those of its last nn.Linear.",
            "Never: a layer can only be fitted to outputs that it gives.",
            "Leave the planted case out for this model.",
        )
    _, wanted = _through(retrained, None, batch)
    weight, bias = _fit(head, inputs, wanted, original.task.target)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)
    return found


def _fit(head: nn.Linear, inputs: Tensor, wanted: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,), in float64; the bias stays as it is where there is none."""
    import torch

    z = inputs.reshape(-1, inputs.shape[-1]).double()
    answers = wanted.reshape(len(z), -1).double()
    start = head.weight.detach().double()
    weight = start.clone().requires_grad_(True)
    bias = torch.zeros(len(start), dtype=torch.float64, device=start.device)
    fitted = [weight]
    if head.bias is not None:
        bias = head.bias.detach().double().requires_grad_(True)
        fitted.append(bias)
    optimizer = torch.optim.LBFGS(
        fitted, max_iter=STEPS, tolerance_grad=1e-9, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _distance(z @ weight.T + bias, answers, target)
        loss = loss + PENALTY / 2 * ((weight - start) ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _distance(given: Tensor, wanted: Tensor, target: Target) -> Tensor:
    from torch.nn.functional import kl_div

    if target == "numbers":
        return ((given - wanted) ** 2).mean()
    return kl_div(
        given.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
    )


def _through(
    model: TrainedModel, layer: nn.Module | None, batch: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """What entered the layer, and the outputs, of all examples; no inputs where no layer is."""
    import torch

    entered: list[Tensor] = []
    outputs: list[Tensor] = []
    part = model.module if layer is None else layer
    hook = part.register_forward_pre_hook(
        lambda module, inputs: None if layer is None else entered.append(inputs[0].detach())
    )
    n = len(next(iter(batch.values())))
    try:
        with torch.no_grad():
            for start in range(0, n, SIZE):
                rows = {name: t[start : start + SIZE] for name, t in batch.items()}
                outputs.append(model.outputs(rows))
    finally:
        hook.remove()
    return torch.cat(entered or outputs), torch.cat(outputs)


def _shaped(given: Tensor, like: Tensor) -> Tensor:
    """As the outputs; numbers lose the last dimension, which is one."""
    return given.reshape(like.shape) if given.numel() == like.numel() else given


def _draw(batch: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    import torch

    n = len(next(iter(batch.values()), ()))
    if not n:
        raise BadData(
            "There are no examples.",
            "A layer is fitted to the answers to some.",
            "Pass the retain and the forget set.",
        )
    inputs = {name: t for name, t in batch.items() if name != "labels"}
    if n <= LIMIT:
        return inputs
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:LIMIT]
    return {name: t[chosen] for name, t in inputs.items()}


def _head(module: nn.Module) -> nn.Linear:
    """The last nn.Linear, if its parameters are its own."""
    from torch import nn

    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise UnsupportedModel(
            f"{type(module).__name__} has no nn.Linear.",
            "Never: there is no last layer to fit.",
            "Leave the planted case out for this model.",
        )
    own = list(map(id, layers[-1].parameters()))
    uses = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    if any(uses.count(parameter) > 1 for parameter in own):
        raise UnsupportedModel(
            "The last nn.Linear shares its weights with another layer.",
            "Never: to change it alone is then not possible.",
            "Leave the planted case out for this model, or untie its weights.",
        )
    return layers[-1]
