"""The nearest retained records of the same class, in the features of the model before.

A retrained model of another seed moves the margins of a whole neighbourhood. What is subtracted
with the neighbours is that common part; what is left is the record's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.rows import checked_kinds, checked_mask, checked_rows
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 10
QUERIES, REFERENCES = 256, 4096  # a block of distances has 8 MB


def nearest_retained(
    features: Tensor,
    labels: Tensor,
    queries: Tensor,
    retained: Tensor,
    k: int = NEIGHBOURS,
) -> Tensor:
    """Rows (q, k) of the nearest retained records of each query's class, nearest first.

    A record is never its own neighbour. Of records equally near those with the smaller row come
    first, whatever the size of the blocks: distances are taken pair by pair in float64.

    Args:
        features: (n, d), such as the penultimate ones of the model before.
        labels: (n,) whole numbers.
        queries: rows (q,) whose neighbours are wanted.
        retained: (n,) bool, who may be a neighbour: trained on, not requested, in no cut cell.
        k: neighbours of each query, by Euclidean distance.

    Raises:
        BadData: shapes that do not fit, a feature that is not finite, fewer than k retained
            records of a class beside the query.
        BadParameter: k below 1.
    """
    import torch

    points = _checked(features, labels, retained, k)
    queries = checked_rows(queries, len(points), "queries").to(points.device)
    kinds, free = labels.to(points.device), retained.to(points.device)
    found = queries.new_empty(len(queries), k)
    for kind in torch.unique(kinds[queries]).tolist():
        here = (kinds[queries] == kind).nonzero().flatten()
        pool = (free & (kinds == kind)).nonzero().flatten()
        _refuse_few(pool, queries[here], k, kind)
        for start in range(0, len(here), QUERIES):
            block = here[start : start + QUERIES]
            found[block] = _nearest(points, queries[block], pool, k)
    return found


def centred(values: Tensor, queries: Tensor, nearest: Tensor) -> Tensor:
    """Values of the queries minus the mean of their neighbours': (..., n) to (..., q).

    Args:
        values: of all n records, such as margins or their changes; further dimensions (models) may
            come first.
        queries: rows (q,).
        nearest: rows (q, k), as ``nearest_retained`` gives them.
    """
    q, near = queries.to(values.device), nearest.to(values.device)
    found: Tensor = values[..., q].double() - values[..., near].double().mean(-1)
    return found


def _nearest(points: Tensor, queries: Tensor, pool: Tensor, k: int) -> Tensor:
    """Rows (q, k) of the pool, block by block of it."""
    import torch

    best = points.new_empty(len(queries), 0)
    rows = pool.new_empty(len(queries), 0)
    for start in range(0, len(pool), REFERENCES):
        part = pool[start : start + REFERENCES]
        # no matrix product: its rounding, and so the order of equal ones, depends on the block
        far = torch.cdist(
            points[queries], points[part], compute_mode="donot_use_mm_for_euclid_dist"
        )
        far[queries[:, None] == part[None]] = torch.inf
        # what was found before comes first, so that of equal ones the smaller row is kept
        every = torch.cat([best, far], 1)
        order = _lowest(every, min(k, every.shape[1]))
        best = every.gather(1, order)
        rows = torch.cat([rows, part.expand(len(queries), -1)], 1).gather(1, order)
    return rows


def _lowest(values: Tensor, k: int) -> Tensor:
    """Columns (q, k) of the k lowest of each row, lowest first, of equal ones the first: those of a
    stable sort, which takes longer and is made only where equal ones lie at the edge.
    """
    edge, found = values.topk(k, dim=1, largest=False, sorted=False)
    found = found.sort(dim=1).values
    order = values.gather(1, found).sort(dim=1, stable=True).indices
    lowest: Tensor = found.gather(1, order)
    tied = ((values <= edge.amax(1, keepdim=True)).sum(1) > k).nonzero().flatten()
    if len(tied):
        lowest[tied] = values[tied].sort(dim=1, stable=True).indices[:, :k]
    return lowest


def _checked(features: Tensor, labels: Tensor, retained: Tensor, k: int) -> Tensor:
    if features.dim() != 2 or 0 in features.shape:
        raise BadData(
            f"The features have the shape {tuple(features.shape)}.",
            "One row is needed for each record.",
            "Pool them to (n, d).",
        )
    checked_kinds(labels, len(features))
    checked_mask(retained, len(features), "retained")
    if k < 1:
        raise BadParameter(f"{k} neighbours are asked for.", "Nobody is no neighbour.", "Use 10.")
    points = features.detach().double()
    checked_values(points.flatten(), "features")
    return points


def _refuse_few(pool: Tensor, queries: Tensor, k: int, kind: int) -> None:
    import torch

    own = int(torch.isin(queries, pool).any())
    if len(pool) - own < k:
        raise BadData(
            f"Class {kind} has {len(pool) - own} retained records that may be neighbours, not {k}.",
            "Without them a change of the record is not told from one of its surroundings.",
            "Use fewer neighbours; a request for a whole class has none, and needs another audit.",
        )
