"""What a run knows of its users, as a client would send it: for the demo, `towers recommend --run` and the gates."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from serving.client import HistoryEvent, UserRequest
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.errors import TowersError


@dataclass(frozen=True)
class KnownUser:
    """A user's whole sequence, held-out events included: what the model may use from now on.

    Attributes:
      user_id: as in the run's data (a pseudonym where the run made them).
      history: oldest event first.
      features: profile columns, by the served model's input names.
    """

    user_id: str
    history: list[HistoryEvent]
    features: dict[str, str | float]


def find(directory: RunDirectory, user_id: str) -> KnownUser:
    """Looks a user up in what the run ingested.

    Raises:
      TowersError: the run has no such user.
    """
    # Users too short to be held out are in the train split alone; the others' last split has the most.
    for split in ("test", "validation", "train"):
        for record in _records(directory.output("Ingest", "sequences"), split):
            example = tf.train.Example.FromString(record).features.feature
            if example["user_id"].bytes_list.value[0].decode() == user_id:
                return KnownUser(user_id, _history(example), _features(example))
    raise TowersError(f"{directory.path}: its data has no user {user_id!r}. Give another --user, or a --history.")


def held_out(
    examples: str, split: str, user_ids: Sequence[str], *, with_query: bool, with_timestamp: bool
) -> list[UserRequest]:
    """What users of a split would ask just before their targets, of which each should have one.

    Args:
      examples: directory of what was ingested.
      split: its name.
      user_ids: of the users, in the order of the result.
      with_query, with_timestamp: whether requests know the first target's query and time.
    """
    wanted, found = set(user_ids), {}
    for record in _records(examples, split):
        example = tf.train.Example.FromString(record).features.feature
        user_id = example["user_id"].bytes_list.value[0].decode()
        if user_id not in wanted:
            continue
        events = _history(example)
        stop = len(events) - example["target_count"].int64_list.value[0]
        features = _features(example)
        for name, value in example.items():
            if name.startswith("context_") and value.bytes_list.value[stop]:
                features[name] = value.bytes_list.value[stop].decode()
        queries = example["query"].bytes_list.value if with_query and "query" in example else []
        found[user_id] = UserRequest(
            user_id=user_id,
            history=events[:stop],
            query=queries[stop].decode() if queries else "",
            timestamp=events[stop].timestamp if with_timestamp else 0,
            features=features,
        )
    return [found[user_id] for user_id in user_ids]


def titles(directory: RunDirectory) -> dict[str, str]:
    """Item id -> title of the run's catalogue, and of what `towers reindex` has read since."""
    found = {}
    for items in (directory.output("Ingest", "items"), str(directory.reindexed / "items")):
        for record in _records(items, "all"):
            example = tf.train.Example.FromString(record).features.feature
            found[example["item_id"].bytes_list.value[0].decode()] = example["title"].bytes_list.value[0].decode()
    return found


def _records(examples: str, split: str) -> tf.data.NumpyIterator:
    files = sorted(tf.io.gfile.glob(os.path.join(examples, f"Split-{split}", "*.gz")))
    return tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()


def _history(example: dict) -> list[HistoryEvent]:
    count = len(example["item_id"].bytes_list.value)

    def strings(name: str) -> list[str]:
        values = [value.decode() for value in example[name].bytes_list.value] if name in example else []
        return values or [""] * count

    ratings = example["rating"].float_list.value if "rating" in example else []
    columns = zip(
        strings("item_id"),
        strings("text"),
        example["timestamp"].int64_list.value,
        strings("event"),
        ratings if len(ratings) else [math.nan] * count,
        strict=True,
    )
    return [HistoryEvent(item, text, time, event, float(rating)) for item, text, time, event, rating in columns]


def _features(example: dict) -> dict[str, str | float]:
    features: dict[str, str | float] = {}
    for name, value in example.items():
        if name.startswith("profile_"):
            found = value.bytes_list.value or value.float_list.value
            if found:
                features[name] = found[0].decode() if isinstance(found[0], bytes) else found[0]
    return features
