"""What one audit saw, and the one rule by which that becomes an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescind.core.errors import BadParameter

ENOUGH = 0.8  # power below which an audit that saw nothing says nothing
Outcome = Literal["removed_supported", "residue_found", "no_power"]
# the null hypothesis: the records left no trace, or nothing was done about them
Null = Literal["no_trace", "nothing_removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One audit of ``n`` records.

    ``p`` belongs to ``null``. ``effect`` has the unit ``unit`` and a 95 % interval. ``power`` is
    how often the audit rejects the null at ``level`` where it is false, measured on models with a
    known answer; None where that was not measured.
    """

    audit: str
    null: Null
    n: int
    p: float
    effect: float
    interval: tuple[float, float]
    unit: str
    level: float = 0.05
    power: float | None = None

    def __post_init__(self) -> None:
        shares = (self.p, self.level, self.power or 0.0)
        low, high = self.interval
        if not all(0.0 <= share <= 1.0 for share in shares) or self.n < 1 or not low <= high:
            raise BadParameter(f"This is no finding: {self}.")

    @property
    def outcome(self) -> Outcome:
        """A rejected null speaks by itself, one that stands only where there was power.

        Without a trace nothing is found; to have been changed is not to have been removed, which
        is for ``effect`` to say: how much of what retraining changes was changed.
        """
        rejected: Outcome = "residue_found" if self.null == "no_trace" else "removed_supported"
        stands: Outcome = "removed_supported" if self.null == "no_trace" else "residue_found"
        if self.p < self.level:
            return rejected
        return stands if self.power is not None and self.power >= ENOUGH else "no_power"
