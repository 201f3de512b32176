"""One Newton step away from the forget set (Koh and Liang, 2017, arXiv 1703.04730; Izzo et al.,
2021, arXiv 2002.10077).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter, Diverged
from rescind.core.protocols import Editable, ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.core.search import Range
from rescind.methods.base import ANY, OnePart, Work, edit

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64  # forgotten records whose gradients are taken together
COLUMNS = 65_536  # parameters that are held in double precision at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence(OnePart):
    """theta = theta_0 + scale H^-1 sum_forget grad loss / n_retain (1703.04730, section 2.1; the
    Newton step of 2002.10077, section 2).

    H, the Hessian on the retain set, is taken for the empirical Fisher G^T G / N + damping I, G the
    gradients of ``samples`` retained records drawn by the seed, as in WoodFisher (Singh and
    Alistarh, 2020, arXiv 2004.14340). The step is as good as that and as a parabola is near.
    """

    damping: float = 0.1
    samples: int = 256
    scale: float = 1.0
    seed: int = 0

    # ours: a decade round the step of the theory, since the empirical Fisher is not the Hessian
    searched: ClassVar[Mapping[str, Range]] = {
        "damping": Range(1e-2, 1.0, "log"),
        "scale": Range(0.1, 10.0, "log"),
    }

    def __post_init__(self) -> None:
        if not self.damping > 0.0 or not self.scale > 0.0 or self.samples < 1 or self.seed < 0:
            raise BadParameter(
                f"damping is {self.damping}, scale {self.scale}, samples {self.samples}, seed"
                f" {self.seed}.",
                "damping and scale must be above 0, samples at least 1, seed at least 0.",
                "Correct them with --set name=value.",
            )

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """One step from the weights as they are.

        Raises:
            UnsupportedModel: a model of several parts.
            Refused: the retain set is empty.
            Diverged: a gradient was no finite number.
        """
        return edit(model, split, run, ANY, self.change)

    def change(self, work: Work) -> None:
        """The step, in the parameters that may change."""
        import torch
        from torch.nn.utils import parameters_to_vector, vector_to_parameters

        from rescind.training.descent import parameters, rows, take

        count = rows(work.retain)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        drawn = take(work.retain, order[: self.samples])
        forgotten, fisher = summed(work.model, work.forget), single(work.model, drawn)
        step = solve(fisher, forgotten / count, self.damping)
        moving = parameters(work.model)
        with torch.no_grad():
            vector_to_parameters(parameters_to_vector(moving) + self.scale * step, moving)


def summed(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    """The gradient of the summed loss of all rows, shape (parameters that may change,).

    Raises:
        Diverged: one is no finite number.
    """
    import torch

    from rescind.training.descent import parameters, rows

    moving = parameters(model)
    total = torch.zeros(
        sum(p.numel() for p in moving), dtype=moving[0].dtype, device=moving[0].device
    )
    for start in range(0, rows(batch), ROWS):
        piece = {name: tensor[start : start + ROWS] for name, tensor in batch.items()}
        each = torch.autograd.grad(
            _loss(model, piece), moving, materialize_grads=True, allow_unused=True
        )
        total += torch.cat([g.reshape(-1) for g in each])
    return _finite(total)


def single(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    """The gradient of each row's loss, shape (rows, parameters that may change).

    Raises:
        Diverged: one is no finite number.
    """
    import torch

    from rescind.training.per_record import gradients

    pieces = gradients(model, batch, _loss)
    return _finite(torch.cat([torch.cat([g.flatten(1) for g in piece], dim=1) for piece in pieces]))


def _loss(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    return model.task.loss(model.outputs(batch), batch).sum()


def _finite(found: Tensor) -> Tensor:
    if not bool(found.isfinite().all()):
        raise Diverged(
            "The gradient of a record is no finite number.",
            "No step can be made from it; the model that was served before serves on.",
            "Retrain, or use another method.",
        )
    return found


def solve(fisher: Tensor, vector: Tensor, damping: float) -> Tensor:
    """(G^T G / N + damping I)^-1 v for G (N, d) and v (d,), as v's type.

    By Woodbury's identity (v - G^T (N damping I + G G^T)^-1 G v) / damping: an N x N system, solved
    in double precision, since the difference cancels where the damping is small.
    """
    import torch

    count = len(fisher)
    gram = torch.eye(count, dtype=torch.float64, device=fisher.device) * (count * damping)
    seen = torch.zeros(count, dtype=torch.float64, device=fisher.device)
    widths = range(0, len(vector), COLUMNS)
    pieces = [(fisher[:, i : i + COLUMNS], vector[i : i + COLUMNS]) for i in widths]
    for part, piece in pieces:
        wide = part.double()
        gram += wide @ wide.T
        seen += wide @ piece.double()
    factor = torch.linalg.cholesky(gram)
    weights = torch.cholesky_solve(seen[:, None], factor)[:, 0]
    steps = [(piece.double() - part.double().T @ weights) / damping for part, piece in pieces]
    return torch.cat(steps).to(vector)
