"""How far apart the answers of two models are, where the answers are probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rescind.core.task import Target
from rescind.training.modules import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

PROBABILITIES: frozenset[Target] = frozenset({"classes", "tokens"})


def divergence(teacher: Tensor, student: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """KL(teacher || student) in nats, shape (n,), from logits (n, classes) or (n, length, tokens).

    For tokens it is the mean over the positions that foretell a token of the text; a logit of
    minus infinity in the teacher is a probability of zero and adds nothing.
    """
    from torch.nn.functional import kl_div

    each = kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").sum(-1)
    if each.dim() == 1:
        return each
    counted = (batch["labels"][:, 1:] != IGNORED).to(each.dtype)
    return (each[:, :-1] * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1.0)
