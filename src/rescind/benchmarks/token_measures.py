"""What is measured of a language model: losses, extraction, features, agreement with retrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.benchmarks.class_measures import likeness
from rescind.benchmarks.groups import GROUP, by_group
from rescind.benchmarks.readings import FORGET, RETAIN, TEST, Batch, Look, Looks, Values
from rescind.core.task import Task
from rescind.metrics import divergence, language, membership

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 16  # every 16th position keeps its whole distribution
SUFFIX = 16  # bytes that must be known word for word, about three words
OTHERS = 3  # wrong endings a text
ENDING = "ending "  # sets of the first halves of forget texts with an ending; "ending 0" is true


@dataclass(frozen=True, slots=True)
class TokenMeasures:
    """For tasks that answer with the tokens of a text.

    ``groups`` are the subgroups of the test set that have a loss of their own.
    """

    groups: tuple[str, ...] = ()

    def reduce(self, task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Log-probabilities, hits and mask (n, length - 1), some whole distributions, subgroups."""
        from rescind.training.modules import IGNORED

        wanted = batch["labels"][:, 1:]
        mask = wanted != IGNORED
        each = outputs[:, :-1].log_softmax(dim=2)
        true = each.gather(2, wanted.clamp(min=0).unsqueeze(2)).squeeze(2)
        return {
            "log_probabilities": true.clamp(max=0.0),
            "answers": each.argmax(dim=2),
            "hits": (each.argmax(dim=2) == wanted) & mask,
            "mask": mask,
            "some": each[:, STRIDE - 1 :: STRIDE],
            **({GROUP: batch[GROUP]} if GROUP in batch else {}),
        }

    def alone(self, looks: Looks) -> Values:
        """Loss, perplexity, extraction strength, memorised share, membership by loss, truth ratio
        and closeness; the loss of each subgroup.
        """
        found: Values = {}
        for name in (FORGET, RETAIN, TEST):
            found |= _outputs(name, looks[name])
        losses = [_loss(looks[name]) for name in (FORGET, TEST)]
        found["membership by loss"] = membership.auc(-losses[0], -losses[1])
        if self.groups:
            place = looks[TEST].outputs[GROUP]
            found |= by_group(f"{TEST} loss", losses[1], place, self.groups, _mean)
        return found | _truth(looks)

    def beside(self, looks: Looks, retrained: Looks) -> Values:
        """Agreement, KL and JS (nats a token) and CKA on forget and test texts."""
        found: Values = {}
        for name in (FORGET, TEST):
            ours, theirs = looks[name].outputs, retrained[name].outputs
            mask = ours["mask"]
            same = (ours["answers"] == theirs["answers"]) & mask
            found[f"{name} agreement with retrained"] = float(same.sum() / mask.sum())
            kept = mask[:, STRIDE - 1 :: STRIDE]
            pair = theirs["some"][kept], ours["some"][kept]
            found[f"{name} KL to retrained"] = divergence.mean_kl(*pair)
            found[f"{name} JS to retrained"] = divergence.mean_jensen_shannon(*pair)
        return found | likeness(looks, retrained)


def _loss(seen: Look) -> Tensor:
    return language.token_loss(seen.outputs["log_probabilities"], seen.outputs["mask"])


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _outputs(name: str, seen: Look) -> Values:
    logs, mask, hits = (seen.outputs[key] for key in ("log_probabilities", "mask", "hits"))
    found = {
        f"{name} loss": _mean(_loss(seen)),
        f"{name} perplexity": language.perplexity(logs, mask),
        f"{name} extraction": _mean(language.extraction_strength(hits, mask)),
        f"{name} accuracy": float(hits.sum() / mask.sum()),
    }
    long = mask.sum(dim=1) >= SUFFIX
    if bool(long.any()):
        share = language.memorised_share(hits[long], mask[long], SUFFIX)
        found[f"{name} memorised share"] = share
    return found


def _truth(looks: Looks) -> Values:
    """Medians over texts of how much likelier other texts' endings are than the true one (TOFU,
    arXiv 2401.06121), and of how alike they are; nothing where there are too few texts.
    """
    import torch

    if ENDING + "0" not in looks:
        return {}
    true, *others = (_loss(looks[f"{ENDING}{k}"]) for k in range(1 + OTHERS))
    wrong = torch.stack(others, dim=1)
    return {
        "forget truth ratio": float(language.truth_ratio(true, wrong).median()),
        "forget truth closeness": float(language.truth_closeness(true, wrong).median()),
    }


def endings(batch: Batch) -> dict[str, Batch]:
    """A set for each ending, of the texts that are not padded; none where these are too few."""
    from rescind.training.modules import IGNORED

    whole = (batch["labels"] != IGNORED).all(dim=1)
    texts = {name: t[whole] for name, t in batch.items()}
    if int(whole.sum()) <= OTHERS:
        return {}
    return {f"{ENDING}{k}": _with_ending(texts, k) for k in range(1 + OTHERS)}


def _with_ending(batch: Batch, other: int) -> Batch:
    """The first half of each text with the second half of the ``other``-th text after it; only the
    second half is scored. ``other`` 0 is the true ending.
    """
    import torch

    from rescind.training.modules import IGNORED

    ids, labels = batch["input_ids"], batch["labels"]
    half = ids.shape[1] // 2
    ends, scored = ids[:, half:].roll(-other, dims=0), labels[:, half:].roll(-other, dims=0)
    unscored = torch.full_like(labels[:, :half], IGNORED)
    return {
        "input_ids": torch.cat([ids[:, :half], ends], dim=1),
        "labels": torch.cat([unscored, scored], dim=1),
    }
