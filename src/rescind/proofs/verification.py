"""What a verification found: checks that passed, failed or were not made, and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescind.core.certificate import Statement
from rescind.core.errors import VerificationFailed

Outcome = Literal["passed", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, or why it could not be."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reader may rely on. ``attested`` and ``statement`` are empty where nobody signed."""

    checks: tuple[Check, ...]
    attested: tuple[str, ...]
    not_covered: tuple[str, ...]
    statement: Statement | None

    def require(self) -> None:
        """Return if no check failed; checks that were not made do not fail.

        Raises:
            VerificationFailed: names the first failed check.
        """
        for check in self.checks:
            if check.outcome == "failed":
                raise VerificationFailed(
                    check.name,
                    f"The check {check.name!r} failed: {check.detail}",
                    "A certificate holds as a whole or not at all.",
                    "Do not rely on it; ask the signer for a valid one.",
                )
