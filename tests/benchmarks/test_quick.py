"""`rescind bench NAME --quick` on real data, compared with stored bands: what CI runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rescind.benchmarks.result import Part, Result
from rescind.benchmarks.stored import from_json
from rescind.benchmarks.subjects import ORIGINAL_LINE, RANDOM_LINE

pytestmark = pytest.mark.slow
STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "quick_bands.json"
BANDS = json.loads(STORED.read_text())["bands"]
NAMES = ("adult", "fashion", "hours", "language", "news")


@pytest.fixture(scope="module", params=NAMES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "rescind", "bench", request.param, "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = out / f"{request.param}_quick.html"
    assert str(page) in done.stdout and "</html>" in page.read_text()
    return from_json((out / f"{request.param}_quick.json").read_bytes())


def _name(part: Part) -> str:
    return f"{part.benchmark}: {part.model}, {part.forget_set}"


def test_there_is_a_band_for_every_part(found: Result) -> None:
    mine = {name for name in BANDS if name.startswith(f"{found.benchmark}: ")}
    assert {_name(part) for part in found.parts} == mine


def test_controls_and_retrained_models_lie_in_their_bands(found: Result) -> None:
    outside = []
    for part in found.parts:
        for line in part.lines:
            if not line.control or line.judgement is None:
                continue
            for gap in line.judgement.gaps:
                told = ((line.name, gap.value), ("retrained", gap.retrained_mean))
                for name, value in told:
                    low, high = BANDS[_name(part)][f"{name}: {gap.metric}"]
                    if not low <= value <= high:
                        outside.append(
                            f"{_name(part)}: {name} {gap.metric} {value} [{low}, {high}]"
                        )
    assert not outside, "\n".join(outside)


def test_no_control_and_no_untouched_model_has_a_rank(found: Result) -> None:
    for part in found.parts:
        assert [line.name for line in part.lines if line.unchanged] == [ORIGINAL_LINE]
        for line in part.lines:
            if line.control:
                assert set(line.ranks.values()) == {None}


def test_random_weights_are_never_near_retrained_models(found: Result) -> None:
    for part in found.parts:
        line = next(each for each in part.lines if each.name == RANDOM_LINE)
        assert line.judgement is not None
        utility = [gap for gap in line.judgement.gaps if gap.role == "utility"]
        assert max(abs(gap.gap) / gap.margin for gap in utility) > 1.0


def test_the_biased_cka_flatters_unrelated_features_and_ours_does_not(found: Result) -> None:
    for part in found.parts:
        assert part.floor.biased > 3 * abs(part.floor.unbiased)
        assert abs(part.floor.unbiased) < 0.25


def test_methods_that_differ_give_different_numbers(found: Result) -> None:
    for part in found.parts:
        told = {
            line.name: tuple(gap.value for gap in line.judgement.gaps)
            for line in part.lines
            if not line.control and line.judgement is not None
        }
        assert len(set(told.values())) > 1 or len(told) < 2
