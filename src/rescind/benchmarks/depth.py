"""What shallow edits show on a forget set: do they pass by outputs, and do features tell?

An edit of the last layer only, and a planted head that copies retrained outputs, leave the
features as they were. Where outputs admit one and CKA does not, outputs alone are not enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rescind.benchmarks.result import Line, Part
from rescind.benchmarks.scoring import CKA
from rescind.benchmarks.subjects import LAST_LINE, PLANTED_LINE
from rescind.core.judgement import Gap

SHALLOW = (LAST_LINE, PLANTED_LINE)


@dataclass(frozen=True, slots=True)
class Depth:
    """One shallow edit on one forget set.

    ``outputs`` are the metrics of outputs that count, ``failed`` those of them that are not
    equivalent to retrained models, and ``forgetting`` says whether any of them is of forgetting.
    ``passes_features`` says whether CKA is equivalent and ``gap`` how far it is; both are None
    where features have no power: CKA does not count on this forget set, or was not measured.
    """

    name: str
    outputs: tuple[str, ...]
    failed: tuple[str, ...]
    forgetting: bool
    passes_features: bool | None
    gap: float | None

    @property
    def passes_outputs(self) -> bool:
        """Every metric of outputs that counts is equivalent, utility among them."""
        return not self.failed

    @property
    def told(self) -> str:
        """As one sentence."""
        return f"{self._outputs}; {self._features}."

    @property
    def _outputs(self) -> str:
        if self.failed:
            return f"Fails output metrics ({', '.join(self.failed)})"
        only = "" if self.forgetting else ", of which none of forgetting has power"
        return f"Passes the {len(self.outputs)} output metrics that count{only}"

    @property
    def _features(self) -> str:
        if self.gap is None:
            return "features have no power on this forget set"
        told = "passes" if self.passes_features else "fails"
        return f"{told} the representation metric (CKA {self.gap:+.3f} to retrained models)"


def depths(part: Part) -> tuple[Depth, ...]:
    """A record for each shallow edit that was judged, in a fixed order."""
    return tuple(_depths(part))


def _depths(part: Part) -> Iterator[Depth]:
    lines = {line.name: line for line in part.lines}
    for name in SHALLOW:
        line = lines.get(name)
        if line is not None and line.judgement is not None:
            yield _depth(line, line.judgement.gaps)


def _depth(line: Line, gaps: tuple[Gap, ...]) -> Depth:
    counting = [gap for gap in gaps if gap.counts and gap.metric != CKA]
    cka = next((gap for gap in gaps if gap.metric == CKA and gap.counts), None)
    return Depth(
        name=line.name,
        outputs=tuple(gap.metric for gap in counting),
        failed=tuple(gap.metric for gap in counting if not gap.equivalent),
        forgetting=any(gap.role == "forgetting" for gap in counting),
        passes_features=None if cka is None else cka.equivalent,
        gap=None if cka is None else cka.gap,
    )
