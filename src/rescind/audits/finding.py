"""What one audit saw, and the one rule by which that becomes an outcome."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.audit import AuditOutcome, Null, outcome_of
from rescind.core.errors import BadParameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One audit of ``n`` records.

    ``p`` belongs to ``null``. ``effect`` has the unit ``unit`` and a 95 % interval. ``power`` is
    how often the audit rejects the null at ``level`` where it is false, measured on models with a
    known answer; None where that was not measured. ``as_removal`` says of an audit of
    "nothing_removed" whether its effect is what a removal has; None where that is not known.
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
    as_removal: bool | None = None

    def __post_init__(self) -> None:
        shares = (self.p, self.level, self.power or 0.0)
        low, high = self.interval
        if not all(0.0 <= share <= 1.0 for share in shares) or self.n < 1 or not low <= high:
            raise BadParameter(f"This is no finding: {self}.")

    @property
    def outcome(self) -> AuditOutcome:
        """What the rejected null says, or, where it stands, what the power lets it say.

        A trace that was seen is a residue. To have been changed is not to have been removed: that
        is supported only where the effect is that of a removal, and too little and too much of it
        are residues alike.
        """
        return outcome_of(self.null, self.p < self.level, self.power, self.as_removal)
