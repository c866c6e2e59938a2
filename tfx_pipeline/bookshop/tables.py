"""The built-in data: a bilingual bookshop, written as three tables.

`interactions.csv`: user_id, item_id, time (ISO 8601 with offset), event (view, wishlist, purchase), device, rating (1-5
or empty), query (typed before the event, or empty), review (written after it, or empty).
`items.jsonl`: item_id, title, description, category, language, author, price, tags (divided by `|`).
`users.csv`: user_id, language (en, zh, both), age_band, region.

0.5 % of each table's rows are broken, in ten ways: see `bookshop_damage`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfx_pipeline.bookshop import damage, simulation, texts
from trainer.errors import TowersError, UsageError
from trainer.files import atomic_directory

INTERACTIONS, ITEMS, USERS = "interactions.csv", "items.jsonl", "users.csv"
INTERACTION_COLUMNS = ("user_id", "item_id", "time", "event", "device", "rating", "query", "review")
USER_COLUMNS = ("user_id", "language", "age_band", "region")
MAX_EVENTS_PER_USER = 1000  # on average: one reader's events are made in one piece
BLOCK_EVENTS = 50_000  # events made at a time; a constant, because the bytes depend on it

# Names of the random streams, so that the books stay the same when only the number of events changes.
_CATALOGUE, _BOOKS, _READERS, _EVENTS, _BROKEN = range(5)


def write(
    directory: str | os.PathLike,
    users: int = 2000,
    items: int = 1500,
    events: int = 40_000,
    seed: int = 7,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Writes the three tables. The same arguments give the same bytes.

    The files appear whole or not at all. Memory holds the readers' and books' latent properties (some 100 bytes each)
    and one block of events, however many events there are.

    Args:
      directory: is made; may exist if it is empty.
      users, items: at least 1.
      events: rows of `interactions.csv`; at least one for each user, at most 1,000.
      seed: 0 or more.
      on_progress: called with (events written, `events`) now and then, and at the end.

    Returns:
      `{"directory", "users", "items", "events", "rows": {file: rows}, "broken": {kind: rows}}`; `rows` counts broken
      rows too and no header.

    Raises:
      UsageError: an argument is out of range.
      TowersError: the directory holds something, or cannot be written (permission, full disk).
    """
    _check(users, items, events, seed)
    with atomic_directory(Path(directory)) as aside:
        catalogue = simulation.make_catalogue(items, np.random.default_rng([seed, _CATALOGUE]))
        readers = simulation.make_readers(users, events, np.random.default_rng([seed, _READERS]))
        rows: dict[str, int] = {}
        broken: Counter[str] = Counter()
        with open(aside / ITEMS, "wb") as file:
            rows[ITEMS] = _write_items(file, catalogue, seed, broken)
        with open(aside / USERS, "wb") as file:
            rows[USERS] = _write_users(file, readers, seed, broken)
        with open(aside / INTERACTIONS, "wb") as file:
            rows[INTERACTIONS] = _write_interactions(file, catalogue, readers, seed, broken, on_progress)
    return {
        "directory": str(directory),
        "users": users,
        "items": items,
        "events": events,
        "rows": rows,
        "broken": dict(broken),
    }


def example_users(directory: str | os.PathLike) -> dict[str, str]:
    """One reader of each language in data that `write` made: the one with the most reviews and queries.

    Returns:
      `{"zh": user_id, "en": user_id}`; a language nobody reads (a tiny shop) is left out.

    Raises:
      TowersError: the tables are not there.
    """
    directory = Path(directory)
    try:
        with open(directory / USERS, encoding="utf-8", newline="") as file:
            language = {row["user_id"]: row["language"] for row in csv.DictReader(file)}
        written: Counter[str] = Counter()
        with open(directory / INTERACTIONS, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.reader(line.replace("\0", "") for line in file):
                if len(row) == len(INTERACTION_COLUMNS) and row[0] in language:
                    written[row[0]] += bool(row[6]) + bool(row[7])
    except OSError as error:
        raise TowersError(
            f"{error.filename}: cannot read the built-in data ({error.strerror}). "
            f"Write it with `towers data demo --out {directory}`."
        ) from None
    examples = {}
    for wanted in ("zh", "en"):
        readers = [user for user, reads in language.items() if reads == wanted]
        if readers:
            examples[wanted] = min(readers, key=lambda user: (-written[user], user))
    return examples


def _check(users: int, items: int, events: int, seed: int) -> None:
    for name, value, least in (("users", users, 1), ("items", items, 1), ("events", events, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise UsageError(
                f"`{name}` should be a {'positive' if least else 'non-negative'} integer. Received: `{name}={value}`"
            )
    if not users <= events <= MAX_EVENTS_PER_USER * users:
        raise UsageError(
            f"`events` should be at least `users` and at most {MAX_EVENTS_PER_USER} times as many. "
            f"Received: `events={events}`, `users={users}`"
        )


def _ids(prefix: str, indices: np.ndarray, total: int) -> list[str]:
    width = max(5, len(str(total)))
    return [f"{prefix}{index + 1:0{width}d}" for index in indices.tolist()]


def _write_items(file: BinaryIO, catalogue: simulation.Catalogue, seed: int, broken: Counter[str]) -> int:
    random = np.random.default_rng([seed, _BOOKS])
    kinds = damage.broken_rows(len(catalogue), damage.BROKEN_ITEMS, np.random.default_rng([seed, _BROKEN, 0]))
    for index, item_id in enumerate(_ids("book-", np.arange(len(catalogue)), len(catalogue))):
        book = {"item_id": item_id, **_book(catalogue, index, random)}
        file.write(_json_line(book))
        kind = kinds.get(index)
        if kind == "duplicate_item":
            file.write(_json_line({**book, "price": round(book["price"] + 1, 2)}))
        elif kind == "item_without_id":
            file.write(_json_line({**book, "item_id": ""}))
        broken.update([kind] if kind else [])
    return len(catalogue) + len(kinds)


def _json_line(record: dict) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _book(catalogue: simulation.Catalogue, index: int, random: np.random.Generator) -> dict:
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
    joined = (" " if language == texts.ENGLISH else "").join(sentence for sentence in sentences if sentence)
    # An author stays on one shelf, so the name says a little, and less than the text.
    shelf = texts.CATEGORIES.index(topic.category)
    surnames, given = texts.SURNAMES[language], texts.GIVEN_NAMES[language]
    surname = surnames[(shelf + len(texts.CATEGORIES) * random.integers(3)) % len(surnames)]
    name = given[random.integers(len(given))]
    tags = [tag for tag, share in (("illustrated", 0.3), ("prize", 0.1), ("ebook", 0.5)) if random.random() < share]
    return {
        "title": title.format(
            head=pick(topic.titles[language]), s=a, S=texts.title_case(a, leading=title.startswith("{S}"))
        ),
        "description": joined.format(a=a, b=b, c=other),
        "category": topic.category,
        "language": texts.LANGUAGES[language],
        "author": f"{name} {surname}" if language == texts.ENGLISH else surname + name,
        "price": round(float(np.clip(np.exp(3 + 0.4 * random.standard_normal()), 5, 90)), 2),
        "tags": "|".join([pick(("hardcover", "paperback")), *tags]),
    }


def _write_users(file: BinaryIO, readers: simulation.Readers, seed: int, broken: Counter[str]) -> int:
    kinds = damage.broken_rows(len(readers), damage.BROKEN_USERS, np.random.default_rng([seed, _BROKEN, 1]))
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(USER_COLUMNS)
    for index, user_id in enumerate(_ids("reader-", np.arange(len(readers)), len(readers))):
        reads, age_band = simulation.READS[readers.reads[index]], int(readers.age_band[index])
        region = simulation.REGIONS[readers.region[index]][0]
        rows.writerow((user_id, reads, simulation.AGE_BANDS[age_band], region))
        if index in kinds:
            other = simulation.AGE_BANDS[(age_band + 1) % len(simulation.AGE_BANDS)]
            rows.writerow((user_id, reads, other, region))
            broken[kinds[index]] += 1
    text.flush()
    text.detach()
    return len(readers) + len(kinds)


def _write_interactions(
    file: BinaryIO,
    catalogue: simulation.Catalogue,
    readers: simulation.Readers,
    seed: int,
    broken: Counter[str],
    on_progress: Callable[[int, int], None] | None,
) -> int:
    total = int(readers.offsets[-1])
    kinds = damage.broken_rows(total, damage.BROKEN_INTERACTIONS, np.random.default_rng([seed, _BROKEN, 2]))
    file.write((",".join(INTERACTION_COLUMNS) + "\n").encode())
    phrases = _Sentences()
    done = first = 0
    while first < len(readers):
        # As many readers as make up a block, at least one.
        last = int(np.searchsorted(readers.offsets, done + BLOCK_EVENTS, side="right")) - 1
        last = min(max(last, first + 1), len(readers))
        random = np.random.default_rng([seed, _EVENTS, first])
        events = simulation.simulate(catalogue, readers, first, last, random)
        columns = _columns(events, catalogue, readers, phrases, random)
        _write_block(file, columns, done, kinds)
        done, first = done + len(events.item), last
        if on_progress is not None:
            on_progress(done, total)
    broken.update(kinds.values())
    return total


class _Sentences:
    """Every sentence a reader can write, ready made: object arrays [row, variant], "" in an additional last row.

    Row -1 (`simulation.NO_PHRASE`) is thus the empty text, and a block's texts are made by indexing and adding.
    """

    def __init__(self) -> None:
        self.queries = self._by_cell(texts.QUERIES, "")
        self.remarks = self._by_cell(texts.REMARKS, " ")
        self.intents = self._by_cell(texts.INTENTS, " ")
        self.opinions = [
            [np.array(self._opinions(halves, language), object) for halves in texts.OPINIONS[language]]
            for language in range(len(texts.LANGUAGES))
        ]

    @staticmethod
    def _by_cell(templates: tuple[tuple[str, ...], ...], gap: str) -> np.ndarray:
        rows = [
            [
                (gap if language == texts.ENGLISH else "") + template.format(s=phrase)
                for template in choices
                for phrase in facet
            ]
            for language, choices in enumerate(templates)
            for topic in texts.TOPICS
            for facet in topic.phrases[language]
        ]
        return np.array([*rows, [""] * len(rows[0])], object)

    @staticmethod
    def _opinions(halves: tuple[tuple[str, ...], tuple[str, ...]], language: int) -> list[str]:
        gap = " " if language == texts.ENGLISH else ""
        return [(one + gap + other).strip() for one in halves[0] for other in halves[1]]

    @staticmethod
    def pick(table: np.ndarray, cells: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return table[cells, random.integers(table.shape[1], size=len(cells))]

    def reviews(self, events: simulation.Events, random: np.random.Generator) -> np.ndarray:
        opinion = np.full(len(events.item), "", object)
        for language, by_sentiment in enumerate(self.opinions):
            for sentiment, choices in enumerate(by_sentiment):
                rows = np.flatnonzero(events.has_review & (events.language == language) & (events.opinion == sentiment))
                opinion[rows] = choices[random.integers(len(choices), size=len(rows))]
        remark = self.pick(self.remarks, events.remark_cell, random)
        return opinion + remark + self.pick(self.intents, events.intent_cell, random)


def _columns(
    events: simulation.Events,
    catalogue: simulation.Catalogue,
    readers: simulation.Readers,
    phrases: _Sentences,
    random: np.random.Generator,
) -> list[list[str]]:
    """The block's columns, as INTERACTION_COLUMNS, oldest event first."""
    queries = phrases.pick(phrases.queries, events.query_cell, random)
    reviews = phrases.reviews(events, random)
    order = np.argsort(events.second, kind="stable")
    reader = events.reader[order]
    region = readers.region[reader]
    hours = np.array([offset for _, offset, _ in simulation.REGIONS])[region]
    suffixes = np.array([f"{offset:+03d}:00" for _, offset, _ in simulation.REGIONS], object)[region]
    clock = np.datetime_as_string((events.second[order] + 3600 * hours).astype("datetime64[s]"))
    return [
        _ids("reader-", reader, len(readers)),
        _ids("book-", events.item[order], len(catalogue)),
        (clock.astype(object) + suffixes).tolist(),
        np.array(simulation.EVENTS, object)[events.kind[order]].tolist(),
        np.array(simulation.DEVICES, object)[events.device[order]].tolist(),
        np.array(["", "1", "2", "3", "4", "5"], object)[events.rating[order]].tolist(),
        queries[order].tolist(),
        reviews[order].tolist(),
    ]


def _write_block(file: BinaryIO, columns: list[list[str]], first_row: int, kinds: dict[int, str]) -> None:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    good_from, n = 0, len(columns[0])
    places = [row for row in range(first_row, first_row + n) if row in kinds]
    for row in [*places, None]:
        good_to = n if row is None else row - first_row
        rows.writerows(zip(*(column[good_from:good_to] for column in columns), strict=True))
        good_from = good_to + 1
        if row is not None:
            file.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
            file.write(damage.damaged([column[good_to] for column in columns], kinds[row], row))
    file.write(text.getvalue().encode())
