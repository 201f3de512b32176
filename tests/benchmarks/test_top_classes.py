"""Top classes by two rules, their agreement, and where there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rescind.benchmarks.setting import Ranking
from rescind.benchmarks.top_classes import (
    _permuted_mass,
    agreement,
    applicable,
    by_names,
    by_predictions,
    encoder,
    published_list,
    ranking,
)
from rescind.core.errors import BadData, BadParameter, MissingExtra

TRAINED = ("t-shirt", "trouser", "pullover", "dress", "sneaker", "bag", "boot")
VECTORS = {
    "cat": (1.0, 0.0), "dog": (3.0, 3.0), "car": (0.0, 2.0), "van": (0.0, 0.5), "puma": (5.0, 0.5),
    "rail": (-0.5, 0.2),
}  # fmt: skip


def lookup(texts: Sequence[str]) -> Tensor:
    return torch.tensor([VECTORS[text] for text in texts])


def test_the_mass_orders_and_names_break_ties() -> None:
    p = torch.tensor([[0.2, 0.5, 0.2, 0.1], [0.2, 0.1, 0.2, 0.5]])
    # masses .2, .3, .2, .3; no example alone gives this order
    assert by_predictions(p, ("d", "c", "a", "b")) == ("b", "c", "a", "d")
    assert by_predictions(p, ("a", "b", "c", "d")) == ("b", "d", "a", "c")


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_names_are_ordered_by_cosine(reduce: str) -> None:
    trained, downstream = ("car", "dog", "cat", "van"), ("puma", "rail")
    of = {}
    for name in trained:
        cosines = [
            math.cos(math.atan2(*VECTORS[name]) - math.atan2(*VECTORS[d])) for d in downstream
        ]
        of[name] = round(max(cosines) if reduce == "max" else sum(cosines) / 2, 9)
    expected = tuple(sorted(trained, key=lambda name: (-of[name], name)))
    found = by_names(lookup, trained, downstream, "max" if reduce == "max" else "mean")
    assert found == expected
    assert found.index("car") + 1 == found.index("van")  # one direction, whatever the length


def test_mean_and_max_are_two_rules() -> None:
    trained, downstream = ("cat", "dog", "car"), ("puma", "rail")
    assert by_names(lookup, trained, downstream, "max")[0] == "cat"
    assert by_names(lookup, trained, downstream, "mean")[-1] == "cat"


def test_the_agreement_is_one_minus_the_squared_distances_of_ranks() -> None:
    names = ("a", "b", "c", "d")
    for other in permutations(names):
        squares = sum((i - other.index(name)) ** 2 for i, name in enumerate(names))
        assert agreement(names, other) == pytest.approx(1 - 6 * squares / (4 * 15))
    assert agreement(names, names) == pytest.approx(1.0)
    assert agreement(names, names[::-1]) == pytest.approx(-1.0)


def test_a_ranking_holds_both_orders() -> None:
    p = torch.tensor([[0.1, 0.6, 0.3]])
    trained = ("car", "cat", "dog")
    found = ranking("animals", p, trained, ("puma",), lookup)
    assert found == Ranking(
        "animals", ("cat", "dog", "car"), ("cat", "dog", "car"), found.agreement
    )
    assert found.agreement == pytest.approx(1.0)
    against = ranking("animals", p.flip(1), ("car", "dog", "cat"), ("puma",), lookup)
    assert against.predictions == ("dog", "car", "cat")
    assert against.text == ("cat", "dog", "car")
    assert against.agreement == pytest.approx(-0.5)
    assert ranking("animals", p, trained, ("puma",)) == Ranking("animals", ("cat", "dog", "car"))


def softmax(n: int, favour: Tensor, seed: int = 0) -> Tensor:
    # another stream than that of the permutations, whose seed is 0
    generator = torch.Generator().manual_seed(1_000 + seed)
    return (2 * torch.randn(n, len(favour), generator=generator) + favour).softmax(1)


def test_where_some_classes_stand_out() -> None:
    found = applicable(softmax(300, torch.tensor([4.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0])))
    assert found.applicable and found.reason == ""
    assert 2 < found.effective < 4
    one = applicable(torch.eye(5)[[2] * 40])
    assert one.applicable and one.entropy == 0 and one.effective == pytest.approx(1.0)


def test_mass_by_chance_is_not_applicable() -> None:
    found = [applicable(softmax(300, torch.zeros(7), seed)) for seed in range(40)]
    assert sum(f.applicable for f in found) == 0
    assert all(f.reason.startswith("not applicable") for f in found)
    # of few rows the mean mass is uneven, and of permuted ones as well
    few = [applicable(torch.eye(7)[torch.randint(7, (5,))]) for _ in range(40)]
    assert sum(f.applicable for f in few) <= 4
    assert sum(f.effective < 0.9 * 7 for f in few) > 30
    assert any("of chance" in f.reason for f in few)


def test_a_small_effect_is_not_applicable_however_certain() -> None:
    found = applicable(softmax(20_000, torch.tensor([0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])))
    assert found.entropy < found.permuted - 2 * found.spread
    assert not found.applicable and "spread as over" in found.reason
    exactly = applicable(torch.full((10, 4), 0.25))
    assert not exactly.applicable and exactly.effective == pytest.approx(4.0)


def test_permuted_mass_is_as_if_each_row_were_permuted() -> None:
    p = softmax(40, torch.tensor([3.0, 1.0, 0.0, 0.0, 0.0])).double()
    generator = torch.Generator().manual_seed(3)
    fast = torch.stack([_permuted_mass(p, generator) for _ in range(2_000)])
    orders = torch.rand(2_000, *p.shape, generator=generator).argsort(2)
    slow = p.expand(2_000, -1, -1).gather(2, orders).mean(1)
    assert torch.allclose(fast.sum(1), torch.ones(2_000, dtype=p.dtype))
    assert torch.allclose(fast.mean(0), torch.full((5,), 0.2, dtype=p.dtype), atol=0.01)
    entropies = [torch.special.entr(mass).sum(1) for mass in (fast, slow)]
    assert entropies[0].mean().item() == pytest.approx(entropies[1].mean().item(), abs=0.003)
    assert entropies[0].std().item() == pytest.approx(entropies[1].std().item(), rel=0.15)


def test_a_row_is_moved_and_not_changed() -> None:
    row = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    found = {
        tuple(_permuted_mass(row, torch.Generator().manual_seed(s)).tolist()) for s in range(200)
    }
    assert {tuple(sorted(each)) for each in found} == {(0.1, 0.2, 0.3, 0.4)}
    assert len(found) == 24


def test_the_entropy_is_that_of_the_mean_mass() -> None:
    p = softmax(50, torch.tensor([1.0, 0.0, 2.0]))
    mass = p.double().mean(0).tolist()
    expected = -sum(m * math.log(m) for m in mass)
    found = applicable(p)
    assert found.entropy == pytest.approx(expected / math.log(3))
    assert found.effective == pytest.approx(math.exp(expected))
    assert found == applicable(p, seed=0) != applicable(p, seed=1)


def test_the_pretrained_encoder_knows_what_is_alike() -> None:
    encode = encoder()
    vectors = encode(["sandal", "shirt"])
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    # padding beside a longer text changes nothing
    beside = encode(["sandal", "a very long name of a class of ankle boots for the winter"])
    assert torch.allclose(beside[0], vectors[0], atol=1e-5)
    assert by_names(encode, ("car", "cat", "rail"), ("kitten",))[0] == "cat"
    assert by_names(encode, TRAINED, ("shirt",))[0] == "t-shirt"
    with pytest.raises(MissingExtra, match="no_such_package"):
        encoder("no_such_package:path")


def test_the_encoder_is_that_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    from rescind.benchmarks.top_classes import ENCODER
    from rescind.training.pretrained import encoder_folder

    names = ["sandal", "ankle boot"]
    theirs = SentenceTransformer(str(encoder_folder(ENCODER)), device="cpu").encode(names)
    assert torch.allclose(encoder()(names), torch.as_tensor(theirs), atol=1e-5)


def test_a_list_in_brackets_is_read_as_the_authors_publish_it(tmp_path: Path) -> None:
    path = tmp_path / "top.txt"
    path.write_text("[409, 414, 585]\n")
    assert published_list(path) == (409, 414, 585)
    path.write_text("[409, 414, x]")
    with pytest.raises(BadData, match="line 3 is 'x'"):
        published_list(path)


def test_a_published_list_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "office.txt"
    path.write_text("409\n414\r\n\n 585\n0\n999\n")
    assert published_list(path) == published_list(path, count=5) == (409, 414, 585, 0, 999)


@pytest.mark.parametrize(
    ("text", "count", "why"),
    [
        ("1\ntwo\n", None, "line 2 is 'two'"),
        ("1\n-2\n", None, "line 2 is '-2'"),
        ("1, 2\n", None, "line 1 is '1, 2'"),
        ("²\n", None, "line 1 is '²'"),
        ("1\n1000\n", None, "1000 is not below 1000"),
        ("7\n8\n7\n", None, "7 is there twice"),
        ("7\n8\n", 100, "holds 2 and not 100"),
        ("\n\n", None, "holds 0 and not any"),
        ("x\n5\n5\n5000", 3, "line 1 is 'x'; 5000 is not below 1000; 5 is there twice; it holds 4"),
        ("\n".join("x" * 12), None, "and 2 more"),
    ],
)
def test_what_is_no_list(tmp_path: Path, text: str, count: int | None, why: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(BadData, match="is no list of classes") as found:
        published_list(path, count=count)
    assert why in str(found.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("nothing", "bytes", "."):
        with pytest.raises(BadData, match="cannot be read"):
            published_list(tmp_path / name)


def test_what_is_refused() -> None:
    p = torch.full((2, 3), 1 / 3)
    for wrong in (p[:0], p[0], torch.full((2, 4), 0.25)):
        with pytest.raises(BadData, match="Probabilities of shape"):
            by_predictions(wrong, ("a", "b", "c"))
    for wrong in (p * 3, torch.tensor([[1.5, -0.5, 0.0]]), p * math.nan):
        with pytest.raises(BadData, match="no probability"):
            by_predictions(wrong, ("a", "b", "c"))
        with pytest.raises(BadData, match="no probability"):
            applicable(wrong)
    with pytest.raises(BadData, match="trained classes"):
        by_predictions(p, ("a", "b", "b"))
    with pytest.raises(BadData, match="downstream classes"):
        by_names(lookup, ("cat",), ())
    with pytest.raises(BadData, match="one class"):
        applicable(torch.ones(3, 1))
    for vectors in (torch.zeros(1, 2), torch.ones(3, 2), torch.ones(1), torch.ones(1, 2) / 0):
        with pytest.raises(BadData, match="The encoder gave"):
            by_names(lambda texts, v=vectors: v, ("cat",), ("dog",))  # type: ignore[misc]
    with pytest.raises(BadParameter, match="reduce is 'sum'"):
        by_names(lookup, ("cat",), ("dog",), "sum")  # type: ignore[arg-type]
    for second in (("a",), ("a", "c"), ("a", "b", "b")):
        with pytest.raises(BadData, match="rank correlation"):
            agreement(("a", "b"), second)
    with pytest.raises(BadData, match="rank correlation"):
        agreement(("a",), ("a",))
