"""`towers predict`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from trainer.errors import UsageError

EPILOG = """\
example:
  towers predict --run runs/amazon --split test --stage recommend --k 100 --out test.jsonl
  towers predict --run runs/amazon --split next --stage retrieval --k 20 --out next.jsonl

One line a user, best first: {"user_id": ..., "item_ids": [...], "scores": [...]}. `next` is after everything known, for
every user; `test` and `validation` are just before the held-out events. `recommend` is what is served under that name:
the ranking model re-orders what retrieval finds, where that won on validation (serving.use_ranking). Where the run made
pseudonyms, give --data: the answer then has your own ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")
    parser.add_argument("--split", choices=["test", "validation", "next"], default="next")
    parser.add_argument("--stage", choices=["retrieval", "recommend"], default="recommend")
    parser.add_argument("--k", type=int, default=100, help="items a user")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON lines")
    parser.add_argument("--data", default=None, metavar="DIR", help="the raw tables, to turn pseudonyms back into ids")


def run(arguments: argparse.Namespace) -> int:
    if arguments.k < 1:
        raise UsageError(f"`--k` should be a positive integer. Received: {arguments.k}")
    from rich.progress import track

    from tfx_pipeline import known_ids, trained_run
    from tfx_pipeline.run_directory import RunDirectory
    from trainer.data import everything_known
    from trainer.evaluation.full_ranking import rank_all

    directory = RunDirectory(arguments.run)
    config = directory.finished_config()
    if arguments.split == "test" and not config.data.split.test:
        raise UsageError(f"{arguments.run}: was run without a test split (data.split.test). Give --split validation.")
    held_out = ("validation", "test") if config.data.split.test else ("validation",)
    ids = known_ids.own_ids(config.data, arguments.data) if arguments.data else {}
    loaded = trained_run.load(directory, held_out if arguments.split == "next" else (arguments.split,))
    splits = loaded.dataset.splits
    sequences = everything_known(list(splits.values())) if arguments.split == "next" else splits[arguments.split]
    ranker = loaded.ranker if arguments.stage == "recommend" else None
    item_ids = [ids.get(item_id, item_id) for item_id in ["", *loaded.dataset.items.item_id]]
    output = Path(arguments.out)
    aside = output.with_name(f".{output.name}.partial")
    users = 0
    try:
        with open(aside, "w", encoding="utf-8") as file:
            batches = rank_all(config, loaded.towers, loaded.dataset.items, sequences, k=arguments.k, ranking=ranker)
            for batch in track(batches, description="recommending", transient=True, total=None):
                for row, items, scores in zip(batch.users, batch.items, batch.scores, strict=True):
                    kept = items > 0  # 0 fills up lists that are shorter than k
                    user_id = sequences.user_id[row]
                    line = {
                        "user_id": ids.get(user_id, user_id),
                        "item_ids": [item_ids[item] for item in items[kept]],
                        "scores": [round(float(score), 6) for score in scores[kept]],
                    }
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    users += 1
        os.replace(aside, output)
    finally:
        aside.unlink(missing_ok=True)
    print(f"{output}  ({users:,} users, stage {arguments.stage}, split {arguments.split})")
    return 0
