"""Margins of shadow models, and which world each model is in for each record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shadows:
    """``margins`` (models, records) of models that the auditor trained, and two worlds.

    ``inside`` and ``outside`` (models, records) are boolean: the model is a draw from the world
    that is looked for, or from the world without the record. A model that is neither for a record,
    such as one that was trained on it and keeps it while U-LiRA asks for unlearned ones, counts for
    neither. Margins are ``rescind.metrics.membership.margin``, float64.

    Raises:
        BadData: other shapes, a margin that is not finite, masks that are not boolean, or a model
            in both worlds.
    """

    margins: Tensor
    inside: Tensor
    outside: Tensor

    def __post_init__(self) -> None:
        import torch

        shapes = {tuple(t.shape) for t in (self.margins, self.inside, self.outside)}
        boolean = self.inside.dtype == self.outside.dtype == torch.bool
        if len(shapes) != 1 or self.margins.dim() != 2 or not boolean:
            raise BadData(
                f"Shadow margins and masks have the shapes {sorted(shapes)} "
                f"and the types {self.inside.dtype} and {self.outside.dtype}.",
                "Each model needs a margin and a True or False for each record.",
                "Pass (models, records) three times.",
            )
        both = int((self.inside & self.outside).sum())
        if both:
            raise BadData(
                f"{both} times a shadow model is in both worlds for one record.",
                do="Give the outside mask as the negation, or leave the model out of both.",
            )
        flat = checked_values(self.margins.flatten(), "shadow margins")
        object.__setattr__(self, "margins", flat.reshape(self.margins.shape))

    def without(self, model: int) -> Shadows:
        """All models but that one."""
        rows = [m for m in range(len(self.margins)) if m != model]
        return Shadows(self.margins[rows], self.inside[rows], self.outside[rows])

    def joined_by(self, margins: Tensor) -> Shadows:
        """With one more model, the last, that is outside for every record."""
        import torch

        row = torch.ones_like(self.outside[:1])
        return Shadows(
            torch.cat([self.margins, margins[None]]),
            torch.cat([self.inside, ~row]),
            torch.cat([self.outside, row]),
        )

    def margins_of(self, target: Tensor) -> Tensor:
        """The target's margins (records,) as float64.

        Raises:
            BadData: not one for each record of the shadows, or one that is not finite.
        """
        x = checked_values(target, "margins of the audited model").to(self.margins.device)
        if len(x) != self.margins.shape[1]:
            raise BadData(
                f"There are {len(x)} margins of the audited model and {self.margins.shape[1]} of "
                "the shadow models.",
                do="Score the same records with all models, in the same order.",
            )
        return x


def trained_shadows(margins: Tensor, seen: Tensor) -> Shadows:
    """Shadows for LiRA: ``seen`` (models, records) says which model was trained on which record.

    Raises:
        BadData: what ``Shadows`` refuses.
    """
    return Shadows(margins, seen, seen.logical_not())


def unlearned_shadows(unlearned: Tensor, retrained: Tensor) -> Shadows:
    """Shadows for U-LiRA (J. Hayes et al., 2024, arXiv 2403.01218).

    Args:
        unlearned: margins (u, records); each model was trained on all the records and then
            *unlearned them by the audited method itself*, with the audited parameters.
        retrained: margins (r, records) of models that never saw any of them.

    Both kinds have the audited architecture and recipe, seeds of their own, and other training
    records drawn alike; where they differ in anything else, the attack finds that instead.

    Raises:
        BadData: other shapes or records, or a margin that is not finite.
    """
    import torch

    shapes = (tuple(unlearned.shape), tuple(retrained.shape))
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1:] != shapes[1][1:]:
        raise BadData(
            f"Margins of shape {shapes[0]} of unlearned and {shapes[1]} of retrained models.",
            "Both need one row for each model and one column for each of the same records.",
            "Stack the margins of the models, (models, records).",
        )
    inside = torch.zeros(len(unlearned) + len(retrained), shapes[0][1], dtype=torch.bool)
    inside[: len(unlearned)] = True
    margins = torch.cat([unlearned.double(), retrained.double().to(unlearned.device)])
    return trained_shadows(margins, inside.to(margins.device))
