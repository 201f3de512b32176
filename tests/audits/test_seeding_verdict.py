from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats
from seeded_clouds import (
    DATA,
    KEY,
    OTHER_KEY,
    OWN,
    OWN_ROWS,
    PUBLIC,
    TEST,
    WIDTH,
    features,
    own_bits,
    own_features,
    permuted,
    trained,
)
from torch import nn

from rescind.audits.finding import Finding
from rescind.audits.seeding import (
    NOT_CLAIMABLE,
    ask,
    centred,
    codes_of,
    decide,
    draw_readout,
    matched_bits,
    power,
    read_bits,
)
from rescind.audits.seeding.verdict import Held
from rescind.core.errors import BadParameter

BITS = Finding(
    audit="seeding_bits",
    null="no_trace",
    n=40,
    p=0.5,
    effect=0.51,
    interval=(0.48, 0.54),
    unit="share of bits matched",
    level=0.001,
)
KERNEL = replace(BITS, audit="seeding_kernel", effect=0.2, interval=(-2.0, 2.0), unit="z")
HELD = (replace(BITS, p=1e-40, effect=0.95, interval=(0.9, 0.97)), replace(KERNEL, p=1e-4))


@cache
def asked(model: nn.Module) -> tuple[Finding, ...]:
    own = own_features(model)
    public = features(model, PUBLIC.inputs)
    labels = DATA.labels[:OWN].tolist(), PUBLIC.labels.tolist()
    about = centred(own, public, *labels)
    return ask(own, codes_of(KEY, OWN_ROWS), draw_readout(KEY, WIDTH), seed=1, centred=about)


def test_a_model_trained_with_the_term_shows_the_codes() -> None:
    bits, kernel = asked(trained())
    assert bits.effect > 0.9 and bits.p < 1e-100
    assert kernel.p == 1e-4 and kernel.interval[0] > 4
    right = trained()(TEST.inputs).argmax(1) == TEST.labels
    assert right.float().mean() > 0.95


def in_null_band(matched: float, n: int = OWN, bits: int = 32) -> bool:
    """Within 99.9 % of what fair bits do."""
    low, high = stats.binom.ppf([0.0005, 0.9995], n * bits, 0.5) / (n * bits)
    return bool(low <= matched <= high)


def test_another_key_or_another_code_matches_by_chance() -> None:
    module, codes = trained(), codes_of(KEY, OWN_ROWS)
    assert in_null_band(matched_bits(own_bits(module), codes_of(OTHER_KEY, OWN_ROWS)).effect)
    assert in_null_band(matched_bits(own_bits(module, OTHER_KEY), codes).effect)
    never = read_bits(features(module, TEST.inputs[:OWN]), draw_readout(KEY, WIDTH))
    assert in_null_band(matched_bits(never, codes_of(KEY, TEST.rows[:OWN])).effect)


@pytest.mark.parametrize("which", ["same start", "new start", "data kept, no term"])
def test_models_without_the_codes_are_inside_the_null_band(which: str) -> None:
    """The last of them has learned the records all the same: that cannot be told."""
    model = {
        "same start": lambda: trained(0, without_own=True),
        "new start": lambda: trained(1, without_own=True),
        "data kept, no term": lambda: trained(0, seeded=False),
    }[which]()
    after = asked(model)
    assert in_null_band(after[0].effect) and after[1].p > 0.001
    verdict = decide(asked(trained()), after)
    assert verdict.outcome == "no_evidence_of_codes"
    assert verdict.signal == ("seeding_bits", "seeding_kernel")


def test_permuted_units_fool_the_bits_and_not_the_kernel_test() -> None:
    before, after = asked(trained()), asked(permuted(trained()))
    assert trained()(TEST.inputs).allclose(permuted(trained())(TEST.inputs), atol=1e-4)
    assert in_null_band(after[0].effect)
    assert after[1].effect == pytest.approx(before[1].effect, rel=1e-4)
    verdict = decide(before, after)
    assert verdict.outcome == "still_held" and "seeding_kernel" in verdict.because
    assert decide(before[:1], after[:1]).outcome == "no_evidence_of_codes"


def test_random_keys_reject_a_model_without_codes_at_the_level() -> None:
    own, rows = own_features(trained(0, without_own=True)), [{"id": i} for i in range(OWN)]
    keys = [b"random key %021d" % i for i in range(200)]
    p = [
        matched_bits(read_bits(own, draw_readout(k, WIDTH, 8)), codes_of(k, rows, 8)).p
        for k in keys
    ]
    hits = np.arange(8 * OWN + 1)
    slow_p = np.minimum(1, 2 * stats.binom.cdf(np.minimum(hits, 8 * OWN - hits), 8 * OWN, 0.5))
    for level in (0.05, 0.2, 0.5):
        chance = stats.binom.pmf(hits, 8 * OWN, 0.5)[slow_p < level].sum()
        low, high = stats.binom.ppf([0.0005, 0.9995], len(keys), chance)
        assert low <= sum(each < level for each in p) <= high


@pytest.mark.parametrize(
    ("before", "after", "outcome", "said"),
    [
        (HELD, HELD, "still_held", "still in the model"),
        (HELD, (BITS, KERNEL), "no_evidence_of_codes", "seeding_bits, seeding_kernel"),
        ((BITS, KERNEL), (BITS, KERNEL), "not_testable", "says nothing"),
        ((BITS, KERNEL), HELD, "still_held", "swapped"),
        ((HELD[0], KERNEL), (BITS, KERNEL), "no_evidence_of_codes", "Blind before"),
        (HELD[:1], (BITS,), "no_evidence_of_codes", "another order pass"),
        (HELD, (replace(HELD[0], effect=0.1, interval=(0.0, 0.2)), KERNEL), "still_held", "pushed"),
    ],
)
def test_there_are_three_outcomes(
    before: tuple[Finding, ...], after: tuple[Finding, ...], outcome: Held, said: str
) -> None:
    found = decide(before, after)
    assert found.outcome == outcome and said in found.because
    assert found.not_claimable == NOT_CLAIMABLE and found.after == after


def test_two_tests_share_the_level() -> None:
    after = (replace(BITS, p=0.0007), KERNEL)
    assert decide(HELD, after).outcome == "no_evidence_of_codes"
    assert decide(HELD, after).p_corrected == pytest.approx((0.0014, 0.5))
    assert decide(HELD[:1], after[:1]).outcome == "still_held"


def test_two_tests_share_the_level_before_as_well() -> None:
    before = (replace(BITS, p=0.0007, effect=0.6, interval=(0.5, 0.7)), KERNEL)
    assert decide(before, (BITS, KERNEL)).outcome == "not_testable"
    alone = decide(before[:1], (BITS,))
    assert (alone.outcome, alone.signal) == ("no_evidence_of_codes", ("seeding_bits",))


def test_tests_are_read_at_the_level_that_they_were_made_for() -> None:
    loose = tuple(replace(one, p=0.01, level=0.05) for one in (BITS, KERNEL))
    strict = tuple(replace(one, level=0.001) for one in loose)
    assert decide(loose, loose).outcome == "still_held"
    assert decide(strict, strict).outcome == "not_testable"
    for before, after in ((loose, strict), ((loose[0], strict[1]), loose)):
        with pytest.raises(BadParameter, match=r"levels 0\.001, 0\.05"):
            decide(before, after)


def test_what_is_not_claimable_names_the_ways_around() -> None:
    text = " ".join(NOT_CLAIMABLE)
    for word in ("neighbourhood", "all data without the term", "scrubbed", "read-out", "order"):
        assert word in text


def test_few_records_are_asked_by_readings_alone_and_before_gives_the_power() -> None:
    own, matrix = own_features(trained()), draw_readout(KEY, WIDTH)
    codes = codes_of(KEY, OWN_ROWS)
    few = ask(own[:5], codes[:5], matrix, seed=1)
    assert [one.audit for one in few] == ["seeding_readings"] and few[0].power is None
    again = ask(own[:5], codes[:5], matrix, seed=1, before=few)
    assert again[0].power == power(few[0].effect, 5) > 0.99
    gone = ask(
        own_features(trained(1, without_own=True))[:5], codes[:5], matrix, seed=1, before=few
    )
    assert gone[0].outcome == "removed_supported"
    assert decide(few, gone).outcome == "no_evidence_of_codes"
    assert decide(few, again).outcome == "still_held"
    pushed = ask(own[:5], 1 - codes[:5], matrix, seed=1, before=few)
    assert "pushed away" in decide(few, pushed).because


@pytest.mark.parametrize(
    ("n", "test"), [(1, "seeding_readings"), (19, "seeding_readings"), (20, "seeding_bits")]
)
def test_the_number_of_records_alone_decides_how_bits_are_read(n: int, test: str) -> None:
    codes, matrix = codes_of(KEY, OWN_ROWS), draw_readout(KEY, WIDTH)
    found = ask(own_features(trained())[:n], codes[:n], matrix, seed=1)
    assert found[0].audit == test and len(found) == 1 + (n >= 20)
    assert found[0].effect > 0.8 and found[0].unit == "share of bits matched"


def test_the_power_is_that_at_the_share_of_the_level_which_two_tests_leave() -> None:
    codes, matrix = codes_of(KEY, OWN_ROWS), draw_readout(KEY, WIDTH)
    weak = (replace(BITS, effect=0.55, interval=(0.5, 0.6)),)
    found = ask(own_features(trained()), codes, matrix, seed=1, before=weak, draws=9_999)
    assert len(found) == 2
    assert found[0].power == power(0.55, OWN, alpha=0.0005) < power(0.55, OWN, alpha=0.001)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ()),
        (HELD, HELD[:1]),
        (HELD, HELD[::-1]),
        (HELD, (replace(BITS, n=39), KERNEL)),
        ((BITS, BITS), (BITS, BITS)),
    ],
)
def test_different_tests_are_refused(
    before: tuple[Finding, ...], after: tuple[Finding, ...]
) -> None:
    with pytest.raises(BadParameter, match="same tests of the same records"):
        decide(before, after)


def test_what_was_asked_is_told_in_words() -> None:
    with pytest.raises(BadParameter, match=r"no tests; after there are seeding_bits of 40 records"):
        decide((), (BITS, KERNEL))
