from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import itertools
from typing import Any

import pytest

from rescind.audits.seeding import (
    choose_decoys,
    code_of,
    codes_of,
    fingerprint,
    new_key,
    require_key,
)
from rescind.audits.seeding.codes import BITS
from rescind.core.errors import BadData, BadParameter

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ROW = {"id": "7", "label": "boot", "array": base64.b64encode(bytes(range(64))).decode()}
TEXT = '{"array":"' + ROW["array"] + '","id":"7","label":"boot"}'
ROWS: list[dict[str, Any]] = [{"text": f"letter {i}", "age": i / 4} for i in range(200)]


def slow_code(key: bytes, text: str, bits: int) -> list[int]:
    """RFC 2104 over length-prefixed parts; the lowest bit of the last byte comes first."""
    parts = (b"rescind seeding code", text.encode())
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    mac = hmac.digest(key, message, hashlib.sha256)
    return [mac[-1 - i // 8] >> i % 8 & 1 for i in range(bits)]


@pytest.mark.parametrize("bits", [1, 32, 256])
def test_a_code_is_the_keyed_hash_of_the_canonical_record(bits: int) -> None:
    assert list(code_of(KEY, ROW, bits)) == slow_code(KEY, TEXT, bits)
    assert code_of(KEY, dict(reversed(ROW.items())), bits) == code_of(KEY, ROW, bits)


def test_the_format_of_codes_does_not_drift() -> None:
    number = int("".join(map(str, code_of(KEY, {"text": "a"}))), 2)
    assert f"{number:08x}" == "b52507a5"


def test_codes_are_fair_and_change_with_key_and_record() -> None:
    found = codes_of(KEY, ROWS)
    assert found.shape == (200, BITS) and set(found.flatten().tolist()) == {0.0, 1.0}
    # 6,400 fair bits: five standard deviations are .031
    assert abs(float(found.mean()) - 0.5) < 0.031
    assert abs(float((found != codes_of(OTHER, ROWS)).float().mean()) - 0.5) < 0.031
    neighbours = (found[1:] != found[:-1]).float().mean()
    assert abs(float(neighbours) - 0.5) < 0.031


def test_the_record_stays_as_it_is() -> None:
    before = copy.deepcopy(ROWS)
    codes_of(KEY, ROWS)
    choose_decoys(KEY, ROWS, ROWS[:5], 5)
    assert before == ROWS


def test_decoys_are_others_in_an_order_that_only_the_key_tells() -> None:
    own = ROWS[:20]
    found = choose_decoys(KEY, ROWS, own, 50)
    assert len({str(row) for row in found}) == 50
    assert not any(row in own for row in found)
    assert choose_decoys(KEY, [*reversed(ROWS), *ROWS], own, 50) == found
    assert choose_decoys(KEY, ROWS, own, 60)[:50] == found
    assert choose_decoys(OTHER, ROWS, own, 50) != found
    assert choose_decoys(KEY, ROWS, own, 0) == []


def test_a_key_is_told_by_its_fingerprint() -> None:
    key = new_key()
    require_key(key, fingerprint(key))
    assert key.hex() not in fingerprint(key)
    with pytest.raises(BadParameter, match="not the key that the records were seeded with"):
        require_key(new_key(), fingerprint(key))


@pytest.mark.parametrize(("key", "said"), [(b"", "There is no key"), (b"short", "5 bytes")])
def test_a_lost_or_short_key_is_refused(key: bytes, said: str) -> None:
    for call in (
        lambda: code_of(key, ROW),
        lambda: choose_decoys(key, ROWS, [], 1),
        lambda: fingerprint(key),
    ):
        with pytest.raises(BadParameter, match=said):
            call()


@pytest.mark.parametrize(
    "row", [{"x": float("nan")}, {"x": b"bytes"}, {1: "a", "1": "b"}], ids=["nan", "bytes", "keys"]
)
def test_what_has_no_canonical_text_is_refused(row: dict[Any, Any]) -> None:
    with pytest.raises(BadData, match="cannot be written as JSON"):
        code_of(KEY, row)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(BadData, match="no records"):
        codes_of(KEY, [])
    with pytest.raises(BadData, match="Rows 2 and 4 are the same record"):
        codes_of(KEY, [*ROWS[:3], dict(reversed(ROWS[1].items()))])
    with pytest.raises(BadData, match="11 decoys are asked for, and there are 10 other"):
        choose_decoys(KEY, ROWS[:12], ROWS[:2], 11)
    for bits in (0, 257):
        with pytest.raises(BadParameter, match="1 to 256 bits"):
            code_of(KEY, ROW, bits)
    assert all(a != b for a, b in itertools.combinations([code_of(KEY, r) for r in ROWS], 2))
