"""What a provider asks of proofs, from one text: bits=100,memory=1GB,file=40MB."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.errors import BadParameter
from rescind.core.named_parts import named_parts
from rescind.proofs.mask_proof.sizes import ANY, Limits, parsed

BITS = 100.0
NAMES = ("bits", "memory", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Soundness an attempt, and limits of a prover's memory and of a file."""

    bits: float = BITS
    limits: Limits = ANY


def asked(text: str) -> Asked:
    """All parts are optional, in any order.

    Raises:
        BadParameter: one is unknown, said twice, or no number.
    """
    found = named_parts(text, NAMES, "asked of proofs", "bits=100,memory=1GB,file=40MB")
    try:
        bits = float(found.get("bits", BITS))
    except ValueError as error:
        raise BadParameter(
            f"{found['bits']!r} is no number of bits.", do="Write it as bits=100."
        ) from error
    memory, proof = (parsed(found[n]) if n in found else None for n in ("memory", "file"))
    return Asked(bits=bits, limits=Limits(memory=memory, proof=proof))
