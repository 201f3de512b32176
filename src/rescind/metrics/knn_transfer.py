"""How well frozen features transfer: accuracy of k nearest neighbours by cosine similarity.

Five neighbours of pooled features, as in "Are We Truly Forgetting?" (arXiv 2503.06991). What counts
is the gap to a retrained model, not whether the accuracy is high or low.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

QUERIES, REFERENCES = 1024, 8192  # a block of similarities has 32 MB


def accuracy(
    references: Tensor,
    reference_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    k: int = 5,
) -> float:
    """Share of queries whose label ``classify`` finds.

    Args:
        references: features (m, d).
        reference_labels: whole numbers (m,).
        queries: features (n, d).
        query_labels: whole numbers (n,).
        k: neighbours that vote.

    Raises:
        BadData: as ``classify``, or not one label for each query.
        BadParameter: as ``classify``.
    """
    _refuse_labels(queries, query_labels, "query")
    found = classify(references, reference_labels, queries, k)
    return float((found == query_labels.to(found.device)).double().mean())


def classify(references: Tensor, labels: Tensor, queries: Tensor, k: int = 5) -> Tensor:
    """The label (n,) that most of a query's k nearest references have.

    A tie goes to the label whose neighbours' similarities sum to more, then to the smaller label;
    of references equally near, the first ones are neighbours. Similarities are taken block by
    block: at width 512, 10,000 queries against 100,000 references need 0.1 GB besides the features.

    Raises:
        BadData: no rows, other than two dimensions, different widths, a value that is not finite, a
            row of zeros, not one whole number as label for each reference.
        BadParameter: k below 1 or above the number of references.
    """
    _refuse_labels(references, labels, "reference")
    nearest, similarity = neighbours(references, queries, k)
    return _vote(labels.long().to(nearest.device)[nearest], similarity)


def neighbours(references: Tensor, queries: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """Indices (n, k) of the nearest references and their cosine similarities, nearest first.

    Raises:
        BadData: as ``classify``, labels aside.
        BadParameter: as ``classify``.
    """
    import torch

    _refuse(references, queries, k)
    with torch.no_grad():
        q = _unit(queries, "query")
        index = torch.zeros(len(q), 0, dtype=torch.int64, device=q.device)
        best = torch.zeros(len(q), 0, dtype=q.dtype, device=q.device)
        room = q.new_empty(min(QUERIES, len(q)) * min(REFERENCES, len(references)))
        for start in range(0, len(references), REFERENCES):
            r = _unit(references[start : start + REFERENCES], "reference", start).to(q.dtype)
            found = [_nearest(s, min(k, len(r))) for s in _similarities(q, r, room)]
            # what was found before comes first, so that the stable order keeps the smaller index
            index = torch.cat([index, torch.cat([i for i, _ in found]) + start], 1)
            best = torch.cat([best, torch.cat([s for _, s in found])], 1)
            best, order = best.sort(dim=1, descending=True, stable=True)
            best, index = best[:, :k], index.gather(1, order[:, :k])
        return index, best


def _similarities(queries: Tensor, references: Tensor, room: Tensor) -> Iterator[Tensor]:
    """(QUERIES, len(references)) for each block of queries, all in the same place."""
    import torch

    for start in range(0, len(queries), QUERIES):
        block = queries[start : start + QUERIES]
        out = room[: len(block) * len(references)].view(len(block), len(references))
        yield torch.mm(block, references.T, out=out)


def _nearest(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and values of the k largest of each row, by index; of equal ones the first."""
    values, index = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    # topk takes any of those that equal the last one: where it had a choice, sort in full
    torn = (values[:, k - 1 : k] == values[:, k:]).any(1).nonzero().flatten()
    index = index[:, :k]
    if len(torn):
        index[torn] = similarity[torn].sort(dim=1, descending=True, stable=True).indices[:, :k]
    index = index.sort(dim=1).values
    return index, similarity.gather(1, index)


def _vote(labels: Tensor, similarity: Tensor) -> Tensor:
    """The winner (n,) among neighbours' labels (n, k)."""
    import torch

    same = labels.unsqueeze(2) == labels.unsqueeze(1)
    votes = same.sum(2)
    near = torch.where(same, similarity.double().unsqueeze(1), 0.0).sum(2)
    near = near.masked_fill(votes < votes.amax(1, keepdim=True), -torch.inf)
    lost = near < near.amax(1, keepdim=True)
    won: Tensor = labels.masked_fill(lost, torch.iinfo(labels.dtype).max).amin(1)
    return won


def _unit(rows: Tensor, name: str, start: int = 0) -> Tensor:
    """Rows of length 1."""
    import torch

    kept = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
    # by the largest entry first, so that no square overflows or vanishes
    peak = torch.linalg.vector_norm(kept, ord=torch.inf, dim=1, keepdim=True)
    if not peak.isfinite().all():
        raise BadData(
            f"A {name} feature is NaN or infinite.",
            "It is near to nothing and far from nothing.",
            "Find the layer that gives it; half precision may overflow.",
        )
    if (peak == 0).any():
        raise BadData(
            f"Row {start + int((peak == 0).flatten().nonzero()[0])} of the {name} features is"
            " all zeros.",
            "A vector without direction has no cosine similarity.",
            "Check that the model has not collapsed, and take the features of another layer.",
        )
    scaled = kept / peak
    unit: Tensor = scaled.div_(torch.linalg.vector_norm(scaled, dim=1, keepdim=True))
    return unit


def _refuse(references: Tensor, queries: Tensor, k: int) -> None:
    shapes = [tuple(rows.shape) for rows in (references, queries)]
    if any(len(s) != 2 or 0 in s for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise BadData(
            f"References of shape {shapes[0]} and queries of shape {shapes[1]}.",
            "Both need rows, of the same width.",
            "Pool the features to (n, d), and take both from the same layer.",
        )
    if not 1 <= k <= len(references):
        raise BadParameter(
            f"{k} neighbours among {len(references)} references.",
            "There are not so many, or none is asked for.",
            f"Choose k between 1 and {len(references)}.",
        )


def _refuse_labels(rows: Tensor, labels: Tensor, name: str) -> None:
    if labels.dim() != 1 or len(labels) != len(rows):
        raise BadData(
            f"{len(rows)} {name} features and labels of shape {tuple(labels.shape)}.",
            "Every feature needs one label.",
            "Pass the labels of the same examples, in the same order.",
        )
    if labels.is_floating_point() or labels.is_complex():
        raise BadData(
            f"The {name} labels are {labels.dtype}.",
            "A class is a whole number.",
            "Number the classes and pass them as int64.",
        )
