"""Looks up users and item titles in a run's data, in the form that a client sends or shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from serving.client import HistoryEvent, UserRequest
from tfx_pipeline.runs import ingested_examples
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.errors import TowersError

_Features = Mapping[str, tf.train.Feature]


@dataclass(frozen=True)
class KnownUser:
    """A user of the run's data with all events, the held-out ones too: the history for future recommendations.

    Attributes:
      user_id: as in the run's data; a pseudonym if the run made pseudonyms.
      history: oldest event first.
      features: profile columns, by the served model's input names.
    """

    user_id: str
    history: list[HistoryEvent]
    features: dict[str, str | float]


def find_user(directory: RunDirectory, user_id: str) -> KnownUser:
    """Looks a user up in the sequences that the run ingested.

    Raises:
      TowersError: the run's data has no such user.
    """
    # Each split holds a longer prefix of a sequence than the one before. Users with few events are in train only.
    for split in ("test", "validation", "train"):
        for example in ingested_examples.read(directory.output("Ingest", "sequences"), split):
            features = example.features.feature
            if _string(features, "user_id") == user_id:
                return KnownUser(user_id, _history(features), _profile(features))
    raise TowersError(f"{directory.path}: its data has no user {user_id!r}. Give another --user, or a --history.")


def held_out_requests(
    sequences: str, split: str, user_ids: Sequence[str], *, with_query: bool, with_timestamp: bool
) -> list[UserRequest]:
    """The requests that users would make just before their held-out events.

    Args:
      sequences: directory of the ingested sequences.
      split: a held-out split, in which each of the users has at least one held-out event.
      user_ids: the order of the result.
      with_query: whether a request has the query of the first held-out event.
      with_timestamp: whether a request has the time of the first held-out event.
    """
    ids, requests = set(user_ids), {}
    for example in ingested_examples.read(sequences, split):
        features = example.features.feature
        user_id = _string(features, "user_id")
        if user_id not in ids:
            continue
        events = _history(features)
        first_target = len(events) - features["target_count"].int64_list.value[0]
        queries = features["query"].bytes_list.value if with_query and "query" in features else []
        requests[user_id] = UserRequest(
            user_id=user_id,
            history=events[:first_target],
            query=queries[first_target].decode() if queries else "",
            timestamp=events[first_target].timestamp if with_timestamp else 0,
            features=_profile(features) | _context(features, first_target),
        )
    return [requests[user_id] for user_id in user_ids]


def item_titles(directory: RunDirectory) -> dict[str, str]:
    """Item id -> title, of the run's catalogue and of the items that `towers reindex` read since."""
    titles = {}
    for items in (directory.output("Ingest", "items"), directory.reindexed / "items"):
        for example in ingested_examples.read(items, "all"):
            features = example.features.feature
            titles[_string(features, "item_id")] = _string(features, "title")
    return titles


def _string(features: _Features, name: str) -> str:
    return features[name].bytes_list.value[0].decode()


def _history(features: _Features) -> list[HistoryEvent]:
    count = len(features["item_id"].bytes_list.value)

    def strings(name: str) -> list[str]:
        values = [value.decode() for value in features[name].bytes_list.value] if name in features else []
        return values or [""] * count

    ratings = features["rating"].float_list.value if "rating" in features else []
    columns = zip(
        strings("item_id"),
        strings("text"),
        features["timestamp"].int64_list.value,
        strings("event"),
        ratings if len(ratings) else [math.nan] * count,
        strict=True,
    )
    return [HistoryEvent(item, text, time, event, float(rating)) for item, text, time, event, rating in columns]


def _profile(features: _Features) -> dict[str, str | float]:
    """The profile columns that have a value."""
    profile: dict[str, str | float] = {}
    for name, feature in features.items():
        values = feature.bytes_list.value or feature.float_list.value
        if name.startswith("profile_") and values:
            profile[name] = values[0].decode() if isinstance(values[0], bytes) else values[0]
    return profile


def _context(features: _Features, event: int) -> dict[str, str | float]:
    """The context columns that have a value at one event."""
    return {
        name: feature.bytes_list.value[event].decode()
        for name, feature in features.items()
        if name.startswith("context_") and feature.bytes_list.value[event]
    }
