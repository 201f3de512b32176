"""ZK-APEX in a workspace: mask, compensate and pull, by one party that holds all the data.

The provider's and the client's side apart, with what each may see and the proof, are
``rescind.zk``; here nothing is published and nothing proved, and the guarantee is ``Empirical``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter
from rescind.core.protocols import Editable, ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.core.search import Range
from rescind.methods.base import ANY, OnePart, Work, edit

Form = Literal["fisher_ratio", "taylor_ratio", "signed"]

if TYPE_CHECKING:
    from torch import Tensor, nn

SMALLEST_DAMPING = 1e-2  # below it few gradients let single weights run away
MANY = 480  # gradients from which a smaller one is allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class ZkApex(OnePart):
    """w_S = 0 for the ``share`` of weights that the forget set needs most; (F d)_R = r_R for the
    rest of their blocks (arXiv 2512.09953, equations 12 to 14, with a linear term of this project).

    F is the empirical Fisher of the retain set, block by block, from ``sketches`` sums of
    ``samples`` gradients with random signs, with ``damping`` times its mean diagonal added; r =
    ``alpha`` mean(F) g, with g the forget set's gradient scaled to a root mean square of 1. With
    ``alpha`` 0 it is the paper's method, which repairs much of what it should make forget.

    ``targets`` are parts of names of the weights that may change; by default all matrices but the
    last.
    """

    share: float = 0.04
    alpha: float = 1.5e-3
    damping: float = 0.1
    sketches: int = 32
    samples: int = 480
    block: int = 64
    form: Form = "fisher_ratio"
    targets: tuple[str, ...] = ()
    seed: int = 0

    # a probe forgot a third of a class at .0005 and nearly all at .003; benchmarks/zk_apex.py, with
    # half as many weights in the order, two thirds at .012
    searched: ClassVar[Mapping[str, Range]] = {
        "alpha": Range(5e-4, 2e-2, "log"),
        "share": Range(0.01, 0.16, "log"),
    }

    def __post_init__(self) -> None:
        unsafe = self.damping < SMALLEST_DAMPING and self.sketches < MANY
        if not self.damping > 0.0 or unsafe or self.alpha < 0.0 or self.seed < 0:
            raise BadParameter(
                f"damping is {self.damping} with {self.sketches} sketches, alpha {self.alpha}, seed"
                f" {self.seed}.",
                f"Below {SMALLEST_DAMPING} few gradients let single weights run away; alpha and"
                " seed are at least 0.",
                "Correct them with --set name=value.",
            )

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Mask and compensate once.

        Raises:
            UnsupportedModel: a model of several parts.
            Refused: the retain set is empty.
            BadParameter: no weight is named after the targets, or the share masks none.
            Diverged: a gradient or a change was no finite number.
        """
        return edit(model, split, run, ANY, self.change)

    def change(self, work: Work) -> None:
        """Zero, and move the other weights of the blocks that were touched."""
        import torch

        from rescind.methods.zk_apex.seen import look

        seen = look(self, work.model, work.forget, work.retain)
        with torch.no_grad():
            for name, weight in seen.weights.items():
                parts = seen.masks[name], seen.sketches[name], seen.directions[name]
                weight.add_(self.step(weight.detach(), *parts).to(weight))

    def masks(
        self,
        model: Editable,
        forget: Mapping[str, Tensor],
        retain: Mapping[str, Tensor],
        weights: Sequence[nn.Parameter],
    ) -> list[Tensor]:
        """The provider's mask of each weight.

        Raises:
            BadParameter: an unknown form, or a share that masks nothing.
            Diverged: a gradient was no finite number.
        """
        from rescind.methods.ssd import importance
        from rescind.methods.zk_apex.fisher import mean_gradient
        from rescind.methods.zk_apex.saliency import global_mask, scores
        from rescind.training.descent import parameters

        place = {id(p): i for i, p in enumerate(parameters(model))}
        both = []
        for batch in (forget, retain):
            squares = importance(model, dict(batch), labels=True)
            means = mean_gradient(model, batch, weights)
            both.append([(m, squares[place[id(w)]]) for m, w in zip(means, weights, strict=True)])
        plain = [w.detach() for w in weights]
        return global_mask(scores(self.form, plain, *both), self.share)

    def step(self, weight: Tensor, mask: Tensor, seen: Tensor, direction: Tensor) -> Tensor:
        """The change of one weight, of its shape, from its gradients (n, *shape)."""
        from rescind.methods.zk_apex.blocks import from_blocks, into_blocks, sketches_into_blocks
        from rescind.methods.zk_apex.compensate import compensate, directed, mean_diagonal

        scale = mean_diagonal(seen)
        if scale == 0.0:  # nothing of the retain set passes through this weight
            return -weight * mask
        pull = into_blocks(directed(direction, self.alpha, scale), self.block)
        changed = compensate(
            into_blocks(weight, self.block),
            into_blocks(mask, self.block),
            sketches_into_blocks(seen, self.block),
            self.damping * scale,
            pull,
        )
        return from_blocks(changed, weight.shape)
