"""What can be trained. Importable without torch: it is imported inside the methods only."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter
from rescind.core.task import Target, Task
from rescind.training.modules import CausalLM, Classification, Regression
from rescind.training.pretrained import encoder_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 5  # rows named in an error before it only counts


@dataclass(frozen=True, slots=True)
class TextClassification:
    """One of the declared labels for a text: pretrained encoder, mean pooling, linear head.

    ``encoder`` is a folder, ``module:function`` returning one, or a name on the Hugging Face hub;
    ``text`` and ``label`` name columns. Texts are padded and cut to ``max_length`` tokens, so that
    no row's tensors depend on the rows beside it.
    """

    encoder: str
    labels: tuple[str, ...]
    max_length: int = 64
    text: str = "text"
    label: str = "label"
    kind: Literal["text_classification"] = "text_classification"

    @property
    def target(self) -> Target:
        """Classes."""
        return "classes"

    def __post_init__(self) -> None:
        """A folder is kept as an absolute path: a replay may start anywhere.

        Raises:
            BadParameter: values that can suit no encoder and no rows; all are named.
        """
        problems = [
            f"task.{name} is empty"
            for name in ("encoder", "text", "label")
            if not getattr(self, name).strip()
        ]
        if self.max_length < 1:
            problems.append(f"task.max_length is {self.max_length}; it must be at least 1")
        if self.text == self.label:
            problems.append(f"task.text and task.label both name the column {self.text!r}")
        if problems:
            raise BadParameter(
                f"The task cannot work: {'; '.join(problems)}.", do="Correct it in the recipe."
            )
        if Path(self.encoder).is_dir():
            object.__setattr__(self, "encoder", str(Path(self.encoder).absolute()))

    def check(self, rows: Sequence[Row]) -> None:
        """Look at every row and at the declared labels.

        Raises:
            BadData: lists all problems at once.
        """
        problems = [*self._label_problems(rows), *self._row_problems(rows)]
        if problems:
            raise BadData(
                "The rows cannot be trained on: " + "; ".join(problems) + ".",
                "Labels and columns are declared in the recipe and never fitted to the data.",
                "Correct the rows, or text, label and labels of the task in the recipe.",
            )

    def _label_problems(self, rows: Sequence[Row]) -> Iterator[str]:
        if len(self.labels) < 2:
            yield f"the task declares {len(self.labels)} label(s) and needs at least two"
        if len(set(self.labels)) < len(self.labels):
            yield "the task declares a label twice"
        found = {row[self.label] for row in rows if isinstance(row.get(self.label), str)}
        if len(rows) and len(found) == 1:
            yield f"all rows have the one label {next(iter(found))!r}"
        for name in sorted(found - set(self.labels)):
            near = difflib.get_close_matches(name, self.labels, n=1)
            hint = f"did you mean {near[0]!r}" if near else f"declared: {', '.join(self.labels)}"
            yield f"the label {name!r} is not declared ({hint})"

    def _row_problems(self, rows: Sequence[Row]) -> Iterator[str]:
        for column in (self.text, self.label):
            yield from _column_problems(rows, column)

    def build(self) -> nn.Module:
        """The pretrained encoder with a fresh head, frozen in evaluation mode.

        Raises:
            UnsupportedModel: the weights do not fill the encoder.
        """
        from rescind.training.classifier import TextClassifier

        return TextClassifier(encoder_folder(self.encoder), len(self.labels))

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``input_ids`` and ``attention_mask`` (n, max_length); ``labels`` (n,) if rows have them.

        Raises:
            BadData: rows without a text, or a label that is not declared.
        """
        import torch

        problems = list(_column_problems(rows, self.text))
        if problems:
            raise BadData(
                f"The rows cannot be answered: {'; '.join(problems)}.",
                f"The task reads the column {self.text!r}, which holds a text in every row.",
                "Give rows as mappings of column names to values.",
            )
        tokens = tokenizer(self.encoder)(
            [row[self.text] for row in rows],
            padding="max_length",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        found = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        if all(self.label in row for row in rows):
            found["labels"] = torch.tensor([self._index(row[self.label]) for row in rows])
        return found

    def _index(self, label: Any) -> int:
        if label not in self.labels:
            raise BadData(
                f"The label {label!r} is not declared.",
                f"The task declares {', '.join(self.labels)}.",
                "Add it to task.labels in the recipe, or correct the row.",
            )
        return self.labels.index(label)

    def outputs(self, module: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """Logits (n, labels)."""
        logits: Tensor = module(batch["input_ids"], batch["attention_mask"])
        return logits

    def loss(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Cross entropy of logits (n, labels): one number a row, shape (n,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, batch["labels"], reduction="none")

    def score(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """1.0 where the largest of (n, labels) is at the label, else 0.0, shape (n,)."""
        right: Tensor = outputs.argmax(dim=1) == batch["labels"]
        return right.float()

    def combine(self, outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        """Mean of the members' probabilities by weight, shape (n, labels)."""
        import torch

        members = torch.stack([part.softmax(dim=1) for part in outputs])
        shares = torch.tensor(weights, dtype=members.dtype) / sum(weights)
        return (members * shares[:, None, None]).sum(dim=0)

    def answers(self, combined: Tensor) -> list[dict[str, Any]]:
        """Label and probability of each row."""
        best = combined.max(dim=1)
        return [
            {"label": self.labels[int(i)], "probability": float(p)}
            for p, i in zip(best.values, best.indices, strict=True)
        ]


TASKS: dict[str, type[Task]] = {
    "text_classification": TextClassification,
    "classification": Classification,
    "regression": Regression,
    "causal_lm": CausalLM,
}


def _column_problems(rows: Sequence[Row], column: str) -> Iterator[str]:
    missing = [i for i, row in enumerate(rows) if column not in row]
    if missing:
        yield f"the column {column!r} is missing in {_rows(missing)}"
    other = [i for i, row in enumerate(rows) if not isinstance(row.get(column, ""), str)]
    if other:
        yield f"the column {column!r} is not a string in {_rows(other)}"


def _rows(numbers: list[int]) -> str:
    shown = ", ".join(str(number + 1) for number in numbers[:SHOWN])
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"row {shown}{more}"


# reading tokenizer.json takes longer than a batch; the files of an encoder do not change under us
@functools.lru_cache(maxsize=4)
def tokenizer(encoder: str) -> Any:
    """The tokenizer beside the encoder's weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(encoder_folder(encoder), local_files_only=True)
