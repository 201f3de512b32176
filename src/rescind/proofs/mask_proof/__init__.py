"""Prove that a committed model was masked and compensated as published, without showing it.

The protocol is specified in ``docs/concepts/mask-proof.md``. It is not audited.
"""

from __future__ import annotations
