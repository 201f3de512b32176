from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, DamagedArtifact, Exhausted
from rescind.core.run import Recipe
from rescind.serving.ensemble import Ensemble
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.encoder import StagedModel
from rescind.training.snapshots import to_bytes

ROWS = tiny_rows(70)  # more than one batch


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny_recipe(tiny_task(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def ensemble(recipe: Recipe) -> Ensemble:
    return Ensemble(recipe.task, recipe)


@pytest.fixture(scope="module")
def states(recipe: Recipe) -> list[dict[str, Tensor]]:
    """Three snapshots, the last one of a single stage."""
    model = StagedModel(recipe)
    torch.manual_seed(0)
    return [
        {n: 0.3 * torch.randn_like(t) for n, t in model.state(blocks).items()}
        for blocks in ((2, 3), (2, 3), (3,))
    ]


def by_hand(recipe: Recipe, states: list[dict[str, Tensor]], weights: list[float]) -> Tensor:
    """A model of its own for each part, whole forwards from tokens, the mean written out."""
    total = torch.zeros(len(ROWS), 2)
    for state, weight in zip(states, weights, strict=True):
        model = StagedModel(recipe)
        model.load(state)
        with torch.no_grad():
            total += weight * model.forward(recipe.task.batch(ROWS)).softmax(dim=1)
    return total / sum(weights)


def test_answers_equal_the_weighted_mean_by_hand(
    recipe: Recipe, ensemble: Ensemble, states: list[dict[str, Tensor]]
) -> None:
    weights = [5.0, 3.0, 2.0]
    answers = ensemble.predict(ROWS, list(zip(states, weights, strict=True)))
    torch.testing.assert_close(answers, by_hand(recipe, states, weights))
    assert not torch.allclose(answers, by_hand(recipe, states, [1.0, 1.0, 8.0]), atol=1e-3)


def test_nothing_of_another_part_stays_behind(
    ensemble: Ensemble, states: list[dict[str, Tensor]]
) -> None:
    """The single-stage part has no block 2: it must be answered with a zero adapter there."""
    fresh = ensemble.predict(ROWS, [(states[2], 1.0)])
    ensemble.predict(ROWS, [(states[0], 1.0)])
    assert torch.equal(ensemble.predict(ROWS, [(states[2], 1.0)]), fresh)


def test_lower_blocks_run_once_however_many_parts(
    ensemble: Ensemble, states: list[dict[str, Tensor]]
) -> None:
    runs = {0: 0, 2: 0}
    handles = []
    for block in runs:

        def count(*_: object, block: int = block) -> None:
            runs[block] += 1

        assert isinstance(ensemble.model, StagedModel)
        handles.append(ensemble.model.blocks.modules[block].register_forward_pre_hook(count))
    ensemble.predict(ROWS[:8], [(state, 1.0) for state in states])
    for handle in handles:
        handle.remove()
    # block 2 is reached once more, where the activations entering it are taken
    assert runs == {0: 1, 2: 4}


def test_no_parts_is_exhaustion(ensemble: Ensemble) -> None:
    with pytest.raises(Exhausted, match="No shard has a model left"):
        ensemble.predict(ROWS, [])


def test_no_rows_is_an_error(ensemble: Ensemble, states: list[dict[str, Tensor]]) -> None:
    with pytest.raises(BadData, match="no rows to answer"):
        ensemble.predict([], [(states[0], 1.0)])


def test_snapshots_are_read_from_bytes(ensemble: Ensemble, states: list[dict[str, Tensor]]) -> None:
    loaded = Ensemble.load_state(to_bytes(states[0]))
    assert torch.equal(
        ensemble.predict(ROWS, [(loaded, 1.0)]), ensemble.predict(ROWS, [(states[0], 1.0)])
    )
    with pytest.raises(DamagedArtifact):
        Ensemble.load_state(b"")


def test_threads_do_not_mix_their_parts(
    ensemble: Ensemble, states: list[dict[str, Tensor]]
) -> None:
    alone = [ensemble.predict(ROWS[:9], [(state, 1.0)]) for state in states]
    with ThreadPoolExecutor(3) as pool:
        asked = [
            (i, pool.submit(ensemble.predict, ROWS[:9], [(states[i], 1.0)]))
            for _ in range(6)
            for i in range(3)
        ]
        assert all(torch.equal(future.result(), alone[i]) for i, future in asked)
