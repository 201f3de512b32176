"""The loop of edits: its batches, its stop at the first NaN, and fresh statistics."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from rescind.core.errors import BadData, Diverged
from rescind.core.run import Recipe
from rescind.training.descent import descend, pairs, parameters, renew_statistics
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel

TASK = Classification("rescind.training.zoo:resnet", ("a", "b"), (1, 28, 28), {"classes": 2})


def model() -> WholeModel:
    found = WholeModel(Recipe(TASK))
    found.module.requires_grad_(True)
    return found


def tensors(n: int, start: int = 0) -> dict[str, torch.Tensor]:
    return {"labels": torch.arange(start, start + n)}


@pytest.mark.parametrize("over", ["forget", "retain"])
def test_an_epoch_sees_every_row_of_one_set_once(over: str) -> None:
    sets = {"forget": tensors(7), "retain": tensors(20, 100)}
    found = list(pairs(sets["forget"], sets["retain"], over, 3, seed=5))
    lead = torch.cat([(f if over == "forget" else r)["labels"] for f, r in found])
    assert sorted(lead.tolist()) == sets[over]["labels"].tolist()
    again = list(pairs(sets["forget"], sets["retain"], over, 3, seed=5))
    assert all(
        torch.equal(a["labels"], b["labels"]) for (a, _), (b, _) in zip(found, again, strict=True)
    )
    other = torch.cat([f["labels"] for f, _ in pairs(sets["forget"], sets["retain"], over, 3, 6)])
    assert other.tolist() != torch.cat([f["labels"] for f, _ in found]).tolist()


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_an_empty_set_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(BadData, match="both"):
        next(pairs(tensors(sizes[0]), tensors(sizes[1]), "retain", 2, 0))


def test_a_nan_stops_before_its_step() -> None:
    found = model()
    values = iter([1.0, float("nan")])
    seen = []

    def loss(_: object, __: object) -> torch.Tensor:
        seen.append(deepcopy(found.state()))
        return sum(p.sum() for p in parameters(found)) * next(values)  # type: ignore[return-value]

    with pytest.raises(Diverged, match="Step 2"):
        descend(found, [({}, {})] * 3, loss, 0.1)
    assert all(torch.equal(t, seen[1][n]) for n, t in found.state().items())


def test_statistics_are_those_of_the_retain_set() -> None:
    found = model()
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found.module.train()
    found.module(3 * images + 1)  # what was seen before must leave no trace
    found.module.eval()
    renew_statistics(found, {"array": images, "labels": torch.zeros(40, dtype=torch.long)}, size=40)
    stem = found.module[0](images)  # type: ignore[index]
    assert torch.allclose(found.module[1].running_mean, stem.mean(dim=(0, 2, 3)), atol=1e-5)  # type: ignore[index]
    assert not any(m.training for m in found.module.modules())
