"""Simulates events: readers' interests change over time, and their texts announce the next interest.

A reader's history is divided into phases of two to four events. A phase has a focus, one facet of one topic, and most
books of the phase have this focus. In the last events of a phase, texts name the focus of the *next* phase, and readers
then write more often. A model that sees only ids cannot predict the next focus; a model that reads the texts can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_pipeline.bookshop.catalogue import NO_SUBJECT, Catalogue, subject_number
from tfx_pipeline.bookshop.readers import READS, UTC_OFFSETS, Readers
from tfx_pipeline.bookshop.texts import CATEGORIES, CHINESE, FACETS, TOPICS

EVENTS = ("view", "wishlist", "purchase")
DEVICES = ("phone", "tablet", "desktop")
_PURCHASE = EVENTS.index("purchase")
_FIRST_DAY = np.datetime64("2024-01-01", "s").astype(np.int64).item()
_DAYS = 731  # 2024 and 2025
_DAY_SECONDS = 86_400
_BOOK_SHARES = np.array([[0.95, 0.05], [0.08, 0.92], [0.5, 0.5]])  # [READS, language of the book]


@dataclass(frozen=True)
class Events:
    """Events of a block of readers, ordered by reader, then time; all [events].

    Subjects are numbers as `catalogue.subject_number` returns them; NO_SUBJECT where a text is empty or names nothing.
    """

    reader: np.ndarray  # int64
    item: np.ndarray  # int32
    second: np.ndarray  # int64, epoch
    kind: np.ndarray  # int8, index into EVENTS
    device: np.ndarray  # int8
    rating: np.ndarray  # int8, 1..5; 0 = none
    language: np.ndarray  # int8, language of the reader's texts
    query_subject: np.ndarray  # int64
    has_review: np.ndarray  # bool
    opinion: np.ndarray  # int8, 0 disappointed, 1 mixed, 2 pleased
    remark_subject: np.ndarray  # int64, of the part of a review that is about this book
    intent_subject: np.ndarray  # int64, of the part that is about what the reader wants next

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class _Phases:
    """Phases of a block of readers, all [phases] unless noted otherwise."""

    topic: np.ndarray  # the focus
    facet: np.ndarray
    lead: np.ndarray  # number of last events in which texts may announce the next phase
    of_event: np.ndarray  # [events], index of each event's phase
    events_to_end: np.ndarray  # [events], number of events from each event, itself included, to its phase's end


def simulate(catalogue: Catalogue, readers: Readers, first: int, last: int, random: np.random.Generator) -> Events:
    """Events of readers `first` up to, not including, `last`."""
    counts = np.diff(readers.offsets[first : last + 1])
    reader = np.repeat(np.arange(first, last), counts)
    n = len(reader)
    second = _times(readers, reader, random)
    phases = _make_phases(readers, first, last, random)
    on_focus = random.random(n) < 0.85
    item = _items(catalogue, readers, phases, on_focus, reader, second, random)

    announces = (phases.events_to_end <= phases.lead[phases.of_event]) & (random.random(n) < 0.95)
    next_focus = phases.of_event + announces  # the next phase is the same reader's
    facet = np.where(random.random(n) < 0.75, phases.facet[next_focus], random.integers(FACETS, size=n))
    reads = readers.reads[reader]
    language = np.where(reads == READS.index("both"), random.integers(2, size=n), reads == READS.index("zh"))
    wish = subject_number(language, phases.topic[next_focus], facet)
    own = subject_number(language, catalogue.topic[item].astype(np.int64), catalogue.facet[item])

    kind = random.choice(len(EVENTS), size=n, p=(0.25, 0.1, 0.65))
    has_review = (kind == _PURCHASE) & (random.random(n) < np.where(announces, 0.65, 0.3))
    liking = 0.9 * catalogue.quality[item] + 0.7 * on_focus + random.standard_normal(n)
    rating = 1 + np.searchsorted((-1.8, -0.9, 0.0, 1.1), liking)
    opinion = np.searchsorted((3, 4), rating, side="right")
    has_rating = has_review & (random.random(n) < 0.9) | (kind == _PURCHASE) & (random.random(n) < 0.15)
    has_query = random.random(n) < np.where(announces, 0.32, 0.15)
    query_announces = announces & (random.random(n) < 0.85)
    has_intent = announces & (random.random(n) < 0.95) | (random.random(n) < 0.5)
    return Events(
        reader=reader,
        item=item,
        second=second,
        kind=kind.astype(np.int8),
        device=random.choice(len(DEVICES), size=n, p=(0.6, 0.1, 0.3)).astype(np.int8),
        rating=np.where(has_rating, rating, 0).astype(np.int8),
        language=language.astype(np.int8),
        query_subject=np.where(has_query, np.where(query_announces, wish, own), NO_SUBJECT),
        has_review=has_review,
        opinion=opinion.astype(np.int8),
        remark_subject=np.where(has_review & (random.random(n) < 0.35), own, NO_SUBJECT),
        intent_subject=np.where(has_review & has_intent, wish, NO_SUBJECT),
    )


def _times(readers: Readers, reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Epoch seconds, ascending for each reader: more at weekends, and around the reader's favourite local hour."""
    n = len(reader)
    start, end = readers.start[reader], readers.end[reader]
    day = np.floor((start + (end - start) * random.random(n)) * (_DAYS - 2)).astype(np.int64) + 1
    weekday = day % 7  # the first day is a Monday
    to_saturday = np.maximum(5 - weekday, 0)
    day = np.where(random.random(n) < 0.15, np.minimum(day + to_saturday, _DAYS - 2), day)
    # At weekends people shop earlier and more evenly.
    weekend = day % 7 >= 5
    hour = np.where(weekend, 14.0, readers.chronotype[reader]) + np.where(weekend, 3.5, 2.0) * random.standard_normal(n)
    local = day * _DAY_SECONDS + ((hour % 24) * 3600).astype(np.int64)
    second = _FIRST_DAY + local - 3600 * UTC_OFFSETS[readers.region[reader]]
    return second[np.lexsort((second, reader))]


def _make_phases(readers: Readers, first: int, last: int, random: np.random.Generator) -> _Phases:
    """Phases of readers `first` up to, not including, `last`.

    Each reader has one phase more than its events can fill, so that its last phase too has a next one to announce.
    """
    counts = np.diff(readers.offsets[first : last + 1])
    phase_counts = counts // 2 + 2
    reader = np.repeat(np.arange(first, last), phase_counts)  # [phases]
    length = random.integers(2, 5, size=len(reader))
    total_length = np.concatenate([[0], np.cumsum(length)])
    first_phase = np.concatenate([[0], np.cumsum(phase_counts)])[:-1]
    end_in_history = total_length[1:] - total_length[np.repeat(first_phase, phase_counts)]
    history_start = readers.offsets[reader] - readers.offsets[first]
    # Ends as indices of the block's events. Phases beyond a reader's last event are empty: no event is in them.
    end = history_start + np.minimum(end_in_history, counts[reader - first])
    topic = _focus_topics(readers, reader, random)
    facet = random.integers(FACETS, size=len(topic))
    lead = random.integers(2, 6, size=len(topic))
    event = np.arange(counts.sum())
    of_event = np.searchsorted(end, event, side="right")
    # To the end of the phase's full length, even if the history ends before it.
    events_to_end = history_start[of_event] + end_in_history[of_event] - event
    return _Phases(topic, facet, lead, of_event, events_to_end)


def _focus_topics(readers: Readers, phase_reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A topic for each phase: one of the reader's lasting interests, of the favourite category, or of all topics."""
    n = len(phase_reader)
    by_category = np.array([[k for k, t in enumerate(TOPICS) if t.category == c] for c in CATEGORIES])
    weight = np.arange(1, len(TOPICS) + 1) ** -0.4
    source = random.random(n)
    focus = np.where(
        source < 0.25,
        readers.topics[phase_reader, random.integers(4, size=n)],
        np.where(
            source < 0.5,
            by_category[readers.category[phase_reader], random.integers(by_category.shape[1], size=n)],
            random.choice(len(TOPICS), size=n, p=weight / weight.sum()),
        ),
    )
    same = np.flatnonzero(focus[1:] == focus[:-1]) + 1
    focus[same] = (focus[same] + random.integers(1, len(TOPICS), size=len(same))) % len(TOPICS)
    return focus


def _items(
    catalogue: Catalogue,
    readers: Readers,
    phases: _Phases,
    on_focus: np.ndarray,
    reader: np.ndarray,
    second: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """The item of each event: of the phase's focus where `on_focus`, of a lasting interest elsewhere."""
    n = len(reader)
    lasting = readers.topics[reader, random.choice(4, size=n, p=(0.4, 0.3, 0.2, 0.1))]
    topic = np.where(on_focus, phases.topic[phases.of_event], lasting)
    of_facet = on_focus & (random.random(n) < 0.75)
    facet = np.where(of_facet, phases.facet[phases.of_event], random.integers(FACETS, size=n))
    language = (random.random(n) < _BOOK_SHARES[readers.reads[reader], CHINESE]).astype(np.int64)
    return _sample_items(catalogue, subject_number(language, topic, facet), reader, second, random)


def _sample_items(
    catalogue: Catalogue, subjects: np.ndarray, reader: np.ndarray, second: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """An item of each event's subject that is on sale by then, and, if there are enough, new to the reader."""
    elapsed = (second - _FIRST_DAY) / (_DAYS * _DAY_SECONDS)
    item = catalogue.sample(subjects, random)
    for attempt in range(64):
        rejected = catalogue.arrival[item] > elapsed
        if attempt < 8:
            rejected |= _is_repeat(reader, item, len(catalogue))
        rows = np.flatnonzero(rejected)
        if not len(rows):
            return item
        item[rows] = catalogue.sample(subjects[rows], random)
    item[catalogue.arrival[item] > elapsed] = np.argmin(catalogue.arrival)
    return item


def _is_repeat(reader: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """True for every event but the first of a (reader, item) pair. [events]"""
    key = reader * items + item
    order = np.argsort(key, kind="stable")
    repeat = np.zeros(len(key), bool)
    repeat[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeat
