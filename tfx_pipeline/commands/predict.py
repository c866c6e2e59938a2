"""`towers predict`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UsageError
from trainer.files import atomic_file

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and --help none
    from collections.abc import Iterator
    from typing import Any

    from tfx_pipeline.runs.trained_run import TrainedRun

EPILOG = """\
example:
  towers predict --run runs/amazon --split test --stage recommend --k 100 --out test.jsonl
  towers predict --run runs/amazon --split next --stage retrieval --k 20 --out next.jsonl

One line a user, best first: {"user_id": ..., "item_ids": [...], "scores": [...]}. `next` is after everything known, for
every user and out of the whole catalogue, items that nobody touched yet included; `test` and `validation` are just
before the held-out events, for the users who have any, out of the items that evaluation ranks. `recommend` is what is
served under that name: the ranking model re-orders what retrieval finds, where that won on validation
(serving.use_ranking). --users asks for some users alone, each once; of those the run does not know, `next` answers what
a newcomer gets. Where the run made pseudonyms, give --data: the file and the answer then have your own ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")
    parser.add_argument("--split", choices=["test", "validation", "next"], default="next")
    parser.add_argument("--stage", choices=["retrieval", "recommend"], default="recommend")
    parser.add_argument("--k", type=int, default=100, help="items a user")
    parser.add_argument("--users", default=None, metavar="FILE", help="one user id a line (default: all users)")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON lines")
    parser.add_argument("--data", default=None, metavar="DIR", help="the raw tables, to turn pseudonyms back into ids")


def run(arguments: argparse.Namespace) -> int:
    if arguments.k < 1:
        raise UsageError(f"`--k` should be a positive integer. Received: {arguments.k}")
    output = Path(arguments.out)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"--out {output}: should be a file in a directory that exists.")
    wanted = None if arguments.users is None else read_users(Path(arguments.users))
    from rich.progress import track

    from tfx_pipeline.runs import trained_run
    from tfx_pipeline.runs.original_ids import original_ids
    from tfx_pipeline.runs.run_directory import RunDirectory

    directory = RunDirectory(arguments.run)
    config = directory.finished_config()
    if arguments.split == "test" and not config.data.split.test:
        raise UsageError(f"{arguments.run}: was run without a test split (data.split.test). Give --split validation.")
    held_out = ("validation", "test") if config.data.split.test else ("validation",)
    ids = original_ids(config.data, arguments.data) if arguments.data else {}
    if wanted is not None and ids:
        pseudonyms = {own: pseudonym for pseudonym, own in ids.items()}
        wanted = [pseudonyms.get(user_id, user_id) for user_id in wanted]
    loaded = trained_run.load(directory, held_out if arguments.split == "next" else (arguments.split,))
    users = 0
    with atomic_file(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        lines = predictions(loaded, arguments.split, arguments.stage, arguments.k, wanted)
        for line in track(lines, description="recommending", transient=True, total=None):
            line["user_id"] = ids.get(line["user_id"], line["user_id"])
            line["item_ids"] = [ids.get(item_id, item_id) for item_id in line["item_ids"]]
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            users += 1
    print(f"{output}  ({users:,} users, stage {arguments.stage}, split {arguments.split})")
    return 0


def predictions(
    loaded: TrainedRun, split: str, stage: str, k: int, wanted: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """One `{"user_id", "item_ids", "scores"}` a user, those with short histories first.

    Args:
      loaded: a run with the split, or, for `next`, with all of them.
      split: `test`, `validation` or `next`.
      stage: `retrieval` or `recommend`.
      k: items a user.
      wanted: distinct user ids; all of the split by default.

    Raises:
      UsageError: a held-out split has no such user.
    """
    import numpy as np

    from trainer.data.tables import everything_known, with_newcomers
    from trainer.evaluation.full_ranking import RankingTask, rank_with_model

    config, splits = loaded.config, loaded.dataset.splits
    if split == "next":
        sequences = everything_known(list(splits.values()))
        # What evaluation leaves out because no event has it is what a shop has just put on sale.
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"candidates": "all"})})
    else:
        sequences = splits[split]
    rows = None
    if wanted is not None:
        known = {user_id: row for row, user_id in enumerate(sequences.user_id)}
        newcomers = [user_id for user_id in wanted if user_id not in known]
        if newcomers and split != "next":
            raise UsageError(
                f"--users: {len(newcomers)} of {len(wanted)} users have no events held out in split {split} (the "
                f"first: {newcomers[0]!r}). Leave them out, or give --split next."
            )
        sequences = with_newcomers(sequences, newcomers)
        known |= {user_id: len(known) + i for i, user_id in enumerate(newcomers)}
        rows = np.array([known[user_id] for user_id in wanted])
    ranker = loaded.ranker if stage == "recommend" else None
    item_ids = ["", *loaded.dataset.items.item_id]
    task = RankingTask(config, loaded.dataset.items, sequences, k=k, users=rows)
    for batch in rank_with_model(task, loaded.towers, ranker):
        for row, items, scores in zip(batch.users, batch.items, batch.scores, strict=True):
            kept = items > 0  # 0 fills up lists that are shorter than k
            yield {
                "user_id": sequences.user_id[row],
                "item_ids": [item_ids[item] for item in items[kept]],
                "scores": [round(float(score), 6) for score in scores[kept]],
            }


def read_users(path: Path) -> list[str]:
    """The distinct user ids of a file, one a line, in its order.

    Raises:
      UsageError: it is not UTF-8 text or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"--users {path}: is not UTF-8 text. Give a file with one user id a line.") from None
    users = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not users:
        raise UsageError(f"--users {path}: holds no user id. Give one a line, or leave --users out for all users.")
    return users
