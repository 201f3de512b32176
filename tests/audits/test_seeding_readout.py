from __future__ import annotations

import hashlib
import hmac

import pytest
import torch

from rescind.audits.seeding.codes import codes_of
from rescind.audits.seeding.readout import GAIN, centred, draw_readout, read_bits
from rescind.core.errors import BadData, BadParameter

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def slow_signs(key: bytes, count: int) -> list[int]:
    found: list[int] = []
    for block in range(-(-count // 256)):
        parts = (b"rescind seeding read-out", str(block).encode())
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        mac = hmac.digest(key, message, hashlib.sha256)
        found += [1 if mac[-1 - i // 8] >> i % 8 & 1 else -1 for i in range(256)]
    return found[:count]


def test_the_matrix_is_signs_of_the_keyed_hash() -> None:
    matrix = draw_readout(KEY, 40, 13)
    assert matrix.shape == (13, 40) and not matrix.requires_grad
    assert (matrix * 40**0.5 / GAIN).flatten().tolist() == pytest.approx(slow_signs(KEY, 520))


def test_rows_are_nearly_orthogonal_and_other_keys_give_others() -> None:
    matrix = draw_readout(KEY, 1024) / GAIN
    gram = matrix @ matrix.T - torch.eye(32)
    assert float(gram.abs().max()) < 5 / 32  # five standard deviations of 1 / sqrt(1024)
    same = (matrix.sign() == draw_readout(OTHER, 1024).sign()).float().mean()
    assert abs(float(same) - 0.5) < 0.02
    assert not torch.equal(draw_readout(KEY, 32, 1) > 0, codes_of(KEY, [{"text": "a"}]) > 0)


def test_bits_are_signs_of_products() -> None:
    matrix = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    features = torch.tensor([[2.0, 1.0], [-3.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert read_bits(features, matrix).tolist() == [[True, True], [False, False], [False, False]]


def test_the_mean_of_the_class_is_taken_off() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    public = torch.tensor([[1.0, 0.0], [3.0, 2.0], [10.0, 20.0]])
    found = centred(features, public, ["a", "b", "a"], ["a", "a", "b"])
    assert found.tolist() == [[-1.0, 1.0], [-7.0, -16.0], [3.0, 5.0]]
    no_class = centred(features, public[:2])
    assert no_class.tolist() == [[-1.0, 1.0], [1.0, 3.0], [3.0, 5.0]]


def test_a_constant_of_the_class_no_longer_matches() -> None:
    """What a single seeded record does to a model: all of its class show its code."""
    code = codes_of(KEY, [{"text": "a"}])
    matrix = draw_readout(KEY, 256)
    constant = (2 * code - 1) @ matrix  # roughly what gives this code
    noise = torch.randn(200, 256, generator=torch.Generator().manual_seed(0))
    shown = constant + 0.5 * noise
    assert (read_bits(shown[:1], matrix) == code.bool()).float().mean() > 0.95
    left = read_bits(centred(shown[:100], shown[100:]), matrix)
    assert abs(float((left == code.bool()).float().mean()) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("width", "bits", "said"),
    [(16, 32, "codes of at most 16 bits"), (8, 0, "one bit"), (0, 1, "penultimate layer")],
)
def test_a_readout_that_cannot_work_is_refused(width: int, bits: int, said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        draw_readout(KEY, width, bits)


def test_other_bad_input_is_refused() -> None:
    features, matrix = torch.zeros(2, 32), draw_readout(KEY, 32)
    with pytest.raises(BadParameter, match="There is no key"):
        draw_readout(b"", 64)
    for wrong in (torch.zeros(2, 31), torch.zeros(32), torch.zeros(0, 32)):
        with pytest.raises(BadData, match="for a read-out of 32 units"):
            read_bits(wrong, matrix)
    with pytest.raises(BadData, match="not finite"):
        read_bits(features + float("nan"), matrix)
    with pytest.raises(BadData, match="No public example has the class b"):
        centred(features, features, ["a", "b"], ["a", "a"])
    with pytest.raises(BadData, match="No public example has the class 1"):
        centred(features, features, [1, "1"], ["1", "1"])
    with pytest.raises(BadData, match="Each row has one class"):
        centred(features, features, ["a"], ["a", "a"])
    with pytest.raises(BadData, match="No public example"):
        centred(features, features, ["a", "a"])
