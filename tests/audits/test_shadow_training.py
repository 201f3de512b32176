"""Who sees what, the two ways of training against each other, and a run that is taken up again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.audits.lira import held_out
from rescind.audits.shadow_draw import ShadowDraw
from rescind.audits.shadow_training import set_name, shadow_margins, train_part, train_shadows
from rescind.audits.shadows import Shadows, trained_shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence, UnsupportedModel
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.metrics.membership import auc
from rescind.training.modules import Classification
from rescind.training.plain import train_whole
from rescind.training.snapshots import to_bytes

CLASSES = ("a", "b", "c")


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def dropping() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))


def recipe(factory: str = f"{__name__}:conv", **arguments: Any) -> Recipe:
    return Recipe(
        task=Classification(factory, CLASSES, (1, 6, 6), arguments),
        method="retrain",
        partition=Partition(1, 1, 0.1),
        orders=1,
        epochs=2,
        batch_size=8,
        optimizer=AdamW(lr=1e-2),
    )


def mlp(hidden: int = 8) -> Recipe:
    return recipe("rescind.training.zoo:mlp", inputs=36, outputs=3, hidden=(hidden,))


def rows(n: int = 30) -> list[dict[str, Any]]:
    """Noise with labels by turns: all that can be learnt is the single record."""
    draw = torch.randn(n, 36, generator=torch.Generator().manual_seed(7))
    return [{"array": x.tolist(), "label": CLASSES[i % 3]} for i, x in enumerate(draw)]


class Kept(dict[int, bytes]):
    """Where models are kept; ``left`` saves are possible before the run breaks off."""

    def __init__(self, left: int = 1_000) -> None:
        self.left, self.order = left, list[int]()

    def save(self, model: int, data: bytes) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.order.append(model)
        self[model] = data


def shadows(chosen: Recipe, draw: ShadowDraw, stack: int = 1, kept: Kept | None = None) -> Shadows:
    kept = Kept() if kept is None else kept
    return train_shadows(chosen, rows(draw.records), draw, kept.get, kept.save, stack)


def test_each_model_sees_a_half_and_each_record_is_in_half_of_the_models() -> None:
    assert ShadowDraw(31, 10).seen().sum(1).tolist() == [15] * 10
    seen = ShadowDraw(40, 4_000).seen().double()
    assert seen.sum(1).tolist() == [20] * 4_000
    assert float((seen.mean(0) - 0.5).abs().max()) < 4 * 0.5 / 4_000**0.5


def test_halves_of_two_models_and_of_two_records_are_independent() -> None:
    seen = ShadowDraw(40, 4_000).seen().double()
    common = (seen[::2] * seen[1::2]).sum(1)
    assert float(common.mean()) == pytest.approx(10, abs=4 * 1.6 / 2_000**0.5)
    together = (seen.T @ seen / 4_000).triu(1)
    tied = together[together > 0]
    assert float((tied - 0.5 * 19 / 39).abs().max()) < 5 * 0.43 / 4_000**0.5


def test_a_draw_follows_from_the_seed_and_the_number_alone() -> None:
    few, many = ShadowDraw(30, 4, seed=1), ShadowDraw(30, 12, seed=1)
    assert torch.equal(few.seen(), many.seen()[:4])
    assert not torch.equal(few.seen(), ShadowDraw(30, 4, seed=2).seen())
    assert len({tuple(row) for row in many.seen().tolist()}) == 12
    seeds = {many.recipe(mlp(), m).seed for m in range(12)}
    assert len(seeds) == 12 and seeds >= {few.recipe(mlp(), m).seed for m in range(4)}


def test_a_group_is_seen_as_a_whole_or_not_at_all() -> None:
    group = (2, 3, 20)
    draw = ShadowDraw(30, 40, seed=5, group=group, without=20)
    seen = draw.seen()
    own = seen[:, list(group)]
    assert own.all(1).tolist() == [True, False] * 20 and torch.equal(own.all(1), own.any(1))
    assert seen.sum(1).tolist() == [15] * 40
    rest = [i for i in range(30) if i not in group]
    assert float(seen[::2][:, rest].double().mean()) == pytest.approx(12 / 27)
    assert float(seen[1::2][:, rest].double().mean()) == pytest.approx(15 / 27)


def test_the_loop_trains_what_plain_training_does() -> None:
    chosen, draw, kept = mlp(), ShadowDraw(30, 2), Kept()
    found = shadows(chosen, draw, kept=kept)
    data = rows()
    for model in range(2):
        own = [data[i] for i in draw.rows(model).tolist()]
        plain = train_whole(replace(draw.recipe(chosen, model)), own)
        assert kept[model] == to_bytes(plain.state(()))
    assert torch.equal(found.inside, draw.seen()) and torch.equal(found.outside, ~draw.seen())


@pytest.mark.parametrize("chosen", [mlp(), recipe(), recipe(f"{__name__}:normed")])
def test_stacked_and_looped_training_give_the_same_margins(chosen: Recipe) -> None:
    draw = ShadowDraw(30, 4, seed=1)
    loop, stacked = shadows(chosen, draw), shadows(chosen, draw, stack=4)
    assert torch.allclose(loop.margins, stacked.margins, atol=1e-4)
    assert float((loop.margins[0] - loop.margins[1]).abs().mean()) > 0.01  # not all alike


@pytest.mark.parametrize("stack", [1, 2])
def test_a_run_that_broke_off_gives_the_same_bytes(stack: int) -> None:
    draw, whole, broken = ShadowDraw(30, 4), Kept(), Kept(left=3)
    chosen = recipe(f"{__name__}:normed")
    expected = shadows(chosen, draw, stack, whole)
    with pytest.raises(KeyboardInterrupt):
        shadows(chosen, draw, stack, broken)
    assert broken.order == [0, 1, 2]
    broken.left = 1_000
    found = shadows(chosen, draw, stack, broken)
    assert broken.order == [0, 1, 2, 3] and broken == whole
    assert torch.equal(found.margins, expected.margins)


def test_two_processes_share_the_work() -> None:
    draw, one, two = ShadowDraw(30, 6), Kept(), Kept()
    expected = shadows(mlp(), draw, 2, one)
    train_part(mlp(), rows(), draw, two.get, two.save, 2, (0, 2))
    assert two.order == [0, 1, 4, 5]
    with pytest.raises(InsufficientEvidence, match="Shadow model 2 of 6"):
        shadow_margins(mlp(), rows(), draw, two.get)
    train_part(mlp(), rows(), draw, two.get, two.save, 2, (1, 2))
    assert two == one
    assert torch.equal(shadow_margins(mlp(), rows(), draw, two.get).margins, expected.margins)


def labelled(found: Shadows, seen: Tensor) -> float:
    """The area of held-out LiRA with ``seen`` as who saw what."""
    return auc(*held_out(trained_shadows(found.margins, seen)))


def test_lira_finds_what_the_shadows_learnt_by_heart_and_nothing_under_another_draw() -> None:
    chosen = replace(mlp(32), epochs=30)
    draw = ShadowDraw(60, 24, seed=2)
    found = shadows(chosen, draw)
    assert labelled(found, draw.seen()) > 0.9
    others = [labelled(found, ShadowDraw(60, 24, seed=s).seen()) for s in range(3, 33)]
    assert sum(others) / 30 == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_stacked_is_refused() -> None:
    draw = ShadowDraw(30, 2)
    shadows(recipe(f"{__name__}:dropping"), draw)
    with pytest.raises(UnsupportedModel, match="Use a stack of 1"):
        shadows(recipe(f"{__name__}:dropping"), draw, stack=2)
    with pytest.raises(BadParameter, match="stacks of 4"):
        shadows(mlp(), ShadowDraw(30, 6), stack=4)


def broken() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(35, 3))  # of 36 values


def test_a_bug_of_the_module_is_not_taken_for_a_stack_that_cannot_be() -> None:
    for stack in (1, 2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            shadows(recipe(f"{__name__}:broken"), ShadowDraw(30, 2), stack=stack)


def test_bad_draws_are_refused() -> None:
    with pytest.raises(BadParameter, match="models is 0"):
        ShadowDraw(30, 0)
    with pytest.raises(BadParameter, match="records is 3"):
        ShadowDraw(3, 2)
    with pytest.raises(BadParameter, match="each once"):
        ShadowDraw(30, 2, group=(1, 1))
    with pytest.raises(BadParameter, match="each once"):
        ShadowDraw(30, 2, group=(30,))
    with pytest.raises(BadParameter, match="group has 15 rows"):
        ShadowDraw(30, 2, group=tuple(range(15)))
    with pytest.raises(BadParameter, match="without is 21, and 20"):
        ShadowDraw(30, 40, group=(1,), without=21)
    with pytest.raises(BadData, match="There are 30 rows, and the draw is of 32"):
        train_shadows(mlp(), rows(30), ShadowDraw(32, 2), Kept().get, Kept().save)
    with pytest.raises(BadParameter, match=r"Part \(2, 2\)"):
        train_part(mlp(), rows(), ShadowDraw(30, 2), Kept().get, Kept().save, 1, (2, 2))


def test_another_recipe_draw_row_or_stack_has_another_name() -> None:
    draw = ShadowDraw(len(rows()), 4)
    changed = [{**rows()[0], "label": "b" if rows()[0]["label"] == "a" else "a"}, *rows()[1:]]
    names = [
        set_name(mlp(), rows(), draw),
        set_name(replace(mlp(), seed=9), rows(), draw),
        set_name(mlp(), changed, draw),
        set_name(mlp(), rows(), replace(draw, seed=1)),
        set_name(mlp(), rows(), draw, stack=2),
    ]
    assert len(set(names)) == len(names)
    assert set_name(mlp(), rows(), draw) == names[0]
