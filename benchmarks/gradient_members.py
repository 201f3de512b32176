"""Does a published gradient tell which records it is the mean of? Four tests by growing knowledge.

All scores come from products between rows: gradients of single records on the published tensors.
What is published has a root mean square of 32 in each tensor, whatever it was; so rows are scaled
to what the mean of auxiliary records would have. Numbers that were cut off at 127 are left out.

* ``product``: of the record's gradient with the published one.
* ``span``: the last block's first matrix has a gradient that is a sum of error x feature, one a
  record; the score is the share of the record's feature in the space of the largest directions.
* ``reference``: the attacker takes off what auxiliary records of the class explain.
* ``pool``: the attacker holds all candidates, members and others, and solves for all weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rescind.training.descent import Batch
from rescind.training.per_record import gradients
from rescind.training.whole import WholeModel

UNIT, LIMIT = 32, 127  # root mean square of what is published, and its largest number
ROUNDED = 1 / 12  # variance of what rounding takes off
WIDE = 1e-2  # of the mean squared length of rows: auxiliary ones explain what records share
SPANNED = 32  # directions at most, half of the features
TESTS = ("product", "span", "reference", "pool")


def published(found: Sequence[Tensor]) -> list[Tensor]:
    """What is published of a gradient before it is rounded: each tensor's root mean square is 32,
    and no number is beyond 127. It can be differentiated.
    """
    scaled = [g * (UNIT / (g**2).mean().sqrt().clamp_min(1e-20)) for g in found]
    return [g.clamp(-LIMIT, LIMIT) for g in scaled]


@dataclass(frozen=True)
class Rows:
    """Scaled gradients of records (n, numbers), all products (n, n), and the tensors' sizes.

    The last rows, from ``auxiliary`` on, are the attacker's own.
    """

    values: Tensor
    gram: Tensor
    shapes: tuple[torch.Size, ...]
    auxiliary: int


def single_gradients(model: WholeModel, batch: Batch, weights: Sequence[nn.Parameter]) -> Tensor:
    """One a record, (n, numbers of all tensors)."""
    model.module.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    pieces = gradients(model, batch, lambda m, b: m.task.loss(m.outputs(b), b).sum())
    found = torch.cat([torch.cat([g.flatten(1) for g in each], 1) for each in pieces])
    model.module.requires_grad_(True)
    return found


def rows_of(
    model: WholeModel, batch: Batch, auxiliary: int, weights: Sequence[nn.Parameter]
) -> Rows:
    """Rows of a batch whose records from ``auxiliary`` on are the attacker's own."""
    values, start = single_gradients(model, batch, weights), 0
    for weight in weights:
        part = values[:, start : start + weight.numel()]
        part *= UNIT / (part[auxiliary:].mean(0) ** 2).mean().sqrt()
        start += weight.numel()
    return Rows(values, values @ values.T, tuple(w.shape for w in weights), auxiliary)


def scores(rows: Rows, numbers: Sequence[Tensor], pool: Tensor, count: int) -> dict[str, Tensor]:
    """Of each candidate, (pool,), higher for a member, by test.

    Args:
        rows: of all records.
        numbers: what is published, by tensor.
        pool: the candidates' places among the rows.
        count: how many records it is the mean of, which is published.
    """
    flat = torch.cat([g.flatten() for g in numbers])
    cut = rows.values[:, flat.abs() >= LIMIT]
    kept = torch.where(flat.abs() < LIMIT, flat, 0.0)
    own = torch.arange(rows.auxiliary, len(rows.values))
    return {
        "product": rows.values[pool] @ flat,
        "span": _span(rows, numbers, pool, count),
        "reference": _reference(rows, kept, cut, pool, own),
        "pool": _pool(rows, kept, cut, pool, count),
    }


def _products(rows: Rows, cut: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Between rows, without the numbers that were cut off; float64."""
    return (rows.gram[left][:, right] - cut[left] @ cut[right].T).double()


def _span(rows: Rows, numbers: Sequence[Tensor], pool: Tensor, count: int) -> Tensor:
    shape, before = rows.shapes[-2], sum(s.numel() for s in rows.shapes[:-2])
    _, _, right = torch.linalg.svd(numbers[-2])
    each = rows.values[pool, before : before + shape.numel()].view(-1, *shape)
    # a single record's is of rank one: all its rows are multiples of the feature
    largest = each.norm(dim=2).argmax(1)
    feature = torch.nn.functional.normalize(each[torch.arange(len(pool)), largest], dim=1)
    found: Tensor = (feature @ right[: min(count, SPANNED)].T).square().sum(1)
    return found


def _reference(rows: Rows, kept: Tensor, cut: Tensor, pool: Tensor, own: Tensor) -> Tensor:
    inner, beside = _products(rows, cut, own, own), _products(rows, cut, own, pool)
    inner.diagonal().add_(WIDE * inner.diagonal().mean())
    along = (rows.values[torch.cat([own, pool])] @ kept).double()
    target = torch.cat([along[: len(own), None], beside], 1)
    solved = torch.linalg.solve(inner, target)
    left = along[len(own) :] - beside.T @ solved[:, 0]
    lengths = (rows.values[pool] ** 2).sum(1) - (cut[pool] ** 2).sum(1)
    rest = lengths.double() - (beside * solved[:, 1:]).sum(0)
    found: Tensor = left / rest.clamp_min(1e-12).sqrt()
    return found


def _pool(rows: Rows, kept: Tensor, cut: Tensor, pool: Tensor, count: int) -> Tensor:
    """The weights a of sum_i a_i x_i = s_T g_T for every tensor T, with s = 1 for the first, and a
    penalty as for normal a of standard deviation 1 / count and numbers off by their rounding.
    """
    sizes = [s.numel() for s in rows.shapes]
    parts = torch.split(kept, sizes)
    each = [x @ g for x, g in zip(torch.split(rows.values[pool], sizes, 1), parts, strict=True)]
    sides = torch.stack(each, 1).double()
    lengths = torch.stack([(g**2).sum() for g in parts]).double()
    inner = _products(rows, cut, pool, pool)
    inner.diagonal().add_(ROUNDED * count**2)
    whole = torch.cat(
        [
            torch.cat([inner, -sides[:, 1:]], 1),
            torch.cat([-sides[:, 1:].T, lengths[1:].diag()], 1),
        ]
    )
    right = torch.cat([sides[:, 0], torch.zeros(len(sizes) - 1, dtype=torch.float64)])
    found: Tensor = torch.linalg.solve(whole, right)[: len(pool)]
    return found


def auc(members: Tensor, others: Tensor) -> float:
    """The chance that a member scores above another, ties as one half."""
    above = (members[:, None] > others).double() + 0.5 * (members[:, None] == others).double()
    return float(above.mean())
