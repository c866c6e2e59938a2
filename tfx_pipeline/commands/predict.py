"""`towers predict`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.commands.options import add_run, check_split, output_file
from trainer.errors import UsageError
from trainer.files import atomic_file

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and --help does not need it
    from collections.abc import Iterable, Iterator
    from typing import Any

    import numpy as np

    from tfx_pipeline.runs.trained_run import TrainedRun
    from trainer.data.tables import SequenceTable

EPILOG = """\
example:
  towers predict --run runs/amazon --split test --stage recommend --k 100 --out test.jsonl
  towers predict --run runs/amazon --split next --stage retrieval --k 20 --out next.jsonl

Writes one line for each user, with the best item first:
  {"user_id": ..., "item_ids": [...], "scores": [...]}

--split next         for all users, after their last events; from the whole catalogue
--split test         for the users with events in this split, just before these events; from the
                     items that evaluation ranks
--split validation   likewise
--stage retrieval    the lists of the retrieval model
--stage recommend    the lists that a server answers: re-ordered by the ranking model, if that was
                     better on validation (serving.use_ranking)

With --users, only these users get a line. With --split next they may be new users. If the run made
pseudonyms, give --data: --users and the lines then have the original ids.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--split", choices=["test", "validation", "next"], default="next", help="default: next")
    parser.add_argument("--stage", choices=["retrieval", "recommend"], default="recommend", help="default: recommend")
    parser.add_argument("--k", type=int, default=100, metavar="N", help="items for each user (default: 100)")
    parser.add_argument("--users", default=None, metavar="FILE", help="one user id a line (default: all users)")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON lines to write")
    parser.add_argument(
        "--data", default=None, metavar="DIR", help="directory of the raw tables; replaces pseudonyms with ids"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.k < 1:
        raise UsageError(f"`--k` should be a positive integer. Received: {arguments.k}")
    output = output_file(arguments.out)
    user_ids = None if arguments.users is None else read_users(Path(arguments.users))
    from rich.progress import track

    from tfx_pipeline.runs import trained_run
    from tfx_pipeline.runs.original_ids import original_ids
    from tfx_pipeline.runs.run_directory import RunDirectory

    directory = RunDirectory(arguments.run)
    config = directory.finished_config()
    split = arguments.split
    check_split(split, config, arguments.run)
    ids = original_ids(config.data, arguments.data) if arguments.data else {}
    if user_ids is not None and ids:
        pseudonyms = {original: pseudonym for pseudonym, original in ids.items()}
        user_ids = [pseudonyms.get(user_id, user_id) for user_id in user_ids]
    held_out_splits = ("validation", "test") if config.data.split.test else ("validation",)
    loaded = trained_run.load(directory, held_out_splits if split == "next" else (split,))
    lines = predictions(loaded, split, arguments.stage, arguments.k, user_ids)
    count = _write(output, track(lines, description="recommending", transient=True, total=None), ids)
    print(f"{output}  ({count:,} users, stage {arguments.stage}, split {split})")
    return 0


def _write(output: Path, lines: Iterable[dict[str, Any]], original_ids: dict[str, str]) -> int:
    """Writes lines with original ids in place of pseudonyms; returns their number."""
    count = 0
    with atomic_file(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for line in lines:
            line["user_id"] = original_ids.get(line["user_id"], line["user_id"])
            line["item_ids"] = [original_ids.get(item_id, item_id) for item_id in line["item_ids"]]
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def predictions(
    run: TrainedRun, split: str, stage: str, k: int, user_ids: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yields `{"user_id", "item_ids", "scores"}` for each user, first those with short histories.

    Args:
      run: with the split, or for `next` with all held-out splits.
      split: `test`, `validation` or `next`.
      stage: `retrieval` or `recommend`.
      k: items for each user.
      user_ids: distinct user ids; all users of the split by default.

    Raises:
      UsageError: a held-out split does not have one of the users.
    """
    from trainer.data.tables import everything_known
    from trainer.evaluation.full_ranking import RankingTask, rank_with_model

    config = run.config
    if split == "next":
        sequences = everything_known(list(run.dataset.splits.values()))
        # Evaluation may leave out items without events. Here they are new items that should be recommended.
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"candidates": "all"})})
    else:
        sequences = run.dataset.splits[split]
    rows = None
    if user_ids is not None:
        sequences, rows = _select(sequences, user_ids, split)
    task = RankingTask(config, run.dataset.items, sequences, k=k, users=rows)
    item_ids = ["", *run.dataset.items.item_id]
    for batch in rank_with_model(task, run.towers, run.ranker if stage == "recommend" else None):
        for row, items, scores in zip(batch.users, batch.items, batch.scores, strict=True):
            is_item = items > 0  # 0 pads lists that are shorter than k
            yield {
                "user_id": sequences.user_id[row],
                "item_ids": [item_ids[item] for item in items[is_item]],
                "scores": [round(float(score), 6) for score in scores[is_item]],
            }


def _select(sequences: SequenceTable, user_ids: list[str], split: str) -> tuple[SequenceTable, np.ndarray]:
    """(the sequences, for `next` with new users added; the users' rows in them)."""
    import numpy as np

    from trainer.data.tables import with_newcomers

    row_of = {user_id: row for row, user_id in enumerate(sequences.user_id)}
    unknown = [user_id for user_id in user_ids if user_id not in row_of]
    if unknown and split != "next":
        raise UsageError(
            f"--users: {len(unknown)} of {len(user_ids)} users have no held-out events in split {split} (the first: "
            f"{unknown[0]!r}). Remove them from the file, or give --split next."
        )
    row_of |= {user_id: len(sequences) + i for i, user_id in enumerate(unknown)}
    return with_newcomers(sequences, unknown), np.array([row_of[user_id] for user_id in user_ids])


def read_users(path: Path) -> list[str]:
    """The distinct user ids of a file with one id a line, in the file's order.

    Raises:
      UsageError: the file is not UTF-8 text or has no id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"--users {path}: is not UTF-8 text. Give a file with one user id a line.") from None
    users = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not users:
        raise UsageError(f"--users {path}: has no user id. Give one a line, or leave out --users for all users.")
    return users
