"""Every error says what happened, why it cannot go on, and what to type next."""

from __future__ import annotations


class RescindError(Exception):
    """Root of all errors a user may see.

    Args:
        what: what happened, with the value that caused it.
        why: why the work cannot go on.
        do: what to type or change next.
    """

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.what, self.why, self.do = what, why, do

    def __str__(self) -> str:
        """One paragraph; KeyError's quoting of its argument is overridden on purpose."""
        return " ".join(part for part in (self.what, self.why, self.do) if part)


class UnknownKey(RescindError, KeyError):
    """A record key, subject or request that the workspace does not know."""


class UnknownPlugin(RescindError, KeyError):
    """A method name that no installed package registers."""


class BadParameter(RescindError, ValueError):
    """A parameter or recipe that cannot work."""


class BadData(RescindError, ValueError):
    """Rows that cannot be keyed, read or trained on."""


class UnsupportedModel(RescindError, TypeError):
    """A model this build cannot adapt; the message grades it: never, not yet, or use another."""


class MissingExtra(RescindError, ImportError):
    """A feature whose packages are not installed."""


class MissingSource(RescindError, FileNotFoundError):
    """The rows a model was trained on cannot be read again."""


class StorageFailed(RescindError, OSError):
    """The disk or the database refused to write or to read."""


class DamagedArtifact(RescindError, ValueError):
    """A stored artifact is missing, or its bytes are not those that were written."""


class NewerWorkspace(RescindError, RuntimeError):
    """The workspace was written by a later version of rescind."""


class NotDeterministic(RescindError, RuntimeError):
    """A replay gave other bytes, or this machine cannot give the same ones."""


class Diverged(RescindError, ArithmeticError):
    """An edit of weights gave a number that is not finite; the last good model serves on."""


class NoOp(RescindError, RuntimeError):
    """Nothing matched, nothing was withdrawn, or no weight changed."""


class Refused(RescindError, ValueError):
    """A request that needs an answer or a flag before it can be accepted."""


class Exhausted(RescindError, RuntimeError):
    """No shard has a model left to answer with."""


class Busy(RescindError, RuntimeError):
    """Another process is working on the same request."""


class StaleVersion(RescindError, RuntimeError):
    """A version that a later request has made unusable."""


class InsufficientEvidence(RescindError, RuntimeError):
    """A claim without the evidence it needs."""


class VerificationFailed(RescindError, ValueError):
    """A certificate or proof that does not hold; ``check`` names the check that failed."""

    def __init__(self, check: str, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.check = check


class LedgerInconsistent(RescindError, RuntimeError):
    """The chain of the ledger is broken; ``at`` is the sequence number of the first bad entry."""

    def __init__(self, at: int, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.at = at


class ErasureIncomplete(RescindError, RuntimeError):
    """Artifacts made from the forget set are still stored; ``left`` names them."""

    def __init__(self, left: tuple[str, ...], what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.left = left
