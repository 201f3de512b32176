"""Which blocks each stage trains: S3T goes from the top block downwards (S3T, section (b) 3-4)."""

from __future__ import annotations

from rescind.core.errors import BadParameter
from rescind.core.run import Order, Recipe
from rescind.methods.s3t.sequences import bms, rotations
from rescind.training.layout import adapted_blocks


def stage_blocks(recipe: Recipe, n_blocks: int) -> tuple[tuple[int, ...], ...]:
    """The blocks of each stage, topmost first, ``blocks_per_slice`` each, none twice.

    Raises:
        BadParameter: more slices than blocks.
    """
    downwards = adapted_blocks(recipe, n_blocks)[::-1]
    each = recipe.blocks_per_slice
    return tuple(
        downwards[stage * each : (stage + 1) * each] for stage in range(recipe.partition.slices)
    )


def lay_out(recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
    """``recipe.orders`` orders of each shard, by rotation, or by matching for known probabilities.

    Raises:
        BadParameter: more slices than blocks, or not one probability a slice.
    """
    blocks = stage_blocks(recipe, n_blocks)
    sequences = _sequences(recipe)
    return tuple(
        Order(shard, index, tuple(slices), blocks)
        for shard in range(recipe.partition.shards)
        for index, slices in enumerate(sequences)
    )


def _sequences(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    slices, known = recipe.partition.slices, recipe.deletion_probabilities
    if known is None:
        return tuple(tuple(sequence) for sequence in rotations(slices, recipe.orders))
    if len(known) != slices:
        raise BadParameter(
            f"deletion_probabilities has {len(known)} values for {slices} slices.",
            "Each slice has a probability of its own.",
            f"Give {slices} values, or leave the field out.",
        )
    return tuple(tuple(sequence) for sequence in bms(known, budget=recipe.orders))
