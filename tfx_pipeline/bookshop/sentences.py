"""Sentences: descriptions of books, and what readers write."""

from __future__ import annotations

import numpy as np

from tfx_pipeline.bookshop import texts
from tfx_pipeline.bookshop.catalogue import Catalogue
from tfx_pipeline.bookshop.events import Events


def describe_book(catalogue: Catalogue, index: int, random: np.random.Generator) -> dict:
    """The columns of one book, without its id."""
    language = int(catalogue.language[index])
    topic = texts.TOPICS[catalogue.topic[index]]
    facet = int(catalogue.facet[index])
    phrases = topic.phrases[language]
    a, b = (phrases[facet][place] for place in random.permutation(2))
    other = phrases[(facet + random.integers(1, texts.FACETS)) % texts.FACETS][random.integers(2)]

    def pick(choices: tuple[str, ...]) -> str:
        return choices[random.integers(len(choices))]

    title = pick((texts.FICTION_TITLES if topic.fiction else texts.NONFICTION_TITLES)[language])
    opening = pick((texts.FICTION_OPENINGS if topic.fiction else texts.NONFICTION_OPENINGS)[language])
    sentences = [opening, pick(texts.SECOND_SENTENCES[language]), pick(texts.LAST_SENTENCES[language])]
    description = _gap(language).join(sentence for sentence in sentences if sentence)
    # An author writes in one category only: the name says something about the topic, but less than the text.
    category = texts.CATEGORIES.index(topic.category)
    surnames, given_names = texts.SURNAMES[language], texts.GIVEN_NAMES[language]
    surname = surnames[(category + len(texts.CATEGORIES) * random.integers(3)) % len(surnames)]
    given_name = given_names[random.integers(len(given_names))]
    tags = [tag for tag, share in (("illustrated", 0.3), ("prize", 0.1), ("ebook", 0.5)) if random.random() < share]
    return {
        "title": title.format(
            head=pick(topic.titles[language]), s=a, S=texts.title_case(a, leading=title.startswith("{S}"))
        ),
        "description": description.format(a=a, b=b, c=other),
        "category": topic.category,
        "language": texts.LANGUAGES[language],
        "author": f"{given_name} {surname}" if language == texts.ENGLISH else surname + given_name,
        "price": round(float(np.clip(np.exp(3 + 0.4 * random.standard_normal()), 5, 90)), 2),
        "tags": "|".join([pick(("hardcover", "paperback")), *tags]),
    }


class ReaderTexts:
    """Makes queries and reviews of many events at once, by looking up sentences and concatenating them.

    Sentences are in object arrays [subject, variant] with an additional last row of empty strings. `NO_SUBJECT` is -1,
    so it selects this row.
    """

    def __init__(self) -> None:
        self._queries = _by_subject(texts.QUERIES, leading_gap=False)
        self._remarks = _by_subject(texts.REMARKS, leading_gap=True)
        self._intents = _by_subject(texts.INTENTS, leading_gap=True)
        self._opinions = [
            [np.array(_opinions(halves, language), object) for halves in texts.OPINIONS[language]]
            for language in range(len(texts.LANGUAGES))
        ]

    def queries(self, events: Events, random: np.random.Generator) -> np.ndarray:
        """The query of each event, "" where there is none. object [events]"""
        return _pick(self._queries, events.query_subject, random)

    def reviews(self, events: Events, random: np.random.Generator) -> np.ndarray:
        """The review of each event, "" where there is none. object [events]"""
        opinion = np.full(len(events), "", object)
        for language, by_sentiment in enumerate(self._opinions):
            for sentiment, choices in enumerate(by_sentiment):
                rows = np.flatnonzero(events.has_review & (events.language == language) & (events.opinion == sentiment))
                opinion[rows] = choices[random.integers(len(choices), size=len(rows))]
        remark = _pick(self._remarks, events.remark_subject, random)
        return opinion + remark + _pick(self._intents, events.intent_subject, random)


def _by_subject(templates: tuple[tuple[str, ...], ...], leading_gap: bool) -> np.ndarray:
    rows = [
        [
            (_gap(language) if leading_gap else "") + template.format(s=phrase)
            for template in choices
            for phrase in facet
        ]
        for language, choices in enumerate(templates)
        for topic in texts.TOPICS
        for facet in topic.phrases[language]
    ]
    return np.array([*rows, [""] * len(rows[0])], object)


def _opinions(halves: tuple[tuple[str, ...], tuple[str, ...]], language: int) -> list[str]:
    return [(first + _gap(language) + second).strip() for first in halves[0] for second in halves[1]]


def _pick(table: np.ndarray, subjects: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return table[subjects, random.integers(table.shape[1], size=len(subjects))]


def _gap(language: int) -> str:
    """The text between two sentences."""
    return " " if language == texts.ENGLISH else ""
