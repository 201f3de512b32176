"""Rows are as long as limits of memory and file allow; what is refused says what is possible."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mask_worlds import honest

from rescind.core.errors import BadParameter
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.sizes import ANY, TORCH, Limits, cost_of, held, parsed, sized
from rescind.proofs.mask_proof.statement import VERSION, Statement
from rescind.zk.asked import Asked, asked

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "mask_proof.json"


def statement(weights: int, size: int = 1024) -> Statement:
    """As in the benchmark."""
    terms = TensorTerms(
        name="weights", shape=(weights,), weight_bits=22, gradient_step=0.01, damping=500, pull=3000
    )
    given: dict[str, Any] = {"value_bytes": 3, "residual_bits": 20, "degree": 2, "opened": 244}
    given |= dict.fromkeys(("mask", "direction", "weights", "gradients", "post"), "")
    return Statement(
        version=VERSION, tensors=(terms,), block=64, sketches=32, size=size, exceptions=(), **given
    )


def cost(weights: int, limits: Limits) -> Any:
    plain = statement(weights)
    return cost_of(replace(plain, size=sized(plain, limits)))


def test_within_both_limits_the_least_work_and_within_one_the_least_of_the_other() -> None:
    both = cost(5_701_632, Limits(memory=10**9, proof=40 * 10**6))
    assert (both.size, both.memory <= 10**9, both.proof <= 40 * 10**6) == (49_152, True, True)
    roomy = cost(5_701_632, Limits(memory=2 * 10**9))
    assert roomy.size == 98_304 and roomy.proof < both.proof and roomy.memory > both.memory
    large = cost(5_701_632, Limits(proof=10**9))
    assert large.memory < both.memory and large.proof > both.proof
    assert cost(28_311_552, Limits(proof=60 * 10**6)).size == 262_144
    assert sized(statement(131_072), ANY) == held(statement(131_072), 49_152) == 3_072


def test_what_is_refused_says_what_is_possible_and_that_is_accepted() -> None:
    plain = statement(5_701_632)
    with pytest.raises(BadParameter, match="No proof of 89,088 blocks") as caught:
        sized(plain, Limits(memory=700 * 10**6, proof=20 * 10**6))
    offers = re.findall(r"memory=\S+,file=[\d.]+[kMG]B", str(caught.value))
    assert len(offers) == 3  # the first is what was asked for
    for offer in offers[1:]:
        sized(plain, asked(offer).limits)
    with pytest.raises(BadParameter):
        sized(plain, asked(offers[0]).limits)
    with pytest.raises(BadParameter, match="what is possible"):
        sized(plain, Limits(proof=10**6))


def test_the_length_is_exact_and_rows_are_never_mostly_random() -> None:
    for options in ({}, {"size": 96}, {"blocks": 130}):
        made, data = honest(**options)
        assert cost_of(made.statement).proof == len(data)
    assert held(statement(640), 49_152) == 512 > 2 * 244
    assert held(statement(10**8), 100) == 512
    assert held(statement(10**8), 65_535) == 49_152


def test_the_law_of_memory_is_that_of_the_benchmark() -> None:
    rows = json.loads(RESULT.read_text())["rows"]
    assert len(rows) >= 5
    for row in rows:
        found = cost_of(statement(row["weights"], row["row_size"]))
        assert round(found.proof / 1e6, 1) == row["proof_megabytes"]
        without = (found.memory - TORCH) / 1e6  # which the benchmark does not import
        assert without == pytest.approx(row["peak_megabytes"], rel=0.06)


def test_what_is_asked_of_proofs_is_one_text() -> None:
    limits = Limits(memory=1_500_000_000, proof=40_000_000)
    assert asked("bits=80, memory=1.5GB,file=40MB") == Asked(bits=80.0, limits=limits)
    assert asked("") == asked("bits=100") == Asked()
    assert parsed("20kB") == 20_000
    for wrong in ("bits=x", "memory=1", "file=4TB", "bits=1,bits=2", "what=1", "memory", ","):
        with pytest.raises(BadParameter):
            asked(wrong)
