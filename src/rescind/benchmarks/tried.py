"""Which methods a benchmark tries."""

from __future__ import annotations

from rescind import methods_of
from rescind.core.task import Target
from rescind.methods.base import ANY

# exact methods are the reference and not what is tried; so is the end of auto
EXACT = frozenset({"retrain", "sisa", "s3t", "auto"})


def editing(target: Target) -> tuple[str, ...]:
    """All our registered methods that edit the weights of a task with these answers, by name.

    Those that take linear models only are left out: no benchmark trains one.
    """
    names = [n for n in methods_of.METHODS.names() if "/" not in n and n not in EXACT]
    return tuple(n for n in names if _takes(methods_of.METHODS.load(n), target))


def _takes(method: type, target: Target) -> bool:
    return target in getattr(method, "serves", ANY) and not getattr(method, "linear_only", False)
