"""Provider and client of a mask, apart: each side is a few functions over files, and sees its own.

The provider makes the terms of an epoch and a sealed order; a client commits to its weights and
gradients; then the order is opened, and the client compensates and proves. Only the provider's
ledger, where commitments are entered, is a workspace. Models and gradients are safetensors files,
by the names of tensors.
"""

from __future__ import annotations
