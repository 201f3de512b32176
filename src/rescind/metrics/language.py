"""What a language model still says: perplexity, truth ratio, extraction strength, memorised share.

Token log-probabilities and hits come from teacher forcing: the model reads the true text once, and
at each position its prediction of the next token is compared with the true one. The caller shifts:
column t is about token t, predicted from the tokens before it. ``mask`` is 1 (or True) for the
tokens that are scored, 0 for prompt and padding, where any value may stand. All of these are read
next to the same numbers of retrained models.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Literal

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor

Average = Literal["arithmetic", "geometric"]
ROUNDING = 1e-3  # by which a log-probability in half precision may exceed 0


def token_loss(log_probabilities: Tensor, mask: Tensor) -> Tensor:
    """Mean over its scored tokens of minus log p, (n,) in nats a token.

    exp(-token_loss) is the probability of the text to the power of 1 / length: the geometric mean
    of its tokens' probabilities, by which texts of different length are compared.

    Args:
        log_probabilities: natural logs (n, length) of the true tokens' probabilities.
        mask: (n, length), which tokens are scored.

    Raises:
        BadData: shapes that differ, a mask of other values than 0 and 1, a text without scored
            tokens, a scored value that is not finite or above 0.
    """
    losses, scored = _losses(log_probabilities, mask)
    return losses.sum(1) / scored.sum(1)


def perplexity(log_probabilities: Tensor, mask: Tensor) -> float:
    """Exp of the mean of minus log p over all scored tokens of all texts, at least 1.

    Tokens weigh alike, so long texts weigh more than short ones (F. Jelinek et al., J. Acoust. Soc.
    Am. 62:S63, 1977). Above 709 nats a token it is infinite; ``token_loss`` still compares there.

    Raises:
        BadData: as ``token_loss``.
    """
    losses, scored = _losses(log_probabilities, mask)
    return float((losses.sum() / scored.sum()).exp())


def truth_ratio(paraphrased: Tensor, perturbed: Tensor, average: Average = "arithmetic") -> Tensor:
    """How much likelier false answers are than the true one, (n,), above 0; 1 if no difference.

    P. Maini et al., "TOFU", COLM 2024 (arXiv 2401.06121), equation 1:

        R = (mean over perturbed answers a' of P(a' | q)^(1/|a'|)) / P(a | q)^(1/|a|)

    with a a paraphrase of the right answer and a' paraphrases of wrong ones. Below 1 the model
    knows the answer. The mean is ``"arithmetic"`` as in the paper; ``"geometric"``, the mean of
    losses, is what open-unlearning computes (which also adds 1e-10 to the divisor; here all is done
    in logarithms). A retrained model's R is not 1 where wrong answers are worded better or worse
    than the right one; its R is the goal. Above 709 nats of difference R is infinite.

    Args:
        paraphrased: ``token_loss`` (n,) of the paraphrased right answer, in nats.
        perturbed: ``token_loss`` (n, k) of k wrong answers to each question, in nats.
        average: over the wrong answers.

    Raises:
        BadData: shapes that do not fit, no wrong answer, a loss that is below 0 or not finite.
        BadParameter: another average.
    """
    return _log_ratio(paraphrased, perturbed, average).exp()


def truth_closeness(
    paraphrased: Tensor, perturbed: Tensor, average: Average = "arithmetic"
) -> Tensor:
    """min(R, 1/R) of ``truth_ratio``, (n,) in (0, 1]; 1 if right and wrong are equally likely.

    The form in which TOFU and open-unlearning report forget sets. It does not tell which is
    likelier: a model that was pushed to wrong answers scores as low as one that knows the right
    one.

    Raises:
        BadData: as ``truth_ratio``.
        BadParameter: as ``truth_ratio``.
    """
    return (-_log_ratio(paraphrased, perturbed, average).abs()).exp()


def extraction_strength(hits: Tensor, mask: Tensor) -> Tensor:
    """1 minus the smallest share of the text from which greedy decoding gives all the rest.

    (n,) in [0, 1]: 1 if the prompt alone gives all scored tokens, 0 if not even the last token
    follows from the others. N. Carlini et al., "Extracting Training Data from Large Language
    Models", USENIX Security 2021 (arXiv 2012.07805), in the form of open-unlearning.

    One pass of teacher forcing suffices, because from k true tokens greedy decoding reproduces the
    rest just if all hits from k on are 1. Its first token is the argmax after the true first k: if
    that is a hit, the text so far is the true one again, and the same holds for the next; if it is
    none, the decoded text is already another. What comes after a first miss does not matter.

    open-unlearning's loop ends at the last token also where that is a miss, and gives 1/length
    there; here it is 0. Decoding of one text after another with a cache may round otherwise than a
    batch does, so that a near tie can fall to another token.

    Args:
        hits: (n, length), whether the most likely token after the true tokens before it is the true
            one; bool or 0 and 1.
        mask: (n, length), which tokens are scored; they are taken in order.

    Raises:
        BadData: shapes that differ, other values than 0 and 1, a text without scored tokens.
    """
    hit, scored = _hits(hits, mask)
    return _run(hit, scored).double() / scored.sum(1)


def memorised_share(hits: Tensor, mask: Tensor, suffix: int) -> float:
    """Share of texts whose last tokens greedy decoding gives word for word, in [0, 1].

    N. Carlini et al., "Quantifying Memorization Across Neural Language Models", ICLR 2023 (arXiv
    2202.07646), definition 3.1: extractable with the context that comes before the suffix, which is
    all of the true text here. Why hits of teacher forcing suffice is said in
    ``extraction_strength``.

    Args:
        hits: (n, length), as in ``extraction_strength``.
        mask: (n, length), which tokens are scored.
        suffix: number of tokens, at least 1 and at most those scored in the shortest text.

    Raises:
        BadData: shapes that differ, other values than 0 and 1, a text without scored tokens.
        BadParameter: a suffix below 1 or longer than the shortest text.
    """
    hit, scored = _hits(hits, mask)
    shortest = int(scored.sum(1).min())
    if not 1 <= suffix <= shortest:
        raise BadParameter(
            f"A suffix of {suffix} tokens, and the shortest text has {shortest} scored ones.",
            "A text that is shorter than the suffix would count as forgotten or as memorised.",
            "Use a shorter suffix, or leave out the short texts.",
        )
    return float((_run(hit, scored) >= suffix).double().mean())


def _run(hit: Tensor, scored: Tensor) -> Tensor:
    """(n,): how many scored tokens come after the last miss."""
    misses_from_here = (scored & ~hit).flip(1).cumsum(1).flip(1)
    return (scored & (misses_from_here == 0)).sum(1)


def _log_ratio(paraphrased: Tensor, perturbed: Tensor, average: Average) -> Tensor:
    if average not in ("arithmetic", "geometric"):
        raise BadParameter(
            f"There is no average {average!r}.", do='Use "arithmetic" or "geometric".'
        )
    right = checked_values(paraphrased, "losses of paraphrased answers")
    if perturbed.dim() != 2 or len(perturbed) != len(right) or perturbed.shape[1] < 1:
        raise BadData(
            f"The losses of perturbed answers have the shape {tuple(perturbed.shape)}.",
            f"Each of the {len(right)} questions needs one or more wrong answers.",
            "Pass (n, k): score all n k answers and reshape.",
        )
    wrong = checked_values(perturbed.flatten(), "losses of perturbed answers")
    wrong = wrong.reshape(perturbed.shape).to(right.device)
    if bool((right < -ROUNDING).any() or (wrong < -ROUNDING).any()):
        raise BadData(
            "A loss is below 0.",
            "Minus the log of a probability is not.",
            "Pass the token losses, not the log-probabilities.",
        )
    if average == "geometric":
        return right - wrong.mean(1)
    return right + (-wrong).logsumexp(1) - log(wrong.shape[1])


def _losses(log_probabilities: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the log-probabilities, 0 where they are not scored, and the mask as bool."""
    scored = _mask(log_probabilities, mask)
    losses = -log_probabilities.detach().double().masked_fill(~scored, 0.0)
    flat = checked_values(losses.flatten(), "log-probabilities of scored tokens")
    if bool((flat < -ROUNDING).any()):
        raise BadData(
            f"A log-probability is {-float(flat.min()):.3g}, above 0.",
            "No probability is above 1.",
            "Pass the log-softmax of the logits, not logits, probabilities or losses.",
        )
    return losses.clamp(min=0.0), scored


def _hits(hits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    scored = _mask(hits, mask)
    return _binary(hits.masked_fill(~scored, 0), "hits"), scored


def _mask(values: Tensor, mask: Tensor) -> Tensor:
    if values.dim() != 2 or values.shape != mask.shape or not values.numel():
        raise BadData(
            f"Values of the shape {tuple(values.shape)} and a mask of {tuple(mask.shape)}.",
            "Both need one row for each text and one column for each token.",
            "Pass (n, length) for both, padded to one length.",
        )
    scored = _binary(mask, "mask").to(values.device)
    empty = int((~scored.any(1)).sum())
    if empty:
        raise BadData(
            f"{empty} of {len(scored)} texts have no scored token.",
            "A mean over nothing is not a number, and leaving them out would hide it.",
            "Drop these texts, and check how the prompt was masked.",
        )
    return scored


def _binary(values: Tensor, name: str) -> Tensor:
    if not bool(((values == 0) | (values == 1)).all()):
        raise BadData(
            f"Values other than 0 and 1 stand in the {name}.",
            "Each token is in or out.",
            "Pass bool, or 0 and 1.",
        )
    return values.detach().bool()
