"""Which blocks of an encoder a recipe adapts; no torch, so that plans can be made without it."""

from __future__ import annotations

from rescind.core.errors import BadParameter
from rescind.core.run import Recipe


def adapted_blocks(recipe: Recipe, n_blocks: int) -> tuple[int, ...]:
    """The top slices x blocks_per_slice blocks, ascending; those below are never adapted.

    Raises:
        BadParameter: the encoder has fewer blocks than that.
    """
    slices, each = recipe.partition.slices, recipe.blocks_per_slice
    needed = slices * each
    if needed > n_blocks:
        raise BadParameter(
            f"The recipe has more slices than blocks: {slices} slices with {each} block(s) each"
            f" need {needed} blocks, and the encoder has {n_blocks}.",
            "Each slice trains blocks of its own.",
            f"Set partition.slices to at most {n_blocks // each}"
            f" or blocks_per_slice to at most {n_blocks // slices}, or take a deeper encoder."
            if n_blocks >= max(slices, each)
            else f"Set slices x blocks_per_slice to at most {n_blocks}, or take a deeper encoder.",
        )
    return tuple(range(n_blocks - needed, n_blocks))
