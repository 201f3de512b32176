"""The network of the reconstructor: from posterior differences to records, and nothing else in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.posterior_difference import directions
from rescind.audits.rows import checked_rows
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How a reconstructor is trained; ``latent``, ``epochs`` and ``batch`` are the paper's."""

    width: int = 128
    latent: int = 128
    epochs: int = 50
    batch: int = 16
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.width, self.latent, self.epochs, self.batch)
        if min(counts) < 1 or not 0.0 < self.lr < float("inf"):
            raise BadParameter(
                f"No reconstructor can be trained so: {self}.",
                "Sizes and epochs are whole numbers of 1 or more, lr is above 0.",
                "Fitting() is what was measured.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Reconstructor:
    """From posterior differences to records; ``rows`` are those it was fitted on."""

    module: nn.Module
    rows: Tensor
    mean: Tensor
    scale: float
    queried: int

    def __call__(self, differences: Tensor) -> Tensor:
        """(m, p) to records (m, *shape). Nothing of the records themselves goes in.

        Raises:
            BadData: answers to other queries, or not finite.
        """
        import torch

        if differences.dim() != 2 or differences.shape[1] != self.queried:
            raise BadData(
                f"The differences have the shape {tuple(differences.shape)}.",
                f"The reconstructor was fitted on {self.queried} answers each.",
                "Ask the same queries as for the shadows, and pass (m, p).",
            )
        with torch.no_grad():
            found: Tensor = self.module(directions(differences) * self.queried**0.5)
        return self.mean + self.scale * found.reshape(-1, *self.mean.shape)


def fit(
    differences: Tensor, images: Tensor, rows: Tensor, settings: Fitting | None = None
) -> Reconstructor:
    """Train a reconstructor on imitated removals, one record each, by the mean squared error.

    Args:
        differences: (m, p) of ``posterior_difference.first_order``, of single records.
        images: (n, *shape), all training records that will be asked about, and the auditor's own.
        rows: (m,) of the auditor's own records, in the order of the differences.
        settings: of the training.

    Raises:
        BadData: shapes that do not fit, a record twice, or records that do not vary.
    """
    import torch

    rows = checked_rows(rows, len(images), "auditor's own records").cpu()
    if not len(set(rows.tolist())) == len(rows) == len(differences):
        raise BadData(
            f"There are {len(differences)} differences and {len(rows)} rows.",
            "Each difference is the imitated removal of one record, and each record comes once.",
            "Pass the rows in the order in which first_order got their records.",
        )
    own = images[rows].float().cpu()
    mean, scale = own.mean(0), float((own - own.mean(0)).std(correction=0))
    if not 0.0 < scale < float("inf"):
        raise BadData(
            "The auditor's own records do not vary.",
            "There is nothing to reconstruct.",
            "Give rows of records that differ and hold finite numbers.",
        )
    inputs = directions(differences).cpu() * differences.shape[1] ** 0.5
    settings = settings or Fitting()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = _trained(inputs, ((own - mean) / scale).flatten(1), settings)
    return Reconstructor(module.eval(), rows, mean, scale, differences.shape[1])


def _trained(inputs: Tensor, targets: Tensor, settings: Fitting) -> nn.Module:
    """Encoder to ``latent``, decoder to the record; Adam."""
    import torch
    from torch import nn

    width, latent = settings.width, settings.latent
    encoder = (nn.Linear(inputs.shape[1], width), nn.ReLU(), nn.Linear(width, latent), nn.ReLU())
    module = nn.Sequential(*encoder, nn.Linear(latent, targets.shape[1]))
    optimizer = torch.optim.Adam(module.parameters(), settings.lr)
    for _ in range(settings.epochs):
        for batch in torch.split(torch.randperm(len(inputs)), settings.batch):
            loss = (module(inputs[batch]) - targets[batch]).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return module
