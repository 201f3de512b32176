"""l1-sparse: the penalty against a plain sum, and what it does to the weights."""

from __future__ import annotations

import pytest
from edited_points import accuracy, class_work, mean_loss, whole_state

from rescind.core.errors import BadParameter
from rescind.methods.base import Work
from rescind.methods.finetune import FineTune
from rescind.methods.l1_sparse import L1Sparse


def magnitudes(work: Work) -> list[float]:
    return [abs(v) for t in whole_state(work).values() for v in t.flatten().tolist()]


def test_the_loss_is_the_retain_mean_and_the_sum_of_all_magnitudes() -> None:
    work = class_work()
    found = float(L1Sparse(gamma=0.01).loss(work, work.forget, work.retain).detach())
    wanted = mean_loss(work, work.retain) + 0.01 * sum(magnitudes(work))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_frozen_weights_are_not_counted() -> None:
    work = class_work()
    work.model.module[5].requires_grad_(False)  # type: ignore[index]
    found = float(L1Sparse(gamma=0.01).loss(work, work.forget, work.retain).detach())
    state = whole_state(work)
    free = sum(float(t.abs().sum()) for name, t in state.items() if not name.startswith("5."))
    assert found == pytest.approx(mean_loss(work, work.retain) + 0.01 * free, rel=1e-5)


def test_without_a_penalty_it_is_fine_tuning() -> None:
    one, two = class_work(), class_work()
    L1Sparse(gamma=0.0, epochs=2).change(one)
    FineTune(epochs=2).change(two)
    assert magnitudes(one) == magnitudes(two)


def test_weights_shrink_a_class_fades_and_the_others_stay() -> None:
    work, plain = class_work(), class_work()
    before = magnitudes(work)
    L1Sparse(gamma=2e-3, lr=1e-2, epochs=40).change(work)
    FineTune(lr=1e-2, epochs=40).change(plain)
    small = [sum(m < 0.02 for m in magnitudes(w)) for w in (work, plain)]
    assert sum(magnitudes(work)) < 0.6 * sum(before)
    assert small[0] > 2 * small[1]
    assert mean_loss(work, work.forget) > mean_loss(work, work.forget, original=True) + 0.5
    assert accuracy(work, work.retain) == 1.0


@pytest.mark.parametrize("gamma", [-1e-9, float("nan")])
def test_a_penalty_that_rewards_is_refused(gamma: float) -> None:
    with pytest.raises(BadParameter, match="gamma is"):
        L1Sparse(gamma=gamma)
