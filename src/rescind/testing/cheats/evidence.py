"""Audits that need no probability: what a certificate says against what there is."""

from __future__ import annotations

from rescind.testing.cheats.panel import Case, Panel
from rescind.testing.cheats.reading import Reading
from rescind.testing.cheats.served import weights_of


def release(panel: Panel, case: Case) -> Reading:
    """Does what answers have the weights that were audited?"""
    return _yes(weights_of(case.served.released) != case.served.claim.weights)


def no_op(panel: Panel, case: Case) -> Reading:
    """Are the weights those of the original, bit for bit?"""
    return _yes(case.served.claim.weights == case.original)


def manifest(panel: Panel, case: Case) -> Reading:
    """Is what was trained on, as claimed, the manifest without the request?"""
    return _yes(case.served.claim.manifest != panel.world.manifest(~panel.world.requested))


def replay(panel: Panel, case: Case) -> Reading:
    """Does training again by the claimed seed, on the auditor's retain set, give the weights?"""
    again = panel.world.anew(~panel.world.requested, case.served.claim.seed)
    return _yes(weights_of(again) != case.served.claim.weights)


def _yes(caught: bool) -> Reading:
    """What needs no probability: bytes differ or they do not."""
    return Reading(0.0 if caught else 1.0, float(caught))
