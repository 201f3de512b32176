"""Each cheat makes what it says, and leaves the original as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cheat_world import tiny
from torch import Tensor

from rescind.core.errors import BadData
from rescind.metrics.membership import margin
from rescind.testing.cheats import CHEATS, NOT_DETECTABLE, Cheat, Served, World
from rescind.testing.cheats.edits import NOISE, permuted
from rescind.testing.cheats.imitations import SERVER_SEED, SERVERS, margin_fitted
from rescind.testing.cheats.look import jittered, look
from rescind.testing.cheats.served import served, weights_of
from rescind.training.models import TrainedModel

BY_NAME = {cheat.name: cheat for cheat in CHEATS}
ASKED = (
    "untouched model", "last layer only", "noise on weights", "a little fine-tuning",
    "first-order step only", "read-out stripped", "hidden units permuted",
    "codes scrubbed, data kept", "margin fitted", "output filter", "model swapped",
    "another manifest", "distilled",
)  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["no norm", "batch norm"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return tiny(tmp_path_factory.mktemp("cells"), normed=request.param)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> World:
    return tiny(tmp_path_factory.mktemp("coded"), coded=True)


@pytest.fixture(scope="module")
def original(world: World) -> TrainedModel:
    return world.trained(world.everything, 0)


def made(name: str, original: TrainedModel, world: World) -> Served:
    return BY_NAME[name].make(original, world, 0)


def changed(one: TrainedModel, other: TrainedModel) -> dict[str, Tensor]:
    """Parameters that differ, by how much."""
    theirs = dict(other.module.named_parameters())
    moved = {n: (p - theirs[n]).detach() for n, p in one.module.named_parameters()}
    return {name: m for name, m in moved.items() if float(m.abs().max()) > 0}


def test_all_that_were_asked_for_are_there() -> None:
    assert tuple(BY_NAME) == ASKED
    assert set(NOT_DETECTABLE) <= set(BY_NAME)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda c: c.name)
def test_the_original_is_left_as_it_was(cheat: Cheat, world: World, coded: World) -> None:
    where = coded if cheat.coded else world
    model = where.trained(where.everything, 0)
    before = weights_of(model)
    found = cheat.make(model, where, 0)
    assert weights_of(model) == before
    assert found.outputs(where.inputs).isfinite().all()
    assert not any(p.requires_grad for p in found.model.module.parameters())
    again = cheat.make(where.trained(where.everything, 0), where, 0)
    assert again.claim == found.claim


def test_untouched_is_the_original(original: TrainedModel, world: World) -> None:
    found = made("untouched model", original, world)
    assert found.claim.weights == weights_of(original)
    assert found.claim.manifest == world.manifest(~world.requested)


@pytest.mark.parametrize("name", ["last layer only", "read-out stripped"])
def test_only_the_last_layer_is_another(name: str, original: TrainedModel, world: World) -> None:
    found = made(name, original, world).model
    assert set(changed(found, original)) == {"head.weight", "head.bias"}


def test_a_stripped_read_out_has_learned_the_request_and_a_new_layer_has_not(
    original: TrainedModel, world: World
) -> None:
    asked = world.kept(world.requested)
    loss = {}
    for name in ("last layer only", "read-out stripped"):
        model = made(name, original, world).model
        loss[name] = float(model.task.loss(model.outputs(asked), asked).mean())
    assert loss["read-out stripped"] < loss["last layer only"]


def test_noise_has_the_size_that_is_said(original: TrainedModel, world: World) -> None:
    moved = changed(made("noise on weights", original, world).model, original)
    weight = dict(original.module.named_parameters())["hidden.weight"]
    assert set(moved) == {n for n, _ in original.module.named_parameters()}
    assert float(moved["hidden.weight"].std() / weight.std()) == pytest.approx(NOISE, rel=0.1)


def test_fine_tuning_looks_at_the_retain_set_alone(original: TrainedModel, tmp_path: Path) -> None:
    """Other labels of the request change nothing."""
    one, other = tiny(tmp_path), tiny(tmp_path)
    base = one.trained(one.everything, 0)
    turned = (other.inputs["labels"] + 1) % 3
    other.inputs["labels"] = torch.where(other.requested, turned, other.inputs["labels"])
    edited = [made("a little fine-tuning", base, w).claim.weights for w in (one, other)]
    assert edited[0] == edited[1] != weights_of(base)
    stripped = [made("read-out stripped", base, w).claim.weights for w in (one, other)]
    assert stripped[0] != stripped[1]


def test_the_first_order_step_is_one_step_along_the_gradient(
    original: TrainedModel, world: World
) -> None:
    found = made("first-order step only", original, world).model
    forget, public = world.kept(world.requested), world.public_inputs
    model = world.trained(world.everything, 0)
    model.module.requires_grad_(True)
    names = [n for n, _ in model.module.named_parameters()]
    loss = model.task.loss(model.outputs(forget), forget).mean()
    step = torch.autograd.grad(loss, list(model.module.parameters()))
    moved = changed(found, original)
    flat = torch.cat([moved[n].flatten() for n in names])
    gradient = torch.cat([g.flatten() for g in step])
    assert float(torch.nn.functional.cosine_similarity(flat, gradient, dim=0)) > 0.9999
    reached = float(found.task.loss(found.outputs(forget), forget).mean())
    wanted = float(original.task.loss(original.outputs(public), public).mean())
    assert reached == pytest.approx(wanted, rel=1e-3)


def test_permuted_units_give_the_same_answers(original: TrainedModel, world: World) -> None:
    found = made("hidden units permuted", original, world)
    assert torch.allclose(found.outputs(world.inputs), original.outputs(world.inputs), atol=1e-5)
    assert found.claim.weights != weights_of(original)
    rows = dict(found.model.module.named_parameters())["hidden.weight"]
    theirs = dict(original.module.named_parameters())["hidden.weight"]
    assert torch.equal(rows.sum(1).sort().values, theirs.sum(1).sort().values)
    assert "hidden.weight" in changed(permuted(original, world, 1), found.model)


def test_the_filter_changes_nothing_outside_the_request(
    original: TrainedModel, world: World
) -> None:
    found, plain = made("output filter", original, world), original.outputs(world.inputs)
    answers = found.outputs(world.inputs)
    assert torch.equal(answers[~world.requested], plain[~world.requested])
    asked = answers[world.requested]
    assert torch.equal(asked, asked[:1].expand_as(asked))
    assert torch.equal(found.outputs(world.outside_inputs), original.outputs(world.outside_inputs))
    near = jittered(world.kept(world.requested))
    assert torch.equal(found.outputs(near), original.outputs(near))
    assert found.claim.weights == weights_of(original)


def test_margins_are_fitted_to_models_without_the_request(
    original: TrainedModel, world: World
) -> None:
    asked, retain = world.kept(world.requested), world.kept(~world.requested)
    own = [world.trained(~world.requested, SERVER_SEED + i) for i in range(SERVERS)]

    def margins(model: TrainedModel) -> Tensor:
        return margin(model.outputs(asked), asked["labels"])

    wanted = torch.stack([margins(model) for model in own]).mean(0)
    found = made("margin fitted", original, world).model
    away = [float(((margins(m) - wanted) ** 2).mean()) for m in (original, found)]
    assert away[1] < 0.4 * away[0]
    held = found.outputs(retain).softmax(1) - original.outputs(retain).softmax(1)
    assert float(held.abs().mean()) < 0.1


def test_a_swapped_model_is_honest_until_it_answers(original: TrainedModel, world: World) -> None:
    found = made("model swapped", original, world)
    assert found.claim.weights == weights_of(found.model)
    assert found.claim.weights == weights_of(world.trained(~world.requested, 0))
    assert weights_of(found.released) == weights_of(original)


def test_a_replay_on_the_other_manifest_fits(original: TrainedModel, world: World) -> None:
    claim = made("another manifest", original, world).claim
    assert claim.manifest == world.manifest(world.everything)
    assert claim.weights == weights_of(world.trained(world.everything, claim.seed))
    assert claim.weights != weights_of(world.trained(~world.requested, claim.seed))


def test_the_student_never_sees_the_request(tmp_path: Path) -> None:
    one, other = tiny(tmp_path), tiny(tmp_path)
    teacher = one.trained(one.everything, 0)
    other.inputs["array"] = torch.where(other.requested[:, None], 0.0, other.inputs["array"])
    students = [made("distilled", teacher, w) for w in (one, other)]
    assert students[0].claim.weights == students[1].claim.weights
    answers = students[0].outputs(one.inputs).argmax(1) == teacher.outputs(one.inputs).argmax(1)
    assert float(answers[~one.requested].float().mean()) > 0.9


def test_scrubbing_takes_codes_away_and_keeps_the_data(coded: World) -> None:
    original = coded.trained(coded.everything, 0)
    found = made("codes scrubbed, data kept", original, coded)
    manifest = coded.manifest(coded.everything)
    held = []
    for each in (served(original, manifest, 0), found):
        shown = look(each, coded).codes_layer @ coded.readout.T > 0
        held.append(float((shown == coded.own_codes.bool()).float().mean()))
    assert held[0] > 0.65
    assert held[1] < held[0] - 0.05
    right = found.outputs(coded.inputs).argmax(1) == coded.inputs["labels"]
    assert float(right[coded.requested].float().mean()) > 0.7


def test_scrubbing_asks_for_codes(original: TrainedModel, world: World) -> None:
    with pytest.raises(BadData, match="not seeded"):
        made("codes scrubbed, data kept", original, world)


def test_a_world_has_a_request_that_is_trained_on(tmp_path: Path) -> None:
    good = tiny(tmp_path)
    for asked, others in ((frozenset[str](), good.others), (frozenset({"who"}), good.others),
                          (good.asked, good.asked)):  # fmt: skip
        with pytest.raises(BadData, match="requested"):
            World("x", good.recipe, good.train, asked, others, good.outside, good.public,
                  good.cells)  # fmt: skip


def test_no_two_servers_fit_their_margins_to_the_same_models(
    original: TrainedModel, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(self: World, kept: Tensor, seed: int) -> TrainedModel:
        asked.append(seed)
        return original

    monkeypatch.setattr(World, "trained", noted)
    for seed in range(3):
        margin_fitted(original, world, seed)
    assert len(asked) == len(set(asked)) == 3 * SERVERS


def test_a_replay_trains_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    once = world.trained(~world.requested, 41)
    real = World._train

    def noted(self: World, kept: Tensor, seed: int) -> TrainedModel:
        trained.append(seed)
        return real(self, kept, seed)

    monkeypatch.setattr(World, "_train", noted)
    again = world.anew(~world.requested, 41)
    assert trained == [41]
    assert weights_of(again) == weights_of(once)


def test_a_world_may_have_no_decoys_and_not_more_than_there_are(tmp_path: Path) -> None:
    bare = tiny(tmp_path, coded=True)
    codes = bare.codes
    assert codes is not None
    assert int(replace(bare, codes=replace(codes, decoys=0)).decoys.sum()) == 0
    with pytest.raises(BadData, match="Ask for fewer"):
        assert replace(bare, codes=replace(codes, decoys=10_000)).decoys is None
