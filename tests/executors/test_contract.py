"""What both executors promise: the same jobs give the same results, progress and errors."""

from __future__ import annotations

import pytest
from executor_jobs import Give, Raise, Square, silent

from rescind.core.errors import RescindError, VerificationFailed
from rescind.core.protocols import Executor
from rescind.executors.inline import InlineExecutor
from rescind.executors.local import LocalExecutor

EXECUTORS = [InlineExecutor(), LocalExecutor(1), LocalExecutor(2)]


@pytest.fixture(params=EXECUTORS, ids=str)
def executor(request: pytest.FixtureRequest) -> Executor:
    chosen: Executor = request.param
    return chosen


def test_every_job_gives_its_result_once(executor: Executor) -> None:
    results = list(executor.run([Square(n) for n in range(5)], silent))
    assert sorted(results) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_no_jobs_give_no_results(executor: Executor) -> None:
    assert list(executor.run([], silent)) == []


def test_progress_of_each_job_arrives_in_order(executor: Executor) -> None:
    seen: list[tuple[str, int, int]] = []
    jobs = [Square(2, steps=3), Square(3, steps=2)]
    list(executor.run(jobs, lambda what, done, total: seen.append((what, done, total))))
    for job in jobs:
        what = f"squaring {job.number}"
        expected = [(what, step + 1, job.steps) for step in range(job.steps)]
        assert [s for s in seen if s[0] == what] == expected
    assert len(seen) == 5


def test_an_error_of_ours_arrives_whole(executor: Executor) -> None:
    with pytest.raises(VerificationFailed) as caught:
        list(executor.run([Raise("verification")], silent))
    error = caught.value
    assert (error.check, error.what, error.why, error.do) == (
        "signature",
        "It is forged.",
        "The key differs.",
        "Ask.",
    )
    with pytest.raises(RescindError) as plain:
        list(executor.run([Raise("rescind")], silent))
    assert type(plain.value) is RescindError
    assert str(plain.value) == "It failed. So it is. Try this."


def test_any_other_error_keeps_its_type(executor: Executor) -> None:
    with pytest.raises(ValueError, match="plain"):
        list(executor.run([Square(1), Raise("value")], silent))


def test_results_may_be_large(executor: Executor) -> None:
    assert dict(executor.run([Give("bytes")] * 2, silent)) == dict.fromkeys((0, 1), b"x" * 5000000)


def test_nothing_runs_before_the_first_result_is_asked_for(executor: Executor) -> None:
    unread = executor.run([Raise("value")], silent)
    with pytest.raises(ValueError, match="plain"):
        next(unread)


def test_what_progress_raises_ends_the_run(executor: Executor) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(executor.run([Square(2, steps=3)], stop))
