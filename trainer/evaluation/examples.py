"""A few held-out users as a person looks at them: what they did and wrote, what they get, why, and what they took."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import request_batch
from trainer.data.dataset import Dataset
from trainer.data.features import has_clock
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, take_users
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.targets import targets_of
from trainer.explanations.leave_one_out import most_influential_events

SHOWN_EVENTS = 8  # the latest of a history
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
    """`evaluation.example_users` of the split's users, drawn by the seed, in turn from those of each language.

    Args:
      config, model, dataset, split, languages: as for `evaluate_in_detail`.
      ranking: what `recommend` is served with, or None.
      texts_of: int64 rows of texts -> row -> text.

    Returns:
      of each: `user_id`, `history` (the latest events, oldest first: `title`, `item_id`, and where the data has them
      `text`, `query`, `rating`, `day`), `events` (how many there are in all), `took` (held-out `title`s and `item_id`s)
      and `recommended` (`title`, `item_id`, `hit`, and `because`: the place in `history` of the event without which the
      item's retrieval score is lowest, None where that is none of those shown).
    """
    sequences = dataset.splits[split]
    rows = _chosen(config, sequences, languages)
    table = take_users(sequences, rows)
    if not len(rows):
        return []
    stop = table.offsets[1:] - table.target_count
    start = np.maximum(table.offsets[:-1], stop - config.model.max_history)
    vectors = model.item_vectors()
    lists = np.zeros((len(rows), config.evaluation.list_length), np.int32)
    task = RankingTask(config, dataset.items, table, k=config.evaluation.list_length)
    for batch in rank_with_model(task, model, ranking, vectors):
        lists[batch.users, : batch.items.shape[1]] = batch.items
    places = _reasons(config, model, table, start, stop, vectors, lists)
    shown = [np.arange(max(first, last - SHOWN_EVENTS), last) for first, last in zip(start, stop, strict=True)]
    texts = texts_of(_rows_of_texts(table, np.concatenate(shown)))
    targets = targets_of(table)
    return [
        {
            "user_id": table.user_id[u],
            "events": int(stop[u] - table.offsets[u]),
            "history": [_event(config, dataset.items, table, place, texts) for place in shown[u]],
            "took": [_item(dataset.items, i) for i in targets.item[targets.offsets[u] : targets.offsets[u + 1]]],
            "recommended": [
                {
                    **_item(dataset.items, item),
                    "hit": bool((targets.item[targets.offsets[u] : targets.offsets[u + 1]] == item).any()),
                    "because": _place_shown(start[u] + place if place >= 0 else -1, shown[u]),
                }
                for item, place in zip(lists[u], places[u], strict=True)
                if item != UNKNOWN_ITEM
            ],
        }
        for u in range(len(rows))
    ]


def _chosen(config: Config, sequences: SequenceTable, languages: np.ndarray | None) -> np.ndarray:
    """Rows of users, int64."""
    has_history = np.diff(sequences.offsets) > sequences.target_count
    users = np.random.default_rng(config.seed).permutation(np.flatnonzero((sequences.target_count > 0) & has_history))
    if languages is None or sequences.text_row is None:
        return users[: config.evaluation.example_users]
    groups: dict[str, list[int]] = {}
    for user in users:
        stop = sequences.offsets[user + 1] - sequences.target_count[user]
        rows = sequences.text_row[sequences.offsets[user] : stop]
        spoken = [language for language in languages[rows[rows != NO_TEXT]] if language]
        groups.setdefault(max(set(spoken), key=spoken.count) if spoken else "", []).append(int(user))
    chosen: list[int] = []
    named = sorted(group for group in groups if group)
    while len(chosen) < min(config.evaluation.example_users, len(users)):
        left = [group for group in named if groups[group]] or [""]  # those who wrote nothing come last
        chosen += [groups[group].pop(0) for group in left]
    return np.array(chosen[: config.evaluation.example_users], np.int64)


def _reasons(
    config: Config,
    model: Retriever,
    table: SequenceTable,
    start: np.ndarray,
    stop: np.ndarray,
    vectors: tf.Tensor,
    lists: np.ndarray,
) -> np.ndarray:
    """Which event of start..stop speaks most for each item of the lists: int32 [U, k], -1 for none."""
    settings = config.evaluation
    batch = request_batch(
        table,
        model.columns,
        np.arange(len(table)),
        start,
        stop,
        with_query=settings.with_query,
        with_timestamp=settings.with_timestamp,
    )
    features = model.features({name: tf.constant(value) for name, value in batch.items()})
    users = model.encode(features, vectors)
    of_items = tf.gather(vectors, lists)  # [U, k, dim]
    scores = tf.einsum("ud,ukd->uk", users, of_items)
    events = {name: features.pop(name) for name in _EVENT_FEATURES if name in features}
    length = features.pop("length")
    first = tf.zeros_like(length)

    @tf.function(autograph=False)  # one trace is a fraction of what calling each row by itself takes
    def heaviest() -> tf.Tensor:
        return most_influential_events(
            lambda left: model.encode(left, vectors), events, features, length, first, of_items, scores
        )

    return heaviest().numpy()


def _rows_of_texts(table: SequenceTable, places: np.ndarray) -> np.ndarray:
    columns = [column[places] for column in (table.text_row, table.query_row) if column is not None]
    rows = np.unique(np.concatenate(columns)) if columns else np.zeros(0, np.int64)
    return rows[rows != NO_TEXT]


def _event(config: Config, items: ItemTable, table: SequenceTable, place: int, texts: dict[int, str]) -> dict[str, Any]:
    event = _item(items, table.item[place])
    for name, column in (("text", table.text_row), ("query", table.query_row)):
        if column is not None and column[place] != NO_TEXT:
            event[name] = texts[int(column[place])]
    if table.rating is not None and np.isfinite(table.rating[place]):
        event["rating"] = float(table.rating[place])
    if has_clock(config.data):
        event["day"] = datetime.fromtimestamp(int(table.timestamp[place]), timezone.utc).strftime("%Y-%m-%d")
    return event


def _item(items: ItemTable, index: int) -> dict[str, Any]:
    if index == UNKNOWN_ITEM:
        return {"item_id": "", "title": "an item that is not in the catalogue"}
    item_id = str(items.item_id[index - 1])
    return {"item_id": item_id, "title": str(items.title[index - 1]) or item_id}


def _place_shown(place: int, shown: np.ndarray) -> int | None:
    found = np.flatnonzero(shown == place)
    return int(found[0]) if len(found) else None
