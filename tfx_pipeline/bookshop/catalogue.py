"""Latent properties of the bookshop's books, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_pipeline.bookshop.texts import FACETS, LANGUAGES, TOPICS

_LATE_SHARE = 0.12  # of the items arrive in the last fifth of the two years
_LATE_FROM = 0.8
# A subject is a (language, topic, facet); it is given by its number.
SUBJECTS = len(LANGUAGES) * len(TOPICS) * FACETS
NO_SUBJECT = -1  # a text that names no topic, or no text at all


def subject_number(language: np.ndarray, topic: np.ndarray, facet: np.ndarray) -> np.ndarray:
    """The number of each subject, less than SUBJECTS."""
    return (language * len(TOPICS) + topic) * FACETS + facet


@dataclass(frozen=True)
class Catalogue:
    """Latent properties of the books, all [items] unless noted otherwise."""

    language: np.ndarray  # int8, index into LANGUAGES
    topic: np.ndarray  # int8
    facet: np.ndarray  # int8
    arrival: np.ndarray  # float32, share of the two years that passes before the first possible event
    quality: np.ndarray  # float32, standard normal; moves ratings
    cumulative: np.ndarray  # float64 [entries], cumulative probabilities; those of subject k lie in (k, k + 1]
    entry_item: np.ndarray  # int32 [entries], the item of each entry

    def __len__(self) -> int:
        return len(self.language)

    def sample(self, subjects: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One item for each subject [n], by popularity; items of the subject's facet are more probable.

        The item may not be on sale yet: `arrival` is not considered.
        """
        # The small margin keeps the sum's rounding from spilling into the next subject.
        probability = random.random(len(subjects)) * (1 - 1e-9)
        return self.entry_item[np.searchsorted(self.cumulative, subjects + probability, side="right")]


def make_catalogue(items: int, random: np.random.Generator) -> Catalogue:
    shelves = len(LANGUAGES) * len(TOPICS)
    shelf = random.permutation(np.arange(items) % shelves)
    language, topic = shelf // len(TOPICS), shelf % len(TOPICS)
    facet = random.integers(FACETS, size=items)
    late = random.permutation(items) < round(_LATE_SHARE * items)
    arrival = np.where(late, random.uniform(_LATE_FROM, 0.97, items), 0.0)
    popularity = (random.permutation(items) + 5.0) ** -0.8
    popularity[late] = 2.5 * (random.permutation(items)[late] + 5.0) ** -0.8  # new books are promoted

    entry_items, cumulative = [], []
    for subject in range(SUBJECTS):
        subject_facet = subject % FACETS
        subject_items = _items_of_subject(subject, language, topic, arrival)
        weight = popularity[subject_items] * np.where(facet[subject_items] == subject_facet, 5.0, 1.0)
        entry_items.append(subject_items)
        cumulative.append(subject + np.cumsum(weight) / weight.sum())
    return Catalogue(
        language=language.astype(np.int8),
        topic=topic.astype(np.int8),
        facet=facet.astype(np.int8),
        arrival=arrival.astype(np.float32),
        quality=random.standard_normal(items).astype(np.float32),
        cumulative=np.concatenate(cumulative),
        entry_item=np.concatenate(entry_items).astype(np.int32),
    )


def _items_of_subject(subject: int, language: np.ndarray, topic: np.ndarray, arrival: np.ndarray) -> np.ndarray:
    """Items of the subject's topic and language.

    If none of them is on sale from the first day, as in a small shop: items of the topic in any language; if none of
    these either: all items.
    """
    subject_language, subject_topic, _ = np.unravel_index(subject, (len(LANGUAGES), len(TOPICS), FACETS))
    of_topic = topic == subject_topic
    for items in (np.flatnonzero(of_topic & (language == subject_language)), np.flatnonzero(of_topic)):
        if (arrival[items] == 0).any():
            return items
    return np.arange(len(topic))
