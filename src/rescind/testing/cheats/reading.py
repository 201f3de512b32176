"""What an audit of the matrix says of one server."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """What an audit says of one server: p, the effect in its own unit, and words."""

    p: float
    effect: float
    told: str = ""

    @property
    def caught(self) -> bool:
        """Whether the server is taken for a cheat."""
        return self.p < LEVEL
