"""Certified removal from a linear model: Newton steps on the retain set, a bound on what is left,
and noise that hides it (Guo et al., 2020, arXiv 1911.03030; Neel et al., 2021, arXiv 2007.02923).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.guarantee import Certified, Empirical
from rescind.core.protocols import Editable, ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import OnePart, Work, edit
from rescind.methods.gaussian_mechanism import largest_ratio
from rescind.methods.linear_problem import linear_layer, minimise, problem_of, set_weights

if TYPE_CHECKING:
    from torch import Tensor

SERVES: frozenset[Target] = frozenset({"classes", "numbers"})
SEEDED = "the noise is from a seed that is written down, so whoever reads it can take it away"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedRemoval(OnePart):
    """w + N(0, sigma^2 I), w from Newton steps w - H^-1 grad F(w) on the retain set (1911.03030,
    section 3), F(w) = 1/n sum_retain loss(w) + l2/2 |w|^2.

    F of one linear layer is l2-strongly convex, so for any w its minimum w* is at most
    |grad F(w)| / l2 away. The release is (epsilon, delta)-indistinguishable from w* + N(0, sigma^2
    I) if that bound is at most sigma times the largest ratio of ``gaussian_mechanism``, which is
    measured before the noise is drawn; if not, nothing is released.

    What the claim is (after Sekhari et al., 2021, arXiv 2103.03279): nearness to a retraining that
    finds the minimum of F on the retain set exactly and adds the same noise; the recipe's own
    training stops elsewhere. The probability is over the noise alone, for the weights of one
    release. A later request starts from this release and is measured anew, so its release has the
    same claim; what a reader of several releases learns is not claimed, nor anything of requests
    that were chosen by what a release shows (Chourasia and Shah, 2023, arXiv 2210.08911). Neither
    is what else is published: figures and digests of the original model depend on the forget set.
    Sums are of double precision, whose rounding is not in the bound.

    sigma, epsilon, delta and l2 must be set without a look at the forget set: noise that is fitted
    to it tells of it. With a ``seed`` the claim is only empirical.
    """

    epsilon: float = 1.0
    delta: float = 1e-5
    sigma: float = 0.01
    l2: float = 0.01
    steps: int = 20
    seed: int | None = None

    linear_only: ClassVar[bool] = True  # the conformance suite tries it on one linear layer
    searched: ClassVar[Mapping[str, Range]] = {}  # what is fitted to the data tells of them

    def __post_init__(self) -> None:
        largest_ratio(self.epsilon, self.delta)
        if not self.sigma > 0.0 or not self.l2 > 0.0 or self.steps < 1 or (self.seed or 0) < 0:
            raise BadParameter(
                f"sigma is {self.sigma}, l2 {self.l2}, steps {self.steps}, seed {self.seed}.",
                "sigma and l2 must be above 0, steps at least 1, a seed at least 0.",
                "Correct them with --set name=value.",
            )

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Newton steps from the weights as they are, the bound, then the noise.

        Raises:
            UnsupportedModel: more than one linear layer, another loss, or a model of several parts.
            Refused: the retain set is empty.
            InsufficientEvidence: the bound is above what the noise hides.
            Diverged: a gradient was no finite number.
        """
        found = edit(model, split, run, SERVES, self.change)
        if not len(split.forget):
            return found
        if self.seed is not None:
            return replace(found, guarantee=Empirical(SEEDED))
        claim = certified(self.l2, self.sigma, self.epsilon, self.delta)
        # the bound holds from wherever the steps began, so nothing earlier weakens this claim
        return replace(found, guarantee=claim, from_scratch=True)

    def change(self, work: Work) -> None:
        """Steps, bound, noise. Raises as ``unlearn``."""
        import torch

        problem, w = problem_of(work.model, work.retain, self.l2)
        w = minimise(problem, w, limit(self.sigma, self.epsilon, self.delta), self.steps)
        _check(problem.bound(w), self.sigma, self.epsilon, self.delta)
        # a seeded draw is for tests, and claims nothing
        draw = random.SystemRandom() if self.seed is None else random.Random(self.seed)  # noqa: S311
        noise = [draw.gauss(0.0, self.sigma) for _ in range(w.numel())]
        set_weights(linear_layer(work.model), w + torch.tensor(noise, dtype=w.dtype).view_as(w))


def removal_bound(model: Editable, retain: Mapping[str, Tensor], l2: float) -> float:
    """|grad F(w)| / l2: no less than the distance of the weights from the minimum on these rows.

    Args:
        model: of one linear layer, before noise is added.
        retain: the tensors of ``Editable.inputs``, first dimension the rows.
        l2: of F, above 0.

    Raises:
        BadParameter: l2 is not above 0.
        UnsupportedModel: the module is more than one linear layer, or the loss is another one.
        Diverged: the gradient is no finite number.
    """
    if not l2 > 0.0:
        raise BadParameter(f"l2 is {l2}.", "It must be above 0: without it there is no bound.")
    problem, w = problem_of(model, retain, l2)
    return problem.bound(w)


def certify(
    model: Editable,
    retain: Mapping[str, Tensor],
    l2: float,
    sigma: float,
    epsilon: float,
    delta: float,
) -> Certified:
    """What may be claimed of the model's weights once N(0, sigma^2 I) is added to them.

    It refuses the original where its forget set mattered, and a random model.

    Raises:
        InsufficientEvidence: the bound is above what this noise hides.
        BadParameter: numbers for which there is no claim.
        UnsupportedModel, Diverged: as ``removal_bound``.
    """
    _check(removal_bound(model, retain, l2), sigma, epsilon, delta)
    return certified(l2, sigma, epsilon, delta)


def limit(sigma: float, epsilon: float, delta: float) -> float:
    """How far from the minimum weights may be for noise of this size to hide it.

    Raises:
        BadParameter: sigma is not above 0, or epsilon or delta out of range.
    """
    if not sigma > 0.0:
        raise BadParameter(f"sigma is {sigma}.", "It must be above 0: nothing hides without noise.")
    return sigma * largest_ratio(epsilon, delta)


def certified(l2: float, sigma: float, epsilon: float, delta: float) -> Certified:
    """The claim. It names the limit, not the bound: that depends on the weights before the noise,
    and whoever read it would know more than the release tells.
    """
    return Certified(
        epsilon,
        delta,
        f"a loss convex in the weights, made strongly convex by l2 = {l2:g}, so that weights are"
        " within |gradient| / l2 of the minimum on the retain set; that was measured to be at most"
        f" {limit(sigma, epsilon, delta):.3g} before secret noise of standard deviation {sigma:g}"
        " was added. Compared with that minimum under the same noise; over the noise alone, for"
        " the weights of this one release.",
    )


def _check(bound: float, sigma: float, epsilon: float, delta: float) -> None:
    allowed = limit(sigma, epsilon, delta)
    if not bound <= allowed:
        raise InsufficientEvidence(
            f"The weights may be {bound:.3g} from the minimum on the retain set, and noise of"
            f" standard deviation {sigma:g} hides at most {allowed:.3g}.",
            f"(epsilon {epsilon:g}, delta {delta:g}) does not hold for them.",
            "Take more steps, or set a larger sigma, epsilon or l2 before looking again.",
        )
