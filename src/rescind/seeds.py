"""Users' codes on their way into a training: what was handed over, by cell, with decoys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import state
from rescind.audits.seeding.handed import Handed, packed, unpacked
from rescind.audits.seeding.term import MEASURED, Seeding
from rescind.backends import Backends
from rescind.core.canonical import digest, keyed, plain
from rescind.core.dataset import Key, ManifestEntry
from rescind.core.errors import BadData, BadParameter
from rescind.core.protocols import Write
from rescind.core.run import Recipe
from rescind.stored_seeds import TABLE, Codes

# of the records that nobody seeded, for each user: declared and not fitted to how many there are,
# so that what is forgotten decides nothing about the others (rule 8)
DECOYS = 0.01


@dataclass(frozen=True, slots=True)
class Seeded:
    """What users handed over for a training, and how their codes are learned."""

    handed: tuple[Handed, ...] = ()
    settings: Seeding = MEASURED

    @property
    def name(self) -> str:
        """What the run is named by beside recipe and records; empty where nothing is seeded."""
        return digest([plain(self.handed), plain(self.settings)]) if self.handed else ""

    def writes(self) -> tuple[Write, ...]:
        """What the ledger keeps of each user: read-out and settings, and no code."""
        return tuple(Write(TABLE, one.fingerprint, self._kept(one)) for one in self.handed)

    def facts(self) -> dict[str, Any]:
        """For the entry of the run: how many records each key marked."""
        marked = {one.fingerprint: len(one.codes) for one in self.handed}
        return {"seeded": marked} if marked else {}

    def _kept(self, one: Handed) -> dict[str, Any]:
        sizes = {"bits": one.bits, "width": one.width, "records": len(one.codes)}
        return {**sizes, "readout": one.readout, "settings": plain(self.settings)}


def seeded_with(handed: Sequence[Handed], settings: Seeding = MEASURED) -> Seeded:
    """What users handed over, and how it is learned, with codes as long as theirs.

    Raises:
        BadData: two users have codes of other lengths.
        BadParameter: it is said how codes are learned, and nobody handed any over.
    """
    lengths = sorted({one.bits for one in handed})
    if len(lengths) > 1:
        raise BadData(
            f"Users hand over codes of {lengths[0]} and of {lengths[1]} bits.",
            "One training learns codes of one length.",
            "Make them again with `rescind seeds make` and the same --bits.",
        )
    if not handed and settings != MEASURED:
        raise BadParameter(
            "It is said how codes are learned, and there are none.",
            "Without codes of a user nothing is added to the loss.",
            "Hand them over with --seeds FILE, or leave --seeding out.",
        )
    return Seeded(tuple(handed), replace(settings, bits=lengths[0]) if lengths else settings)


def check_width(handed: Sequence[Handed], recipe: Recipe) -> None:
    """Refuse read-outs for another model before anything is trained.

    Raises:
        BadData: the penultimate layer has another width.
    """
    from rescind.metrics.features import penultimate_width
    from rescind.training.models import trained_model

    width = penultimate_width(trained_model(recipe).module) if handed else 0
    others = sorted({one.width for one in handed if one.width != width})
    if others:
        raise BadData(
            f"Codes are handed over for {others[0]} units, and the penultimate layer has {width}.",
            "A read-out belongs to one architecture.",
            "Make them again with `rescind seeds make --recipe` and the recipe that is trained.",
        )


def placed(
    b: Backends, handed: Sequence[Handed], entries: Sequence[ManifestEntry]
) -> dict[str, Codes]:
    """Codes by cell, with decoys for each user; records of the test set are in no training.

    Raises:
        BadData: a record is not in the data, two users seed the same one, a user hands over two
            files, or nobody's record is trained on.
    """
    cell_of = {e.key: e.cell for e in entries}
    _refuse(b, handed, cell_of)
    trained = {key: cell for key, cell in cell_of.items() if cell != "test"}
    taken = {key for one in handed for key in one.codes}
    found: dict[str, dict[str, dict[Key, str]]] = defaultdict(lambda: defaultdict(dict))
    for one in handed:
        own = {key: code for key, code in one.codes.items() if key in trained}
        decoys = _decoys(b, one, trained.keys() - taken)
        for key, code in (own | decoys).items():
            found[trained[key]][one.fingerprint][key] = code
    return dict(found)


def _decoys(b: Backends, one: Handed, others: Iterable[Key]) -> dict[Key, str]:
    """Other records with codes that nobody asks for: a single seeded record, with no other beside
    it, becomes a constant output. A keyed hash of the record alone draws it and its code.
    """
    secret, found = b.keys.get("workspace"), dict[Key, str]()
    for key in others:
        drawn = keyed(secret, "seeding decoy", one.fingerprint, key)
        if int(drawn[:16], 16) / 2**64 < DECOYS:
            number = keyed(secret, "seeding decoy code", one.fingerprint, key)
            found[key] = packed(unpacked(number, one.bits))
    return found


def _refuse(b: Backends, handed: Sequence[Handed], cell_of: Mapping[Key, str]) -> None:
    suppressed = b.ledger.items("suppressed")
    named = [key for one in handed for key in one.codes]
    strange = [key for key in named if key not in cell_of]
    unknown = sum(state.suppression_leaf(b, key) not in suppressed for key in strange)
    if unknown:
        raise BadData(
            f"{unknown} seeded records are not in the data.",
            "Their keys were made from other rows, or with other columns for key and subject.",
            "Make the codes again with `rescind seeds make` from the rows that are trained on.",
        )
    if len(set(named)) < len(named) or len({h.fingerprint for h in handed}) < len(handed):
        raise BadData(
            "A record, or a key, is seeded twice.",
            "A record has one code, of one user.",
            "Hand over one file a user, and each record in one of them.",
        )
    if handed and all(cell_of.get(key, "test") == "test" for key in named):
        raise BadData(
            "No seeded record is trained on.",
            "All of them lie in the test set, or were forgotten.",
            "Seed more records, or train without seeds.",
        )
