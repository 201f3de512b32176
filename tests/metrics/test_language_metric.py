from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.language import (
    Average,
    extraction_strength,
    memorised_share,
    perplexity,
    token_loss,
    truth_closeness,
    truth_ratio,
)

NAN, INF = math.nan, math.inf


def draw(n: int = 6, length: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-probabilities with rubbish where they are not scored, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    values = -3 * torch.rand(n, length, generator=generator, dtype=torch.float64)
    mask = torch.rand(n, length, generator=generator) < 0.6
    mask[:, 2] = True
    rubbish = torch.tensor([NAN, INF, -INF, 5.0]).double().repeat(n * length)[: n * length]
    return torch.where(mask, values, rubbish.reshape(n, length)), mask


def scored(values: Tensor, mask: Tensor) -> list[list[float]]:
    rows = zip(values.tolist(), mask.tolist(), strict=True)
    return [[v for v, m in zip(row, ms, strict=True) if m] for row, ms in rows]


def test_loss_and_perplexity_are_those_of_loops() -> None:
    values, mask = draw()
    texts = scored(values, mask)
    slow = [-sum(text) / len(text) for text in texts]
    assert token_loss(values, mask).tolist() == pytest.approx(slow, rel=1e-12)
    product = math.prod(math.exp(v) for text in texts for v in text)
    assert perplexity(values, mask) == pytest.approx(product ** (-1 / sum(map(len, texts))))


def test_tokens_weigh_alike_in_perplexity() -> None:
    values = torch.tensor([[-1.0, -1.0, -1.0], [-5.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert perplexity(values, mask) == pytest.approx(math.exp(2))


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    values = torch.full((3, 4), -math.log(50.0))
    assert perplexity(values, torch.ones(3, 4)) == pytest.approx(50, rel=1e-6)
    assert perplexity(torch.full((1, 2), -800.0), torch.ones(1, 2)) == INF


def slow_ratio(right: float, wrong: Sequence[float], average: Average) -> float:
    p = [math.exp(-w) for w in wrong]
    mean = sum(p) / len(p) if average == "arithmetic" else math.prod(p) ** (1 / len(p))
    return mean / math.exp(-right)


@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_truth_ratio_is_that_of_a_loop(average: Average, k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    right = 4 * torch.rand(10, generator=generator, dtype=torch.float64)
    wrong = 4 * torch.rand(10, k, generator=generator, dtype=torch.float64)
    pairs = zip(right.tolist(), wrong.tolist(), strict=True)
    slow = [slow_ratio(r, w, average) for r, w in pairs]
    assert truth_ratio(right, wrong, average).tolist() == pytest.approx(slow, rel=1e-12)
    closeness = [min(r, 1 / r) for r in slow]
    assert truth_closeness(right, wrong, average).tolist() == pytest.approx(closeness, rel=1e-12)
    assert 0 < sum(r < 1 for r in slow) < 10


def test_the_direction_of_the_truth_ratio() -> None:
    knows = truth_ratio(torch.tensor([0.1]), torch.tensor([[3.0, 4.0]]))
    assert 0 < knows.item() < 0.1
    far = truth_ratio(torch.tensor([600.0]), torch.tensor([[0.0]]))
    assert far.item() == pytest.approx(math.exp(600))
    assert truth_closeness(torch.tensor([900.0]), torch.tensor([[0.0]])).item() == 0.0
    assert truth_ratio(torch.tensor([2.0]), torch.tensor([[2.0, 2.0]])).item() == pytest.approx(1)


VOCABULARY = 3


def next_token(prefix: Sequence[int]) -> int:
    """A language model: the most likely token after any prefix, long ones included."""
    state = 7
    for token in prefix:
        state = (state * 31 + token + 1) % 1009
    return state % VOCABULARY


def decode(prefix: Sequence[int], length: int) -> list[int]:
    text = list(prefix)
    while len(text) < length:
        text.append(next_token(text))
    return text


def texts(prompt: int, length: int) -> list[list[int]]:
    """The model's own texts with a token changed here and there, and random ones."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randint(VOCABULARY, (length,), generator=generator).tolist() for _ in range(20)]
    for changed in range(-1, length):
        text = decode([changed % VOCABULARY] * prompt, prompt)
        for place in range(prompt, length):
            token = next_token(text)
            text.append((token + 1) % VOCABULARY if place == changed else token)
        found.append(text)
    return found


def teacher_forced(found: list[list[int]]) -> Tensor:
    return torch.tensor([[next_token(t[:i]) == t[i] for i in range(len(t))] for t in found])


PROMPT, LENGTH = 3, 11


def masked(found: list[list[int]]) -> Tensor:
    mask = torch.ones(len(found), LENGTH, dtype=torch.bool)
    mask[:, :PROMPT] = False
    return mask


def test_extraction_strength_is_that_of_greedy_decoding() -> None:
    found = texts(PROMPT, LENGTH)
    slow = []
    for text in found:
        shares = [
            k / (LENGTH - PROMPT)
            for k in range(LENGTH - PROMPT + 1)
            if decode(text[: PROMPT + k], LENGTH) == text
        ]
        slow.append(1 - min(shares))
    strengths = extraction_strength(teacher_forced(found), masked(found)).tolist()
    assert strengths == pytest.approx(slow, abs=1e-15)
    assert {0.0, 1.0} < {round(s, 6) for s in slow}
    assert len(set(strengths)) == LENGTH - PROMPT + 1


@pytest.mark.parametrize("suffix", [1, 3, 8])
def test_the_memorised_share_is_that_of_greedy_decoding(suffix: int) -> None:
    found = texts(PROMPT, LENGTH)
    slow = sum(decode(t[: LENGTH - suffix], LENGTH) == t for t in found) / len(found)
    assert memorised_share(teacher_forced(found), masked(found), suffix) == pytest.approx(slow)
    assert 0 < slow < 1


def test_padding_and_prompt_do_not_count() -> None:
    hits = torch.tensor([[9, 1, 0, 1, 1, 9], [0, 1, 1, 1, 0, 0]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
    assert extraction_strength(hits, mask).tolist() == [0.5, 1.0]
    assert memorised_share(hits, mask, 2) == 1.0
    assert memorised_share(hits, mask, 3) == 0.5


def test_a_text_that_ends_in_a_miss_has_no_strength() -> None:
    """1/4 by the loop of open-unlearning."""
    hits = torch.tensor([[1, 1, 1, 0]])
    assert extraction_strength(hits, torch.ones(1, 4)).tolist() == [0.0]


@pytest.mark.parametrize("suffix", [0, -1, 4])
def test_a_suffix_that_a_text_does_not_have_is_refused(suffix: int) -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])
    with pytest.raises(BadParameter, match="shortest text has 3"):
        memorised_share(torch.ones(2, 4), mask, suffix)


Metric = Callable[[Tensor, Tensor], object]


@pytest.mark.parametrize(
    "metric",
    [token_loss, perplexity, extraction_strength, lambda v, m: memorised_share(v, m, 1)],
)
def test_shapes_and_masks_that_do_not_fit_are_refused(metric: Metric) -> None:
    zeros, ones = torch.zeros(2, 3), torch.ones(2, 3)
    for values, mask, what in (
        (zeros, ones[:, :2], r"shape \(2, 3\) and a mask of \(2, 2\)"),
        (zeros[0], ones[0], r"shape \(3,\)"),
        (zeros[:0], ones[:0], r"shape \(0, 3\)"),
        (zeros, ones / 2, "stand in the mask"),
        (zeros, torch.tensor([[0, 0, 0], [0, 0, 1]]), "1 of 2 texts have no scored token"),
    ):
        with pytest.raises(BadData, match=what):
            metric(values, mask)


@pytest.mark.parametrize("value", [NAN, -INF, INF, 0.5])
def test_what_is_no_log_probability_is_refused(value: float) -> None:
    values = torch.full((1, 3), -1.0)
    values[0, 1] = value
    with pytest.raises(BadData, match="log-probabilit"):
        token_loss(values, torch.ones(1, 3))
    assert token_loss(values, torch.tensor([[1, 0, 1]])).tolist() == [1.0]


def test_what_is_no_hit_is_refused() -> None:
    with pytest.raises(BadData, match="stand in the hits"):
        extraction_strength(torch.tensor([[0.5, 1.0]]), torch.ones(1, 2))


@pytest.mark.parametrize("metric", [truth_ratio, truth_closeness])
def test_answers_that_cannot_be_compared_are_refused(
    metric: Callable[[Tensor, Tensor], Tensor],
) -> None:
    right, wrong = torch.ones(2), torch.ones(2, 3)
    for a, b, what in (
        (right[:0], wrong[:0], r"paraphrased answers have the shape \(0,\)"),
        (right, wrong[:, :0], r"perturbed answers have the shape \(2, 0\)"),
        (right, wrong[:1], r"perturbed answers have the shape \(1, 3\)"),
        (right, wrong[:, 0], r"perturbed answers have the shape \(2,\)"),
        (right * NAN, wrong, "2 of the losses of paraphrased"),
        (right, wrong * INF, "6 of the losses of perturbed"),
        (-right, wrong, "below 0"),
        (right, -wrong, "below 0"),
    ):
        with pytest.raises(BadData, match=what):
            metric(a, b)


def test_an_unknown_average_is_refused() -> None:
    with pytest.raises(BadParameter, match="harmonic"):
        truth_ratio(torch.ones(1), torch.ones(1, 1), "harmonic")  # type: ignore[arg-type]
