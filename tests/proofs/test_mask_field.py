"""The field, the transforms and the sums against whole numbers, with numba and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rescind.proofs.mask_proof import transform
from rescind.proofs.mask_proof.field import (
    Array,
    P,
    add,
    ext_inverse,
    ext_inverses,
    ext_mul,
    ext_product,
    mul,
    powers,
    root_of_unity,
    signed,
    sub,
)
from rescind.proofs.mask_proof.transcript import Stream, Transcript, even_elements

EDGES = [0, 1, 2, 2**32 - 1, 2**32, 2**32 + 1, P - 2**32, P - 2, P - 1]


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, P, size=shape, dtype=np.uint64)


@pytest.fixture(params=["numba", "numpy"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    assert transform.kernels is not None, "numba is part of the development environment"
    if request.param == "numpy":
        monkeypatch.setattr(transform, "kernels", None)
        monkeypatch.setattr(transform, "fourier", None)
    yield request.param


def test_sums_and_products_are_those_of_whole_numbers(loops: str) -> None:
    a = np.concatenate([np.repeat(np.array(EDGES, dtype=np.uint64), len(EDGES)), drawn(500)])
    b = np.concatenate([np.tile(np.array(EDGES, dtype=np.uint64), len(EDGES)), drawn(500, seed=1)])
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert add(a, b).tolist() == [(x + y) % P for x, y in pairs]
    assert sub(a, b).tolist() == [(x - y) % P for x, y in pairs]
    assert mul(a, b).tolist() == [x * y % P for x, y in pairs]
    assert transform.multiply(a, b).tolist() == [x * y % P for x, y in pairs]


def test_7_generates_the_group_and_the_extensions_are_fields() -> None:
    for factor in (2, 3, 5, 17, 257, 65537):
        assert (P - 1) % factor == 0 and pow(7, (P - 1) // factor, P) != 1
    assert pow(root_of_unity(64), 64, P) == 1 != pow(root_of_unity(64), 32, P)
    assert pow(root_of_unity(64), 2, P) == root_of_unity(32)


@pytest.mark.parametrize("d", [2, 3])
def test_the_extension_multiplies_modulo_its_polynomial(d: int) -> None:
    a, b = drawn(d, 5), drawn(d, 5, seed=3)
    product = ext_mul(a, b)
    for j in range(5):
        one, other = tuple(a[:, j].tolist()), tuple(b[:, j].tolist())
        full = [0] * (2 * d - 1)
        for i, x in enumerate(one):
            for k, y in enumerate(other):
                full[i + k] += x * y
        wanted = tuple(
            (full[i] + (7 * full[i + d] if i + d < len(full) else 0)) % P for i in range(d)
        )
        assert tuple(product[:, j].tolist()) == ext_product(one, other) == wanted
        assert ext_product(one, ext_inverse(one)) == (1,) + (0,) * (d - 1)
    every = [tuple(int(x) for x in column) for column in a.T]
    assert ext_inverses(every) == [ext_inverse(one) for one in every]
    for wrong in ([(0,) * d], [*every, (0,) * d]):
        with pytest.raises(ZeroDivisionError):
            ext_inverses(wrong)


@pytest.mark.parametrize("shift", [1, 7])
@pytest.mark.parametrize("size", [16, 48, 64])
def test_values_are_those_of_the_polynomial(loops: str, size: int, shift: int) -> None:
    rows = drawn(3, 16)
    root = root_of_unity(size)
    wanted = [
        [
            sum(c * pow(shift * pow(root, j, P), i, P) for i, c in enumerate(row)) % P
            for j in range(size)
        ]
        for row in rows.tolist()
    ]
    assert transform.values_of(rows, size, shift).tolist() == wanted
    for held in (rows, drawn(3, 24), drawn(3, 128)):
        back = transform.coefficients_of(transform.values_of(held, held.shape[1], shift), shift)
        assert (back == held).all()


@pytest.mark.parametrize("size", [32, 48, 192, 512])
def test_a_code_word_goes_through_the_row_and_is_of_its_degree(loops: str, size: int) -> None:
    rows = drawn(5, size)
    words = transform.code_words(rows)
    found = transform.coefficients_of(words, 7)
    assert not found[:, size:].any()
    assert (transform.values_of(found[:, :size], size) == rows).all()
    assert (transform.code_words(rows, 2 * size) == words[:, ::2]).all()
    columns = [4 * size - 1, 0, size, 3, 2]
    assert (transform.opened_columns(rows, columns) == words[:, columns].T).all()


def test_numba_and_numpy_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {size: drawn(2, size) for size in (64, 96, 1024, 1536)}
    found = {size: transform.code_words(held) for size, held in rows.items()}
    monkeypatch.setattr(transform, "fourier", None)
    for size, held in rows.items():
        assert (transform.code_words(held) == found[size]).all()


def test_combinations_and_products_are_sums(loops: str) -> None:
    rows, others, factors = drawn(6, 10), drawn(6, 10, seed=1), drawn(6, 2, seed=2)
    total = drawn(2, 10, seed=4)
    terms = list(zip(factors.tolist(), rows.tolist(), strict=True))
    wanted = [
        [(int(total[c, i]) + sum(f[c] * r[i] for f, r in terms)) % P for i in range(10)]
        for c in range(2)
    ]
    transform.add_combination(total, rows, factors)
    assert total.tolist() == wanted
    one = np.zeros(10, dtype=np.uint64)
    transform.add_products(one, rows, others)
    assert one.tolist() == [sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) % P
                            for x, y in zip(rows.T, others.T, strict=True)]  # fmt: skip


def test_signed_numbers_and_powers() -> None:
    values = np.array([0, 5, -1, -(2**40)])
    assert signed(values).tolist() == [0, 5, P - 1, P - 2**40]
    assert powers(3, 5, 2).tolist() == [2, 6, 18, 54, 162]


def test_challenges_follow_from_all_that_was_said() -> None:
    def drawn_after(*said: tuple[str, bytes]) -> list[int]:
        transcript = Transcript(b"statement")
        for label, data in said:
            transcript.absorb(label, data)
        found: list[int] = transcript.elements("x", 4).tolist()
        return found

    histories = [
        drawn_after(("a", b"1"), ("b", b"2")),
        drawn_after(("b", b"2"), ("a", b"1")),
        drawn_after(("a", b"12"), ("b", b"")),
        drawn_after(("a", b"1")),
        drawn_after(("a", b"1"), ("c", b"2")),
    ]
    assert len({tuple(h) for h in histories}) == len(histories)
    assert histories[0] == drawn_after(("a", b"1"), ("b", b"2"))
    for size in (128, 384):
        columns = Transcript(b"s").columns(100, size)
        assert len(set(columns)) == 100 and 100 <= max(columns) < size
    assert Transcript(b"t").columns(100, 128) != columns


def test_columns_are_even_where_their_number_is_no_power_of_two() -> None:
    """The highest words, which would make the first columns likelier, are passed over."""

    class Fixed(Transcript):
        def _stream(self, label: str) -> Any:
            words = [2**32 - 1, 2**32 // 384 * 384, 5 + 384, 7]
            return lambda count: b"".join(w.to_bytes(4, "little") for w in words * count)[:count]

    assert Fixed(b"s").columns(2, 384) == [5, 7]
    assert Fixed(b"s").columns(3, 256) == [255, 0, 133]  # all words are even among these


def test_elements_are_below_p_and_numbers_above_are_passed_over() -> None:
    class Fixed(Stream):
        def __init__(self) -> None: ...

        def __call__(self, count: int) -> bytes:
            words = [2**64 - 1, P, P - 1, 5] * (count // 32 + 1)
            return b"".join(w.to_bytes(8, "little") for w in words)[:count]

    assert even_elements(Fixed(), 5).tolist() == [P - 1, 5, P - 1, 5, P - 1]
