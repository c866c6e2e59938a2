"""Slices: parts of the held-out targets, over which the metrics are computed separately."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from trainer.config.names import (
    BY_HISTORY,
    BY_LANGUAGE,
    BY_OWN_TEXT,
    BY_POPULARITY,
    BY_TIME,
    BY_USER,
    by_context,
    by_profile,
)
from trainer.data.tables import NO_TEXT, ItemTable, SequenceTable
from trainer.evaluation.targets import Targets

COLD_EVENTS = 5  # a target with at most this many train events is cold
HISTORIES = (5, 10, 20, 50, 100)  # limits between slices, in events before the targets
POPULARITIES = (COLD_EVENTS + 1, 21, 101, 501)  # limits between slices, in train events of the target
MAX_VALUES = 8  # the most frequent values of a column are slices; all others are one slice
PERIODS = 4  # slices by time, with equally many targets


@dataclass(frozen=True)
class Slice:
    """A part of the targets.

    Attributes:
      by: the criterion that the targets are divided by.
      name: the value or range of the criterion.
      targets: bool [targets], which targets are in the slice. Its users are those with such a target.
    """

    by: str
    name: str
    targets: np.ndarray


def slices(
    items: ItemTable,
    sequences: SequenceTable,
    train: SequenceTable | None,
    targets: Targets,
    *,
    clock: bool,
    languages: np.ndarray | None = None,
) -> list[Slice]:
    """All slices that the data allows. A column with only one value makes no slice.

    Args:
      items: the catalogue.
      sequences: the split.
      train: the train split; None if its users are unknown.
      targets: of the split.
      clock: whether timestamps are seconds.
      languages: object (str) [texts], the language of each text; "" if unknown.
    """
    begin, stop = sequences.offsets[:-1], sequences.offsets[1:] - sequences.target_count
    length = stop - begin
    count = np.concatenate([[0], items.train_count])[targets.item]
    groups: list[tuple[str, np.ndarray, list[str]]] = [
        (BY_HISTORY, np.digitize(length, HISTORIES)[targets.user], _bins(HISTORIES, "events")),
        (BY_POPULARITY, np.digitize(count, POPULARITIES), _bins(POPULARITIES, "train events")),
    ]
    if train is not None:
        train_users = set(train.user_id)
        in_training = np.array([user_id in train_users for user_id in sequences.user_id], np.int64)
        groups.append((BY_USER, in_training[targets.user], ["not in training", "in training"]))
    if sequences.text_row is not None:
        texts = np.concatenate([[0], np.cumsum(sequences.text_row != NO_TEXT)])
        own_texts = texts[stop] - texts[begin]
        groups.append((BY_OWN_TEXT, np.minimum(own_texts, 1)[targets.user], ["wrote nothing", "wrote something"]))
        if languages is not None:
            language, names = main_languages(languages, sequences)
            groups.append((BY_LANGUAGE, language[targets.user], names))
    for name, ids in sequences.profile.items():
        groups.append((by_profile(name), *_values(ids[targets.user], sequences.names.get(f"profile_{name}"))))
    for name, ids in sequences.context.items():
        groups.append((by_context(name), *_values(ids[targets.position], sequences.names.get(f"context_{name}"))))
    if clock:
        groups.append((BY_TIME, *_periods(sequences.timestamp[targets.position])))
    return [part for group in groups for part in _slices(*group)]


def _slices(by: str, number: np.ndarray, names: Sequence[str]) -> Iterator[Slice]:
    """The slices of a criterion. `number` int64 [targets] is the index in `names` of each target's slice; -1: none."""
    present = [i for i in range(len(names)) if (number == i).any()]
    if len(present) > 1:
        for i in present:
            yield Slice(by, names[i], number == i)


def _bins(edges: Sequence[int], unit: str) -> list[str]:
    """Names of the ranges that `np.digitize` numbers."""
    inner = [f"{low} to {high - 1} {unit}" for low, high in itertools.pairwise(edges)]
    return [f"at most {edges[0] - 1} {unit}", *inner, f"{edges[-1]} {unit} or more"]


def _values(ids: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """The slice numbers of a column's values, int64 [targets], and the names of the slices."""
    values, counts = np.unique(ids, return_counts=True)
    frequent = np.sort(values[np.argsort(-counts, kind="stable")[:MAX_VALUES]])
    number = np.full(len(ids), len(frequent))
    for i, value in enumerate(frequent):
        number[ids == value] = i

    def name(value: int) -> str:
        if value == 0:
            return "none or unknown"  # values that are new since training have no id
        return names[value - 1] if names is not None and value <= len(names) else f"quantile {value}"

    return number, [*(name(int(value)) for value in frequent), "others"]


def main_languages(languages: np.ndarray, sequences: SequenceTable) -> tuple[np.ndarray, list[str]]:
    """The most frequent language of the texts in each user's history before the targets.

    Args:
      languages: object (str) [texts], the language of each text; "" if unknown.
      sequences: a split with texts.

    Returns:
      int64 [users] indices of names, -1 for users without one; and the names, in alphabetical order.
    """
    assert sequences.text_row is not None
    start, stop = sequences.offsets[:-1], sequences.offsets[1:] - sequences.target_count
    names = sorted(set(languages.tolist()) - {""})
    index_of = {language: i for i, language in enumerate(names)}
    text_language = np.array([index_of.get(language, -1) for language in [*languages, ""]], np.int64)
    event_language = text_language[sequences.text_row]  # NO_TEXT is -1 and reads the last one, ""
    main, max_texts = np.full(len(sequences), -1), np.zeros(len(sequences), np.int64)
    for i in range(len(names)):
        total = np.concatenate([[0], np.cumsum(event_language == i)])
        texts = total[stop] - total[start]
        main, max_texts = np.where(texts > max_texts, i, main), np.maximum(texts, max_texts)
    return main, names


def _periods(times: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The slice numbers of timestamps, int64 [targets], and the names of the slices."""
    edges = np.quantile(times, np.arange(1, PERIODS) / PERIODS) if len(times) else np.zeros(0)
    number = np.searchsorted(edges, times, side="left")
    names = [
        f"{_day(times[number == i].min())} to {_day(times[number == i].max())}" if (number == i).any() else ""
        for i in range(PERIODS)
    ]
    repeated = [names.count(name) > 1 for name in names]
    return number, [f"{names[i]}, part {i + 1} of {PERIODS}" if repeated[i] else names[i] for i in range(PERIODS)]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%d")
