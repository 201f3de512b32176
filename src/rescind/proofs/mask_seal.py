"""Does an order to mask, with its mask and gradient, open a seal in a deletion's certificate?

The seal is the SHA-256 of the order's canonical JSON, which holds the digests of both and 32 random
bytes of salt: without the order nobody can tell a guessed mask from the one that was sealed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rescind.core.canonical import digest
from rescind.core.certificate import Statement
from rescind.core.errors import RescindError
from rescind.proofs.attested import readable
from rescind.proofs.reading import LARGEST, parse_json
from rescind.proofs.signing import from_envelope
from rescind.proofs.verification import Check

NAME = "mask"
NOT_GIVEN = "a seal is opened by the order and its mask: --mask with --opening"


def checks(said: Statement, order: bytes | None, mask: tuple[str, str] | None) -> Iterator[Check]:
    """The check, of a certificate with a seal or where somebody brought something.

    Args:
        said: by the certificate.
        order: the provider's signed order.json; who signed it does not matter to a seal.
        mask: digests of mask and gradient, as ``Public.digests`` gives them.
    """
    if order is None or mask is None:
        if said.mask_seals:
            yield Check(NAME, "not checked", NOT_GIVEN)
        return
    try:
        yield Check(NAME, "passed", readable(_opened(said, order, mask)))
    except (RescindError, ValueError, TypeError, KeyError, RecursionError) as error:
        told = error.what if isinstance(error, RescindError) else f"it is no order: {error}"
        yield Check(NAME, "failed", readable(told))


def _opened(said: Statement, order: bytes, mask: tuple[str, str]) -> str:
    if len(order) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    value: Any = parse_json(from_envelope(parse_json(order)).payload)
    seal = digest(value)
    if seal not in said.mask_seals:
        raise ValueError(f"its seal {seal} is not in the certificate")
    if mask != (value["mask"], value["direction"]):
        raise ValueError("mask and gradient are not those that the order names")
    return (
        f"mask and gradient are those under the seal {seal}, of {value['records']} records; that"
        " they are of this request's records is the signer's word"
    )
