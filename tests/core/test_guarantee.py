"""How claims combine: every pair of claims, and the rules that must hold for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter
from rescind.core.guarantee import SENSES, STRENGTH, Certified, Empirical, Exact, Guarantee, compose

RETRAIN, NEVER_SAW = Exact("retrain"), Exact("never_saw")
CERTIFIED, EMPIRICAL = Certified(1.0, 1e-5, "convex loss"), Empirical("no replay was run")
CLAIMS = [RETRAIN, NEVER_SAW, CERTIFIED, EMPIRICAL]
# (earlier, now): what stands when the new version was made from the earlier one
TABLE: dict[tuple[Guarantee, Guarantee], Guarantee | None] = {
    (RETRAIN, RETRAIN): RETRAIN,
    (RETRAIN, NEVER_SAW): NEVER_SAW,
    (RETRAIN, CERTIFIED): CERTIFIED,
    (RETRAIN, EMPIRICAL): EMPIRICAL,
    (NEVER_SAW, RETRAIN): NEVER_SAW,
    (NEVER_SAW, NEVER_SAW): NEVER_SAW,
    (NEVER_SAW, CERTIFIED): CERTIFIED,
    (NEVER_SAW, EMPIRICAL): EMPIRICAL,
    (CERTIFIED, RETRAIN): CERTIFIED,
    (CERTIFIED, NEVER_SAW): CERTIFIED,
    (CERTIFIED, CERTIFIED): None,  # refused: it needs a theorem
    (CERTIFIED, EMPIRICAL): EMPIRICAL,
    (EMPIRICAL, RETRAIN): EMPIRICAL,
    (EMPIRICAL, NEVER_SAW): EMPIRICAL,
    (EMPIRICAL, CERTIFIED): EMPIRICAL,
    (EMPIRICAL, EMPIRICAL): EMPIRICAL,
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == {(earlier, now) for earlier in CLAIMS for now in CLAIMS}


@pytest.mark.parametrize(("earlier", "now"), list(TABLE), ids=str)
def test_what_stands_on_an_earlier_version(earlier: Guarantee, now: Guarantee) -> None:
    expected = TABLE[earlier, now]
    if expected is None:
        with pytest.raises(BadParameter, match="No theorem"):
            compose(earlier, now, from_scratch=False)
    else:
        assert compose(earlier, now, from_scratch=False) == expected


@pytest.mark.parametrize("earlier", [None, *CLAIMS], ids=str)
@pytest.mark.parametrize("now", CLAIMS, ids=str)
def test_from_scratch_the_new_claim_stands_alone(earlier: Guarantee | None, now: Guarantee) -> None:
    assert compose(earlier, now, from_scratch=True) is now


@pytest.mark.parametrize("now", CLAIMS, ids=str)
def test_on_nothing_the_new_claim_stands_alone(now: Guarantee) -> None:
    assert compose(None, now, from_scratch=False) is now


@given(st.lists(st.sampled_from([RETRAIN, NEVER_SAW, EMPIRICAL]), min_size=1))
def test_no_chain_is_stronger_than_its_weakest_claim(chain: list[Guarantee]) -> None:
    whole: Guarantee | None = None
    for claim in chain:
        whole = compose(whole, claim, from_scratch=False)
    assert whole is not None
    assert STRENGTH[whole.kind] == min(STRENGTH[claim.kind] for claim in chain)
    if isinstance(whole, Exact):
        assert (whole.sense == "never_saw") == (NEVER_SAW in chain)


def test_each_sense_says_that_the_deletion_is_not_hidden() -> None:
    assert set(SENSES) == {"retrain", "never_saw"}
    assert all("not hidden that a deletion happened" in text for text in SENSES.values())
    assert "realised history" in SENSES["never_saw"]
