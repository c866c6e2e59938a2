"""Parts of the held-out targets over which a model may be better or worse than over all."""

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

COLD = 5  # a target with at most so many train events counts as cold
HISTORIES = (5, 10, 20, 50, 100)  # events at which longer histories are a slice of their own
POPULARITIES = (COLD + 1, 21, 101, 501)  # the same of targets' train events
MOST_VALUES = 8  # of a column, the most frequent; the others are one slice
PERIODS = 4  # of equally many targets


@dataclass(frozen=True)
class Slice:
    """Some of the targets.

    Attributes:
      by: what tells the slices apart.
      name: which of them this is.
      targets: bool [targets], which are in it; its users are those who have any.
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
    """All slices that the data allows. Of a column with one value, for which there is nothing to compare, none.

    Args:
      items: the catalogue.
      sequences: the split.
      train: the train split; None where it is not known who is in it.
      targets: of the split.
      clock: whether timestamps are seconds.
      languages: object (str) [texts], the language of each text; "" where it has none.
    """
    begin, stop = sequences.offsets[:-1], sequences.offsets[1:] - sequences.target_count
    length = stop - begin
    count = np.concatenate([[0], items.train_count])[targets.item]
    groups: list[tuple[str, np.ndarray, list[str]]] = [
        (BY_HISTORY, np.digitize(length, HISTORIES)[targets.user], _bins(HISTORIES, "events")),
        (BY_POPULARITY, np.digitize(count, POPULARITIES), _bins(POPULARITIES, "train events")),
    ]
    if train is not None:
        known = set(train.user_id)
        seen = np.array([user_id in known for user_id in sequences.user_id], np.int64)
        groups.append((BY_USER, seen[targets.user], ["not in training", "in training"]))
    if sequences.text_row is not None:
        wrote = np.concatenate([[0], np.cumsum(sequences.text_row != NO_TEXT)])
        own = wrote[stop] - wrote[begin]
        groups.append((BY_OWN_TEXT, np.minimum(own, 1)[targets.user], ["wrote nothing", "wrote something"]))
        if languages is not None:
            mostly, names = _mostly(languages, sequences, begin, stop)
            groups.append((BY_LANGUAGE, mostly[targets.user], names))
    for name, ids in sequences.profile.items():
        groups.append((by_profile(name), *_values(ids[targets.user], sequences.names.get(f"profile_{name}"))))
    for name, ids in sequences.context.items():
        groups.append((by_context(name), *_values(ids[targets.position], sequences.names.get(f"context_{name}"))))
    if clock:
        groups.append((BY_TIME, *_periods(sequences.timestamp[targets.position])))
    return [found for group in groups for found in _slices(*group)]


def _slices(by: str, which: np.ndarray, names: Sequence[str]) -> Iterator[Slice]:
    present = [i for i in range(len(names)) if (which == i).any()]
    if len(present) > 1:
        for i in present:
            yield Slice(by, names[i], which == i)


def _bins(edges: Sequence[int], unit: str) -> list[str]:
    """What `np.digitize` numbers."""
    inner = [f"{low} to {high - 1} {unit}" for low, high in itertools.pairwise(edges)]
    return [f"at most {edges[0] - 1} {unit}", *inner, f"{edges[-1]} {unit} or more"]


def _values(ids: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Which of a column's most frequent values each target has, the last of all standing for the others."""
    values, counts = np.unique(ids, return_counts=True)
    kept = np.sort(values[np.argsort(-counts, kind="stable")[:MOST_VALUES]])
    which = np.full(len(ids), len(kept))
    for i, value in enumerate(kept):
        which[ids == value] = i

    def name(value: int) -> str:
        if value == 0:
            return "none or unknown"  # what is new since training has no id of its own
        return names[value - 1] if names is not None and value <= len(names) else f"quantile {value}"

    return which, [*(name(int(value)) for value in kept), "others"]


def _mostly(
    languages: np.ndarray, sequences: SequenceTable, begin: np.ndarray, stop: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """The language of most texts of a user's history: int64 [users] numbers of names, -1 where there is none."""
    assert sequences.text_row is not None
    names = sorted(set(languages.tolist()) - {""})
    code = {language: i for i, language in enumerate(names)}
    of_text = np.array([code.get(language, -1) for language in [*languages, ""]], np.int64)  # the last: of no text
    of_event = of_text[sequences.text_row]
    most, best = np.full(len(sequences), -1), np.zeros(len(sequences), np.int64)
    for i in range(len(names)):
        total = np.concatenate([[0], np.cumsum(of_event == i)])
        events = total[stop] - total[begin]
        most, best = np.where(events > best, i, most), np.maximum(events, best)
    return most, names


def _periods(times: np.ndarray) -> tuple[np.ndarray, list[str]]:
    edges = np.quantile(times, np.arange(1, PERIODS) / PERIODS) if len(times) else np.zeros(0)
    which = np.searchsorted(edges, times, side="left")
    names = [
        f"{_day(times[which == i].min())} to {_day(times[which == i].max())}" if (which == i).any() else ""
        for i in range(PERIODS)
    ]
    repeated = [names.count(name) > 1 for name in names]
    return which, [f"{names[i]}, part {i + 1} of {PERIODS}" if repeated[i] else names[i] for i in range(PERIODS)]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%d")
