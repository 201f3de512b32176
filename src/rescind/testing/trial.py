"""A tiny trained model on which a method is tried, and what was seen while the method worked."""

from __future__ import annotations

import inspect
import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescind import methods_of, state, trainer
from rescind.core.canonical import digest, plain
from rescind.core.certificate import Statement
from rescind.core.dataset import Key, Record, Split
from rescind.core.errors import BadParameter
from rescind.core.partition import Partition
from rescind.core.protocols import (
    Editable,
    Escalation,
    ModelHandle,
    Planner,
    Unlearned,
    Unlearner,
)
from rescind.core.request import Request
from rescind.core.run import AdamW, Order, Recipe, Run, Snapshot
from rescind.methods.retrain import Retrain
from rescind.proofs.reading import read_statement
from rescind.resolve import Ask
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.testing.memory import MemoryModel, run_of
from rescind.testing.tiny import LABELS, NAMES, WORDS, tiny_recipe, tiny_task
from rescind.training.modules import Classification
from rescind.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from torch import Tensor

BLOCKS = 4
FORGOTTEN = 12  # records in each of many releases: one would hardly move a model of 120
SEEDS = (0, 1, 2)


def trial_rows(records: int) -> list[dict[str, str]]:
    """Short texts with a key each; five of eight words of a label make them easy to tell apart."""
    rows = []
    for i in range(records):
        label = LABELS[i % len(LABELS)]
        words = random.Random(i).sample(WORDS[label], 5)  # noqa: S311 data, not a secret
        text = " ".join([NAMES[i % len(NAMES)], *words, str(i)])
        rows.append({"id": f"r{i}", "label": label, "text": text})
    return rows


def linear_rows(records: int) -> list[dict[str, Any]]:
    """The same rows with an array beside the text: 1 for each of the labels' words in it."""
    words = [word for label in LABELS for word in WORDS[label]]
    return [
        row | {"array": [float(word in row["text"].split()) for word in words]}
        for row in trial_rows(records)
    ]


def linear_task() -> Classification:
    """One linear layer over the words."""
    words = sum(map(len, WORDS.values()))
    arguments = {"inputs": words, "outputs": len(LABELS), "hidden": ()}
    return Classification("rescind.training.zoo:mlp", LABELS, (words,), arguments)


def name_for(method: Unlearner) -> str:
    """The name under which a request can ask for the method: registered, or ``file.py:Class``.

    Raises:
        BadParameter: its class stands in no file, so no workspace could find it again.
    """
    name = methods_of.name_of(method)
    if name in methods_of.METHODS.names():
        return name
    cls = type(method)
    try:
        return f"{inspect.getfile(cls)}:{cls.__qualname__}"
    except (OSError, TypeError) as error:
        raise BadParameter(
            f"The class {cls.__qualname__} stands in no file.",
            "A request names its method, and the name must lead back to the class.",
            "Put the class into a file of its own.",
        ) from error


class Loan(Sequence[Record]):
    """Records that a method may read until it returns; later reads are counted."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self.returned = False
        self.late_reads = 0

    def _read(self) -> Sequence[Record]:
        self.late_reads += self.returned
        return self._records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._read())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as the sequence it lends
        return self._read()[index]


@dataclass(frozen=True, slots=True)
class Offered:
    """A model handle with what the protocol promises and nothing else."""

    _handle: ModelHandle

    @property
    def digest(self) -> str:
        """Digest of the served selection."""
        return self._handle.digest

    @property
    def parts(self) -> tuple[Snapshot, ...]:
        """The snapshots that may serve."""
        return self._handle.parts

    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]:
        """Train whole orders, as the handle behind it does."""
        return self._handle.train(orders, records)

    def load(self, part: Snapshot) -> Editable:
        """A copy of a part to edit."""
        return self._handle.load(part)

    def save(self, part: Snapshot, edited: Editable) -> Snapshot:
        """Make an edited copy a part."""
        return self._handle.save(part, edited)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one call of ``unlearn`` left behind. ``*_bytes`` are the original parts' by name."""

    result: Unlearned
    heads: tuple[tuple[int, str], tuple[int, str]]
    threads: tuple[int, int]
    before_bytes: Mapping[str, bytes]
    after_bytes: Mapping[str, bytes]
    made_from: Mapping[str, frozenset[str]]  # lineage of the result's parts, as stored
    wanted: Mapping[str, frozenset[str]]  # lineage they must have
    stored: Mapping[str, bytes]  # the result's parts
    forget: Loan


@dataclass(init=False)
class Watched:
    """A method that is looked at while it works; it hides what the protocol does not promise."""

    def __init__(self, method: Unlearner, workspace: Workspace) -> None:
        self.method, self.workspace = method, workspace
        self.calls: list[Seen] = []

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Call the method and note what it did to the workspace."""
        import torch

        b = self.workspace.backends
        before = {s.name: b.artifacts.get(s.name) for s in model.parts}
        head, threads = b.ledger.head(), torch.get_num_threads()
        forget, retain = Loan(split.forget), Loan(split.retain)
        result = self.method.unlearn(Offered(model), Split(forget, retain), run)
        forget.returned = retain.returned = True
        seen = Seen(
            result=result,
            heads=(head, b.ledger.head()),
            threads=(threads, torch.get_num_threads()),
            before_bytes=before,
            after_bytes={name: b.artifacts.get(name) for name in before},
            made_from={s.name: trainer.labels_of(b, s) for s in result.parts},
            wanted={s.name: state.labels(b, s.cells) for s in result.parts},
            stored={s.name: b.artifacts.get(s.name) for s in result.parts},
            forget=forget,
        )
        self.calls.append(seen)
        return result


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request that the method carried to its certificate."""

    workspace: Workspace
    request: Request
    statement: Statement
    seen: Seen


@dataclass
class Trial:
    """A method and the folder in which tiny models are trained; methods may share the folder.

    All keys that decide anything are fixed, so that a trial gives the same result each time.
    """

    method: Unlearner
    folder: Path
    records: int = 120
    epochs: int = 4

    @cached_property
    def name(self) -> str:
        """How a request asks for the method."""
        return name_for(self.method)

    @property
    def linear(self) -> bool:
        """Whether the method serves one linear layer only and says so by ``linear_only``."""
        return bool(getattr(self.method, "linear_only", False))

    def rows(self) -> list[dict[str, Any]]:
        """What is trained on; keys, labels and texts are those of ``trial_rows`` in either case."""
        return linear_rows(self.records) if self.linear else [*trial_rows(self.records)]

    def recipe(self, seed: int) -> Recipe:
        """The method's own layout where it has one, on 2 x 2 cells if it takes them; else S3T's."""
        task = tiny_task(self.folder / "encoder", BLOCKS)
        planner = self.method if isinstance(self.method, Planner) else None
        recipe = tiny_recipe(task, "s3t" if planner is None else self.name)
        recipe = replace(recipe, partition=Partition(2, 2, 0.3), epochs=self.epochs, seed=seed)
        if self.linear or (planner is not None and not _lays_out(planner, recipe)):
            recipe = replace(recipe, partition=Partition(1, 1, 0.3), orders=1, blocks_per_slice=2)
        if self.linear:
            recipe = replace(recipe, task=linear_task(), blocks_per_slice=1)
        return replace(recipe, optimizer=AdamW(lr=1e-2, head_lr=3e-2))

    def workspace(self, seed: int = 0) -> Workspace:
        """A copy of a trained workspace: whatever is done to it, the next copy is as trained."""
        recipe = self.recipe(seed)
        template = self.folder / "trained" / digest(plain(recipe))[:12]
        if not template.exists():
            self._train(template, recipe, seed)
        copies = self.folder / "copies"
        copies.mkdir(exist_ok=True)
        copy = Path(tempfile.mkdtemp(dir=copies))  # other trials may share the folder
        shutil.copytree(template, copy, dirs_exist_ok=True)
        return open_workspace(copy)

    def accept(self, workspace: Workspace, keys: Sequence[Key], *, outage: bool = False) -> Request:
        """Ask for these records to be forgotten by the method; duplicates may stay."""
        ask = Ask(keys=tuple(keys), near="keep", method=self.name, accept_outage=outage)
        return workspace.request(ask)

    def applied(self, workspace: Workspace) -> Unlearner:
        """The method as the pipeline is to call it.

        A list of methods needs margins and eight retrained models to choose among them. Not here:
        it is called without that frame, so that what it ends with is what is tried.
        """
        listed = isinstance(self.method, Escalation)
        return Watched(self.method, workspace) if listed else self.method

    def forget_one(self, seed: int = 0, *, replay: bool = False) -> Outcome:
        """Forget the first record trained on, with the method watched."""
        workspace = self.workspace(seed)
        request = self.accept(workspace, [trained_keys(workspace)[0]])
        watched = Watched(self.method, workspace)
        certificate = workspace.process(request.id, method=watched, replay=replay)
        request = state.request(workspace.backends, request.id)
        return Outcome(workspace, request, read_statement(certificate.payload), watched.calls[-1])

    @cached_property
    def outcome(self) -> Outcome:
        """``forget_one`` with a replay, done once for all checks that only look."""
        return self.forget_one(replay=True)

    def retrained(self, seed: int) -> Statement:
        """The reference: the same record forgotten by training everything again."""
        workspace = self.workspace(seed)
        planner = self.method if isinstance(self.method, Planner) else None
        request = self.accept(workspace, [trained_keys(workspace)[0]])
        reference = Retrain(layout=planner)
        certificate = workspace.process(request.id, method=reference, replay=False)
        return read_statement(certificate.payload)

    def releases(self, draws: int, *, swapped: bool) -> Tensor:
        """Weights (draws, parameters) of as many runs of the method on one model in memory.

        ``FORGOTTEN`` records are forgotten; ``swapped`` trains the model with their labels wrong.
        """
        import torch

        from rescind.training.plain import train_whole

        rows, recipe = self.rows(), self.recipe(0)
        for row in rows[:FORGOTTEN] if swapped else ():
            row["label"] = LABELS[1 - LABELS.index(row["label"])]
        records = [Record(row["id"], row, digest(row)) for row in rows]
        model = MemoryModel(train_whole(recipe, rows))
        split, run = Split(records[:FORGOTTEN], records[FORGOTTEN:]), run_of(recipe)
        found = []
        for _ in range(draws):
            model.edited = None
            self.method.unlearn(model, split, run)
            state = (model.edited or model.model).module.state_dict()
            found.append(torch.cat([t.reshape(-1).double() for t in state.values()]))
        return torch.stack(found)

    def _train(self, template: Path, recipe: Recipe, seed: int) -> None:
        kind = "linear" if self.linear else "text"
        rows = self.folder / f"rows-{kind}-{self.records}.jsonl"
        rows.write_text("\n".join(json.dumps(row) for row in self.rows()))
        keys = KeyStore(template / "keys")
        for secret in ("workspace", "partition"):
            keys.put(secret, bytes([seed]) * 32)
        workspace = open_workspace(template, Settings(executor="inline"))
        workspace.train(recipe, str(rows), key="id")
        workspace.backends.ledger.close()


def trained_keys(workspace: Workspace) -> tuple[Key, ...]:
    """Keys of the records that the model was trained on; the test records are not among them."""
    return tuple(e.key for e in state.allowed(workspace.backends) if e.cell != "test")


def _lays_out(planner: Planner, recipe: Recipe) -> bool:
    try:
        planner.orders(recipe, BLOCKS)
    except BadParameter:
        return False
    return True
