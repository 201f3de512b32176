"""Tasks over any PyTorch module: a function builds it, the task says what goes in and comes out.

Importable without torch: it is imported inside the methods only.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter
from rescind.core.task import Target
from rescind.training.factories import build_module

if TYPE_CHECKING:
    from torch import Tensor, nn

IGNORED = -100  # label of a position that no loss counts, as in torch


@dataclass(frozen=True, slots=True)
class Classification:
    """One of the declared classes for an array.

    ``factory`` is ``module:function``; it is called with ``arguments`` and returns a module that
    maps (n, *shape) to logits (n, classes). The column ``array`` holds the numbers in a flat list,
    or as base64 of bytes, which stand for 0 to 1 in steps of 1/255.
    """

    factory: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    array: str = "array"
    label: str = "label"
    kind: Literal["classification"] = "classification"

    def __post_init__(self) -> None:
        _declared(self.factory, self.shape)
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise BadParameter(
                f"task.classes is {list(self.classes)}.", "It must name two or more, each once."
            )

    @property
    def target(self) -> Target:
        """Classes."""
        return "classes"

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``BadData`` listing rows whose array or label cannot be used."""
        problems = [*_array_problems(rows, self.array, self.shape)]
        wrong = sorted({str(r.get(self.label)) for r in rows} - set(self.classes))
        if wrong:
            problems.append(f"labels that are not declared: {', '.join(wrong[:5])}")
        _refuse_rows(problems)

    def build(self) -> nn.Module:
        """The untrained module, drawn from the generator of the process."""
        return build_module(self.factory, self.arguments)

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``array`` (n, *shape), and ``labels`` (n,) if all rows have them."""
        import torch

        found = {"array": _arrays(rows, self.array, self.shape)}
        if all(self.label in row for row in rows):
            index = {name: i for i, name in enumerate(self.classes)}
            found["labels"] = torch.tensor([index[row[self.label]] for row in rows])
        return found

    def outputs(self, module: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """Logits (n, classes)."""
        return _logits(module(batch["array"]))

    def loss(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Cross entropy, shape (n,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, batch["labels"], reduction="none")

    def score(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """1.0 where the largest logit is at the label, shape (n,)."""
        right: Tensor = outputs.argmax(dim=1) == batch["labels"]
        return right.float()

    def combine(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Mean of the members' probabilities by weight, shape (n, classes)."""
        return _weighted([part.softmax(dim=1) for part in outputs], weights)

    def answers(self, combined: Tensor) -> list[dict[str, Any]]:
        """Label and probability of each row."""
        best = combined.max(dim=1)
        return [
            {"label": self.classes[int(i)], "probability": float(p)}
            for p, i in zip(best.values, best.indices, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Regression:
    """A number for an array; right is an answer that is off by at most ``tolerance``."""

    factory: str
    shape: tuple[int, ...]
    tolerance: float
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    array: str = "array"
    label: str = "value"
    kind: Literal["regression"] = "regression"

    def __post_init__(self) -> None:
        _declared(self.factory, self.shape)
        if not 0.0 < self.tolerance < math.inf:
            raise BadParameter(f"task.tolerance is {self.tolerance}.", "It must be above 0.")

    @property
    def target(self) -> Target:
        """Numbers."""
        return "numbers"

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``BadData`` listing rows whose array or value cannot be used."""
        problems = [*_array_problems(rows, self.array, self.shape)]
        wrong = sum(not _is_number(row.get(self.label)) for row in rows)
        if wrong:
            problems.append(f"{wrong} rows have no finite number in {self.label!r}")
        _refuse_rows(problems)

    def build(self) -> nn.Module:
        """The untrained module, drawn from the generator of the process."""
        return build_module(self.factory, self.arguments)

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``array`` (n, *shape), and ``labels`` (n,) if all rows have a value."""
        import torch

        found = {"array": _arrays(rows, self.array, self.shape)}
        if all(self.label in row for row in rows):
            found["labels"] = torch.tensor([float(row[self.label]) for row in rows])
        return found

    def outputs(self, module: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """Numbers (n,)."""
        return _logits(module(batch["array"])).reshape(len(batch["array"]))

    def loss(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Squared error, shape (n,)."""
        error: Tensor = outputs - batch["labels"]
        return error**2

    def score(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """1.0 where the answer is within the tolerance, shape (n,)."""
        error: Tensor = outputs - batch["labels"]
        return (error.abs() <= self.tolerance).float()

    def combine(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Weighted mean of the members, shape (n,)."""
        return _weighted(list(outputs), weights)

    def answers(self, combined: Tensor) -> list[dict[str, Any]]:
        """The number of each row."""
        return [{"label": float(value)} for value in combined]


@dataclass(frozen=True, slots=True)
class CausalLM:
    """The next byte of a text. The vocabulary is the 256 bytes of UTF-8: nothing is fitted.

    ``factory`` returns a module that maps ids (n, length) to logits (n, length, 256 or more). Texts
    are cut and padded to ``max_length`` bytes. Right is a text most of whose bytes are foretold.
    """

    factory: str
    max_length: int
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    text: str = "text"
    kind: Literal["causal_lm"] = "causal_lm"

    def __post_init__(self) -> None:
        _declared(self.factory, (self.max_length - 1,))

    @property
    def target(self) -> Target:
        """Tokens."""
        return "tokens"

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``BadData`` listing how many rows hold no text of two bytes or more."""
        wrong = sum(
            not isinstance(t := row.get(self.text), str) or len(t.encode()) < 2 for row in rows
        )
        _refuse_rows([f"{wrong} rows have no text in {self.text!r}"] if wrong else [])

    def build(self) -> nn.Module:
        """The untrained module, drawn from the generator of the process."""
        return build_module(self.factory, self.arguments)

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``input_ids`` (n, length), ``labels`` (n, length): each id, ``IGNORED`` where padded."""
        import torch

        texts = [row[self.text].encode()[: self.max_length] for row in rows]
        ids = torch.zeros(len(texts), self.max_length, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = torch.tensor(list(text))
            labels[i, : len(text)] = ids[i, : len(text)]
        return {"input_ids": ids, "labels": labels}

    def outputs(self, module: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """Logits (n, length, vocabulary): position t foretells byte t + 1."""
        return _logits(module(batch["input_ids"]))

    def loss(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean cross entropy of the bytes of each text after its first, shape (n,)."""
        from torch.nn.functional import cross_entropy

        wanted = batch["labels"][:, 1:]
        each = cross_entropy(
            outputs[:, :-1].transpose(1, 2), wanted, reduction="none", ignore_index=IGNORED
        )
        mean: Tensor = each.sum(dim=1) / (wanted != IGNORED).sum(dim=1).clamp(min=1)
        return mean

    def score(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """1.0 for each text most of whose bytes are foretold, shape (n,)."""
        wanted = batch["labels"][:, 1:]
        counted: Tensor = wanted != IGNORED
        right = (outputs[:, :-1].argmax(dim=2) == wanted) & counted
        most: Tensor = 2 * right.sum(dim=1) > counted.sum(dim=1)
        return most.float()

    def combine(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Mean of the members' probabilities by weight, shape (n, length, vocabulary)."""
        return _weighted([part.softmax(dim=2) for part in outputs], weights)

    def answers(self, combined: Tensor) -> list[dict[str, Any]]:
        """The likeliest byte after each text of full length."""
        return [{"label": int(row[-1].argmax())} for row in combined]


def _declared(factory: str, shape: Sequence[int]) -> None:
    problems = [] if ":" in factory else [f"task.factory is {factory!r}, not module:function"]
    if not shape or min(shape) < 1:
        problems.append(f"task.shape is {list(shape)}; all its lengths must be at least 1")
    if problems:
        raise BadParameter(f"The task cannot work: {'; '.join(problems)}.", do="Correct it.")


def _refuse_rows(problems: Sequence[str]) -> None:
    if problems:
        raise BadData(
            f"The rows cannot be trained on: {'; '.join(problems)}.",
            "Columns, shapes and classes are declared in the recipe and never fitted to the data.",
            "Correct the rows, or the task in the recipe.",
        )


def _array_problems(rows: Sequence[Row], column: str, shape: Sequence[int]) -> Iterator[str]:
    wrong = [i + 1 for i, row in enumerate(rows) if _numbers(row.get(column)) != math.prod(shape)]
    if wrong:
        shown = ", ".join(map(str, wrong[:5]))
        yield (
            f"{len(wrong)} rows have no array of {math.prod(shape)} numbers in {column!r}"
            f" (row {shown})"
        )


def _numbers(value: Any) -> int:
    """How many finite numbers the value of a column holds; -1 where it is no array."""
    if isinstance(value, str):
        try:
            return len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            return -1
    listed = isinstance(value, (list, tuple)) and all(_is_number(x) for x in value)
    return len(value) if listed else -1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _arrays(rows: Sequence[Row], column: str, shape: Sequence[int]) -> Tensor:
    import torch

    _refuse_rows([*_array_problems(rows, column, shape)])
    found = [_array(row[column]) for row in rows]
    return torch.stack(found).reshape(len(rows), *shape) if found else torch.zeros(0, *shape)


def _array(value: Any) -> Tensor:
    import torch

    if isinstance(value, str):
        raw = bytearray(base64.b64decode(value))
        return torch.frombuffer(raw, dtype=torch.uint8).float() / 255
    return torch.tensor(value, dtype=torch.float32)


def _logits(found: Any) -> Tensor:
    """The tensor itself, or the ``logits`` of a Hugging Face output."""
    logits: Tensor = getattr(found, "logits", found)
    return logits


def _weighted(members: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    import torch

    stacked = torch.stack(list(members))
    shares = torch.tensor(weights, dtype=stacked.dtype) / sum(weights)
    return torch.einsum("m,m...->...", shares, stacked)
