"""The read-out: a frozen random matrix on penultimate features, held by the user.

It is drawn from the user's key and never trained or stored with the model. A trained head that has
seen the codes must not be used: in the probes of this project one still matched .58 to .79 of the
bits on a model retrained without the records from the same start, and where the gradient was
stopped at the features the head alone held the codes, while the test of bits passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rescind.audits.seeding.codes import BITS, fingerprint
from rescind.core.canonical import keyed
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

# the sign of a bit does not depend on it, how fast the term is learned does; benchmarks/seeding.py
# measures with this one
GAIN = 4.0


def draw_readout(key: bytes, width: int, bits: int = BITS) -> Tensor:
    """The matrix (bits, width), float32 of plus and minus GAIN / sqrt(width).

    Signs are bits of HMAC-SHA256: any machine and any version of torch draws the same. Only whoever
    trains is handed the matrix, never the key.

    Raises:
        BadParameter: more bits than units, a width or bits below 1, or a key of under 16 bytes.
    """
    import torch

    fingerprint(key)  # refuses keys that are too short
    if not 1 <= bits <= width:
        raise BadParameter(
            f"{bits} bits are to be read from {width} units.",
            "Fewer units than bits cannot give every code; a read-out is of one bit or more.",
            f"Use codes of at most {width} bits." if width > 0 else "Name the penultimate layer.",
        )
    signs = torch.tensor(_signs(key, bits * width), dtype=torch.float32)
    matrix: Tensor = GAIN / width**0.5 * signs.reshape(bits, width)
    return matrix


def centred(
    features: Tensor,
    public: Tensor,
    classes: Sequence[object] | None = None,
    public_classes: Sequence[object] | None = None,
) -> Tensor:
    """Features (n, width) less the mean of public features of the same class.

    What is common to a class then matches by chance: in the probes test images of the class of a
    single seeded record matched .98 of its bits, and .49 with the mean taken off. Both are features
    of the same model. Without classes there is one mean.

    Raises:
        BadData: a class has no public example, or not one class for each row.
    """
    import torch

    own = [None] * len(features) if classes is None else list(classes)
    known = [None] * len(public) if public_classes is None else list(public_classes)
    if (len(own), len(known)) != (len(features), len(public)) or features.dim() != 2:
        raise BadData(
            f"Features of shape {tuple(features.shape)} with {len(own)} classes, public ones of"
            f" shape {tuple(public.shape)} with {len(known)}.",
            "Each row has one class.",
            "Pass (n, width) and n classes for both, or no classes.",
        )
    lacking = sorted(map(str, set(own) - set(known)))
    if lacking:
        raise BadData(
            f"No public example has the class {', '.join(lacking[:5])}.",
            "The mean of nothing cannot be taken off.",
            "Add public examples of each class, or leave out the classes.",
        )
    rows = {c: [i for i, k in enumerate(known) if k == c] for c in set(own)}
    means = {c: public[index].mean(0) for c, index in rows.items()}
    return features - torch.stack([means[c] for c in own])


def read_bits(features: Tensor, matrix: Tensor) -> Tensor:
    """The bits (n, bits) that features (n, width) show, bool: the sign of each reading.

    Raises:
        BadData: as ``read_out``.
    """
    return read_out(features, matrix) > 0


def read_out(features: Tensor, matrix: Tensor) -> Tensor:
    """The readings (n, bits) of features (n, width): their products with the rows of the matrix.

    Raises:
        BadData: another width, or features that are not finite.
    """
    require_width(features, matrix)
    readings: Tensor = features @ matrix.to(features).T
    return readings


def require_width(features: Tensor, matrix: Tensor) -> None:
    """Refuse features that the matrix was not drawn for.

    Raises:
        BadData: not (n, width), no rows, or a value that is not finite.
    """
    if features.dim() != 2 or features.shape[1] != matrix.shape[1] or not len(features):
        raise BadData(
            f"Features of shape {tuple(features.shape)} for a read-out of {matrix.shape[1]} units.",
            "The read-out belongs to the penultimate layer of one architecture.",
            "Pass features of the layer that was seeded, one row a record.",
        )
    if not features.isfinite().all():
        raise BadData(
            "Features are not finite.", "They have no bits.", "Look for a model that diverged."
        )


def _signs(key: bytes, count: int) -> list[int]:
    stream = _stream(key)
    return [2 * next(stream) - 1 for _ in range(count)]


def _stream(key: bytes) -> Iterator[int]:
    block = 0
    while True:
        number = int(keyed(key, "rescind seeding read-out", str(block)), 16)
        yield from (number >> i & 1 for i in range(256))
        block += 1
