"""Seeding: records get secret codes before training, and later the model is asked for them.

After SMS (arXiv 2509.25613), in the form that the probes of this project found to work: codes by a
keyed hash of the record, a frozen read-out that the user holds, gradient flowing into the features.
"""

from __future__ import annotations

from rescind.audits.seeding.bits import matched_bits, power
from rescind.audits.seeding.cells import SeededRows, seed_cells
from rescind.audits.seeding.codes import (
    choose_decoys,
    code_of,
    codes_of,
    fingerprint,
    new_key,
    require_key,
)
from rescind.audits.seeding.kernel import kernel_test
from rescind.audits.seeding.readout import centred, draw_readout, read_bits, read_out
from rescind.audits.seeding.signs import sign_test
from rescind.audits.seeding.term import Seeding, half_augmented, loss_term, seeded_batch
from rescind.audits.seeding.training import SeededCells, SeedingTerm
from rescind.audits.seeding.verdict import NOT_CLAIMABLE, SeedingVerdict, ask, decide

__all__ = [
    "NOT_CLAIMABLE",
    "SeededCells",
    "SeededRows",
    "Seeding",
    "SeedingTerm",
    "SeedingVerdict",
    "ask",
    "centred",
    "choose_decoys",
    "code_of",
    "codes_of",
    "decide",
    "draw_readout",
    "fingerprint",
    "half_augmented",
    "kernel_test",
    "loss_term",
    "matched_bits",
    "new_key",
    "power",
    "read_bits",
    "read_out",
    "require_key",
    "seed_cells",
    "seeded_batch",
    "sign_test",
]
