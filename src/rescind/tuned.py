"""Parameters of methods from a file of recorded searches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescind.core.canonical import build, digest
from rescind.core.errors import BadParameter
from rescind.core.search import Search

DEFAULTS = "defaults"


@dataclass(frozen=True, slots=True)
class Tuned:
    """Searches by method, and the digest of the file that they were read from."""

    searches: Mapping[str, Search] = field(default_factory=dict)
    file: str = ""

    def parameters(self, method: str) -> Mapping[str, Any]:
        """What the search chose; nothing, for the defaults, where there was none."""
        return self.searches[method].chosen if method in self.searches else {}

    def named(self, method: str) -> str:
        """The digest of the file, or "defaults"."""
        return self.file if method in self.searches else DEFAULTS

    def seeds(self, method: str) -> tuple[int, ...]:
        """Seeds that the search looked at: none of them may decide."""
        return self.searches[method].seeds if method in self.searches else ()

    def recorded(self) -> dict[str, str]:
        """The digest of the file, to stand among recorded parameters."""
        return {"parameters_digest": self.file} if self.file else {}


def read(path: str, methods: Sequence[str]) -> Tuned:
    """The searches of these methods in a JSON file {method: search}; none for an empty path.

    Raises:
        BadParameter: the file is missing, is no JSON, or holds no searches.
    """
    if not path:
        return Tuned()
    try:
        data = Path(path).expanduser().read_bytes()
        found = json.loads(data)
    except (OSError, ValueError) as error:
        raise BadParameter(
            f"The searches in {path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Give a JSON file {method: search}, or leave parameters out for the defaults.",
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise BadParameter(f"{path} holds no searches by method.", do="Give {method: search}.")
    searches = {name: build(Search, found[name]) for name in methods if name in found}
    foreign = [name for name, search in searches.items() if search.method != name]
    if foreign:
        raise BadParameter(f"In {path} the searches of {', '.join(foreign)} are another method's.")
    return Tuned(searches, digest(data))
