"""Describes a few held-out users: their histories and texts, recommendations with reasons, and held-out items."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.features import has_clock
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, take_users
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.requests import requests_before_targets
from trainer.evaluation.slices import main_languages
from trainer.evaluation.targets import targets_of
from trainer.explanations.leave_one_out import most_influential_events

MAX_EVENTS = 8  # number of latest events of a history that are described
_EVENT_FEATURES = ("item_index", "text", "event", "rating", "timestamp")

TextsOf = Callable[[np.ndarray], dict[int, str]]


def example_users(
    config: Config,
    model: Retriever,
    dataset: Dataset,
    split: str,
    ranking: Ranker | None,
    languages: np.ndarray | None,
    texts_of: TextsOf,
) -> list[dict[str, Any]]:
    """Describes `evaluation.example_users` random users of the split, taken from each language in turn.

    Args:
      config, model, dataset, split, languages: as for `evaluate_in_detail`.
      ranking: the ranking model that is served, or None.
      texts_of: rows of texts, int64 [m] -> a dictionary with the text of each row.

    Returns:
      for each user: `user_id`; `history`, the latest events, oldest first, with `title`, `item_id`, and where the data
      has them `text`, `query`, `rating`, `day`; `events`, the number of all events in the history; `took`, the held-out
      `title`s and `item_id`s; `recommended`, with `title`, `item_id`, `hit` and `because`, the index in `history` of
      the event without which the item's retrieval score is lowest, None if that event is not in `history`.
    """
    sequences = dataset.splits[split]
    table = take_users(sequences, _sampled_users(config, sequences, languages))
    if not len(table):
        return []
    items, vectors = dataset.items, model.item_vectors()
    stop = table.offsets[1:] - table.target_count
    start = np.maximum(table.offsets[:-1], stop - config.model.max_history)
    lists = np.zeros((len(table), config.evaluation.list_length), np.int32)
    task = RankingTask(config, items, table, k=config.evaluation.list_length)
    for batch in rank_with_model(task, model, ranking, vectors):
        lists[batch.users, : batch.items.shape[1]] = batch.items
    influential = _influential_positions(config, model, table, vectors, lists)
    described = [np.arange(max(first, last - MAX_EVENTS), last) for first, last in zip(start, stop, strict=True)]
    texts = texts_of(_text_rows(table, np.concatenate(described)))
    targets = targets_of(table)
    result = []
    for u in range(len(table)):
        target_items = targets.item[targets.offsets[u] : targets.offsets[u + 1]]
        result.append(
            {
                "user_id": table.user_id[u],
                "events": int(stop[u] - table.offsets[u]),
                "history": [_event(config, items, table, position, texts) for position in described[u]],
                "took": [_item(items, item) for item in target_items],
                "recommended": [
                    {
                        **_item(items, item),
                        "hit": bool((target_items == item).any()),
                        "because": _index_of(position, described[u]),
                    }
                    for item, position in zip(lists[u], influential[u], strict=True)
                    if item != UNKNOWN_ITEM
                ],
            }
        )
    return result


def _sampled_users(config: Config, sequences: SequenceTable, languages: np.ndarray | None) -> np.ndarray:
    """Random users with a history and targets, from each language in turn: int64 rows of `sequences`."""
    count = config.evaluation.example_users
    has_history = np.diff(sequences.offsets) > sequences.target_count
    users = np.random.default_rng(config.seed).permutation(np.flatnonzero((sequences.target_count > 0) & has_history))
    if languages is None or sequences.text_row is None:
        return users[:count]
    groups: dict[str, list[int]] = {}
    language, names = main_languages(languages, sequences)
    for user in users:
        groups.setdefault(names[language[user]] if language[user] >= 0 else "", []).append(int(user))
    sampled: list[int] = []
    named = sorted(group for group in groups if group)
    while len(sampled) < min(count, len(users)):
        remaining = [group for group in named if groups[group]] or [""]  # users without texts come last
        sampled += [groups[group].pop(0) for group in remaining]
    return np.array(sampled[:count], np.int64)


def _influential_positions(
    config: Config, model: Retriever, table: SequenceTable, vectors: tf.Tensor, lists: np.ndarray
) -> np.ndarray:
    """Flat positions of the most influential event for each item of the lists: int64 [U, k], -1 for none."""
    requests = requests_before_targets(config, model.columns, table, np.arange(len(table)))
    features = model.features(requests)
    users = model.encode(features, vectors)
    item_vectors = tf.gather(vectors, lists)  # [U, k, dim]
    scores = tf.einsum("ud,ukd->uk", users, item_vectors)
    events = {name: features.pop(name) for name in _EVENT_FEATURES if name in features}
    length = features.pop("length")
    first = tf.zeros_like(length)

    @tf.function(autograph=False)  # traced once, which is faster than running each row eagerly
    def influential() -> tf.Tensor:
        return most_influential_events(
            lambda remaining: model.encode(remaining, vectors), events, features, length, first, item_vectors, scores
        )

    index = influential().numpy()  # in the history that the model reads
    start = (table.offsets[1:] - table.target_count - length.numpy())[:, np.newaxis]
    return np.where(index >= 0, start + index, -1)


def _text_rows(table: SequenceTable, positions: np.ndarray) -> np.ndarray:
    columns = [column[positions] for column in (table.text_row, table.query_row) if column is not None]
    rows = np.unique(np.concatenate(columns)) if columns else np.zeros(0, np.int64)
    return rows[rows != NO_TEXT]


def _event(
    config: Config, items: ItemTable, table: SequenceTable, position: int, texts: dict[int, str]
) -> dict[str, Any]:
    event = _item(items, table.item[position])
    for name, column in (("text", table.text_row), ("query", table.query_row)):
        if column is not None and column[position] != NO_TEXT:
            event[name] = texts[int(column[position])]
    if table.rating is not None and np.isfinite(table.rating[position]):
        event["rating"] = float(table.rating[position])
    if has_clock(config.data):
        event["day"] = datetime.fromtimestamp(int(table.timestamp[position]), timezone.utc).strftime("%Y-%m-%d")
    return event


def _item(items: ItemTable, index: int) -> dict[str, Any]:
    if index == UNKNOWN_ITEM:
        return {"item_id": "", "title": "an item that is not in the catalogue"}
    item_id = str(items.item_id[index - 1])
    return {"item_id": item_id, "title": str(items.title[index - 1]) or item_id}


def _index_of(position: int, positions: np.ndarray) -> int | None:
    index = np.flatnonzero(positions == position)
    return int(index[0]) if len(index) else None
