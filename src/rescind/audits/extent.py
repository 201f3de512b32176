"""What a change of margins says: significance is not removal, so the extent speaks beside the p.

In the probes of this project fine-tuning on retained records changed 100 requested ones
significantly in .78 of the sets, at an extent of .14, and NegGrad+, which forgets too much, went 4
to 9 times as far as it should.
"""

from __future__ import annotations

from typing import Literal

ENOUGH = 0.5  # share of what retraining changes from which removal is supported
OVERSHOT = 2.0  # above it, with an interval above 1, more was changed than retraining changes
Told = Literal["nothing_seen", "strengthened", "changed", "partly", "as_removed", "overshoot"]


def as_removal(told: Told, interval: tuple[float, float] | None = None) -> bool | None:
    """Whether the change is that of a removal; None where its share is not known.

    Too little only where the whole ``interval`` of the extent lies below a half, so that noise is
    no residue. More than retraining changes is no removal either: it is a trace of its own.
    """
    if told in ("nothing_seen", "partly"):
        return False if interval is not None and interval[1] < ENOUGH else None
    return None if told == "changed" else told == "as_removed"


def told(
    p: float, level: float, drop: float, extent: float | None, interval: tuple[float, float]
) -> Told:
    """What one audit of margins says of the requested records.

    * nothing_seen: the null stands. Whether that means that they are still there is for the power
      to say.
    * strengthened: their margins rose. Removal does not do this; before and after may be swapped.
    * changed: their margins fell, and by what share is not known.
    * partly: less than half of what retraining changes.
    * as_removed: half of it or more. It does not mean retraining: a server that knows the test can
      move the margins alone.
    * overshoot: more than twice of it, with the whole interval above 1.

    Args:
        p: of the null that nothing was removed.
        level: below which it is rejected.
        drop: how far the margins fell, in any unit.
        extent: drop as a share of what retraining changes; None where that is not known.
        interval: of the extent.
    """
    if p >= level:
        return "nothing_seen"
    if drop <= 0:
        return "strengthened"
    if extent is None:
        return "changed"
    if extent > OVERSHOT and interval[0] > 1:
        return "overshoot"
    return "as_removed" if extent >= ENOUGH else "partly"
