"""Who reads what, and when, in the built-in bookshop: latent interests that drift, as numpy arrays.

A reader's history is cut into phases of two to four events. A phase has a focus, one facet of one topic, and most
books of the phase are drawn from it. What the reader writes runs ahead: in the last events of a phase the texts name
the focus of the *next* one, and a reader who has a new wish writes more. A model that sees ids alone meets each new
focus unprepared; one that reads has been told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_pipeline.bookshop.texts import CATEGORIES, CHINESE, FACETS, LANGUAGES, TOPICS

FIRST_DAY = np.datetime64("2024-01-01", "s").astype(np.int64).item()
DAYS = 731  # 2024 and 2025
DAY_SECONDS = 86_400
EVENTS = ("view", "wishlist", "purchase")
DEVICES = ("phone", "tablet", "desktop")
AGE_BANDS = ("under 18", "18-24", "25-34", "35-49", "50-64", "65+")
READS = ("en", "zh", "both")  # `language` of a reader
# Region, its offset from UTC in hours (no summer time: one clock a region keeps the file plain), share by READS.
REGIONS = (
    ("Beijing", 8, (0.02, 0.35, 0.2)),
    ("Shanghai", 8, (0.03, 0.35, 0.25)),
    ("Singapore", 8, (0.1, 0.1, 0.3)),
    ("London", 0, (0.4, 0.05, 0.1)),
    ("New York", -5, (0.3, 0.1, 0.1)),
    ("Vancouver", -8, (0.15, 0.05, 0.05)),
)
LATE_SHARE = 0.12  # of the items arrive in the last fifth of the two years
LATE_FROM = 0.8
BOOK_SHARES = np.array([[0.95, 0.05], [0.08, 0.92], [0.5, 0.5]])  # [READS, language of the book]
CELLS = len(LANGUAGES) * len(TOPICS) * FACETS
NO_PHRASE = -1  # a text that names no topic, or no text at all


def cell(language: np.ndarray, topic: np.ndarray, facet: np.ndarray) -> np.ndarray:
    """Row of a (language, topic, facet) in tables of `CELLS` rows."""
    return (language * len(TOPICS) + topic) * FACETS + facet


@dataclass(frozen=True)
class Catalogue:
    """Latent properties of the books, all [items]."""

    language: np.ndarray  # int8, index into LANGUAGES
    topic: np.ndarray  # int8
    facet: np.ndarray  # int8
    arrival: np.ndarray  # float32, share of the two years that passes before the first possible event
    quality: np.ndarray  # float32, standard normal; moves ratings
    cumulative: np.ndarray  # float64 [entries], cell k's choices end at k + 1
    choice: np.ndarray  # int32 [entries], the item of each entry

    def __len__(self) -> int:
        return len(self.language)

    def draw(self, cells: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One item for each cell [n], by popularity; the cell's facet counts most. Arrival is not looked at."""
        # The small margin keeps the sum's rounding from spilling into the next cell.
        entry = np.searchsorted(self.cumulative, cells + random.random(len(cells)) * (1 - 1e-9), side="right")
        return self.choice[entry]


def make_catalogue(items: int, random: np.random.Generator) -> Catalogue:
    shelves = len(LANGUAGES) * len(TOPICS)
    shelf = random.permutation(np.arange(items) % shelves)
    language, topic = shelf // len(TOPICS), shelf % len(TOPICS)
    facet = random.integers(FACETS, size=items)
    late = random.permutation(items) < round(LATE_SHARE * items)
    arrival = np.where(late, random.uniform(LATE_FROM, 0.97, items), 0.0)
    popularity = (random.permutation(items) + 5.0) ** -0.8
    popularity[late] = 2.5 * (random.permutation(items)[late] + 5.0) ** -0.8  # what is new is in the window

    chosen, cumulative = [], []
    for k in range(CELLS):
        wanted_language, wanted_topic, wanted_facet = np.unravel_index(k, (len(LANGUAGES), len(TOPICS), FACETS))
        # A small shop has empty shelves: look for the topic in the other language, then take anything.
        for shelf_items in (
            np.flatnonzero((topic == wanted_topic) & (language == wanted_language)),
            np.flatnonzero(topic == wanted_topic),
            np.arange(items),
        ):
            if (arrival[shelf_items] == 0).any():
                break
        weight = popularity[shelf_items] * np.where(facet[shelf_items] == wanted_facet, 5.0, 1.0)
        chosen.append(shelf_items)
        cumulative.append(k + np.cumsum(weight) / weight.sum())
    return Catalogue(
        language=language.astype(np.int8),
        topic=topic.astype(np.int8),
        facet=facet.astype(np.int8),
        arrival=arrival.astype(np.float32),
        quality=random.standard_normal(items).astype(np.float32),
        cumulative=np.concatenate(cumulative),
        choice=np.concatenate(chosen).astype(np.int32),
    )


@dataclass(frozen=True)
class Readers:
    """What is fixed about the readers, all [users] unless it says otherwise."""

    reads: np.ndarray  # int8, index into READS
    age_band: np.ndarray  # int8
    region: np.ndarray  # int8
    chronotype: np.ndarray  # float32, favourite hour of the local day
    start: np.ndarray  # float32, share of the two years
    end: np.ndarray  # float32
    category: np.ndarray  # int8, the shelf they come back to
    topics: np.ndarray  # int8 [users, 4], lasting interests, strongest first
    offsets: np.ndarray  # int64 [users + 1], events before each reader's first

    def __len__(self) -> int:
        return len(self.reads)


def make_readers(users: int, events: int, random: np.random.Generator) -> Readers:
    reads = random.choice(len(READS), size=users, p=(0.4, 0.45, 0.15))
    shares = np.array([share for _, _, share in REGIONS])
    region = np.empty(users, np.int8)
    for group in range(len(READS)):
        members = np.flatnonzero(reads == group)
        region[members] = random.choice(len(REGIONS), size=len(members), p=shares[:, group])
    start = 0.75 * random.random(users) ** 1.5
    # Activity is skewed, but everyone has one event; the remainder goes out one by one.
    activity = np.exp(0.75 * random.standard_normal(users))
    quota = np.cumsum(activity / activity.sum() * (events - users))
    quota[-1] = events - users
    offsets = np.concatenate([[0], np.floor(quota).astype(np.int64) + np.arange(1, users + 1)])
    return Readers(
        reads=reads.astype(np.int8),
        age_band=random.choice(len(AGE_BANDS), size=users, p=(0.06, 0.17, 0.27, 0.27, 0.15, 0.08)).astype(np.int8),
        region=region,
        chronotype=random.choice([8.0, 13.0, 21.0], size=users, p=(0.25, 0.2, 0.55)).astype(np.float32),
        start=start.astype(np.float32),
        end=(start + (1 - start) * random.uniform(0.8, 1.0, users)).astype(np.float32),
        category=random.integers(len(CATEGORIES), size=users).astype(np.int8),
        topics=random.integers(len(TOPICS), size=(users, 4)).astype(np.int8),
        offsets=offsets,
    )


@dataclass(frozen=True)
class Events:
    """Events of a run of readers, ordered by reader, then time; all [events].

    A text's `_cell` is the row of what it names (`cell`), NO_PHRASE where it names nothing or there is no text.
    """

    reader: np.ndarray  # int64
    item: np.ndarray  # int32
    second: np.ndarray  # int64, epoch
    kind: np.ndarray  # int8, index into EVENTS
    device: np.ndarray  # int8
    rating: np.ndarray  # int8, 1..5; 0 = none
    language: np.ndarray  # int8, what the reader writes in
    query_cell: np.ndarray  # int64
    has_review: np.ndarray  # bool
    opinion: np.ndarray  # int8, 0 disappointed, 1 mixed, 2 pleased
    remark_cell: np.ndarray  # int64, the part of a review that is about this book
    intent_cell: np.ndarray  # int64, the part that is about what the reader wants now


def simulate(catalogue: Catalogue, readers: Readers, first: int, last: int, random: np.random.Generator) -> Events:
    """Events of readers `first` up to, not including, `last`."""
    begin = readers.offsets[first]
    counts = np.diff(readers.offsets[first : last + 1])
    n = int(counts.sum())
    local = np.repeat(np.arange(last - first), counts)
    reader = local + first
    second = _times(readers, reader, random)
    reads = readers.reads[reader]

    # Phases. Every reader gets one more than its events can fill, so that the last one too has a successor to name.
    phases = counts // 2 + 2
    phase_reader = np.repeat(np.arange(last - first), phases) + first
    length = random.integers(2, 5, size=len(phase_reader))
    before = np.concatenate([[0], np.cumsum(length)])
    first_phase = np.concatenate([[0], np.cumsum(phases)])[:-1]
    position = before[1:] - before[np.repeat(first_phase, phases)]
    event_offset = readers.offsets[phase_reader] - begin
    # In whole numbers of this block's events; phases past a reader's end have no event and are never found.
    phase_end = event_offset + np.minimum(position, counts[phase_reader - first])
    focus = _focus_topics(readers, phase_reader, random)
    focus_facet = random.integers(FACETS, size=len(focus))
    lead = random.integers(2, 6, size=len(focus))
    index = np.arange(n)
    phase = np.searchsorted(phase_end, index, side="right")
    true_end = event_offset[phase] + position[phase]

    # What is read.
    on_focus = random.random(n) < 0.85
    lasting = readers.topics[reader, random.choice(4, size=n, p=(0.4, 0.3, 0.2, 0.1))]
    topic = np.where(on_focus, focus[phase], lasting)
    facet = np.where(on_focus & (random.random(n) < 0.75), focus_facet[phase], random.integers(FACETS, size=n))
    book_language = (random.random(n) < BOOK_SHARES[reads, CHINESE]).astype(np.int64)
    item = _choose(catalogue, cell(book_language, topic, facet), reader, second, random)

    # What is written.
    announces = (true_end - index <= lead[phase]) & (random.random(n) < 0.95)
    wanted = phase + announces  # the next phase is the same reader's
    wanted_facet = np.where(random.random(n) < 0.75, focus_facet[wanted], random.integers(FACETS, size=n))
    writes = np.where(reads == READS.index("both"), random.integers(2, size=n), reads == READS.index("zh"))
    wish = cell(writes, focus[wanted], wanted_facet)
    own = cell(writes, catalogue.topic[item].astype(np.int64), catalogue.facet[item])

    kind = random.choice(len(EVENTS), size=n, p=(0.25, 0.1, 0.65))
    has_review = (kind == EVENTS.index("purchase")) & (random.random(n) < np.where(announces, 0.65, 0.3))
    liking = 0.9 * catalogue.quality[item] + 0.7 * on_focus + random.standard_normal(n)
    rating = 1 + np.searchsorted((-1.8, -0.9, 0.0, 1.1), liking)
    opinion = np.searchsorted((3, 4), rating, side="right")
    rated = has_review & (random.random(n) < 0.9) | (kind == EVENTS.index("purchase")) & (random.random(n) < 0.15)
    asks = random.random(n) < np.where(announces, 0.32, 0.15)
    ahead = announces & (random.random(n) < 0.85)
    speaks = announces & (random.random(n) < 0.95) | (random.random(n) < 0.5)
    return Events(
        reader=reader,
        item=item,
        second=second,
        kind=kind.astype(np.int8),
        device=random.choice(len(DEVICES), size=n, p=(0.6, 0.1, 0.3)).astype(np.int8),
        rating=np.where(rated, rating, 0).astype(np.int8),
        language=writes.astype(np.int8),
        query_cell=np.where(asks, np.where(ahead, wish, own), NO_PHRASE),
        has_review=has_review,
        opinion=opinion.astype(np.int8),
        remark_cell=np.where(has_review & (random.random(n) < 0.35), own, NO_PHRASE),
        intent_cell=np.where(has_review & speaks, wish, NO_PHRASE),
    )


def _focus_topics(readers: Readers, phase_reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A topic for each phase: a lasting interest, one from the favourite shelf, or whatever comes along."""
    n = len(phase_reader)
    by_category = np.array([[k for k, t in enumerate(TOPICS) if t.category == c] for c in CATEGORIES])
    at_large = np.arange(1, len(TOPICS) + 1) ** -0.4
    source = random.random(n)
    focus = np.where(
        source < 0.25,
        readers.topics[phase_reader, random.integers(4, size=n)],
        np.where(
            source < 0.5,
            by_category[readers.category[phase_reader], random.integers(by_category.shape[1], size=n)],
            random.choice(len(TOPICS), size=n, p=at_large / at_large.sum()),
        ),
    )
    same = np.flatnonzero(focus[1:] == focus[:-1]) + 1
    focus[same] = (focus[same] + random.integers(1, len(TOPICS), size=len(same))) % len(TOPICS)
    return focus


def _times(readers: Readers, reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Epoch seconds, ascending for each reader: more at weekends, and around the reader's favourite local hour."""
    n = len(reader)
    start, end = readers.start[reader], readers.end[reader]
    day = np.floor((start + (end - start) * random.random(n)) * (DAYS - 2)).astype(np.int64) + 1
    weekday = day % 7  # the first day is a Monday
    to_saturday = np.maximum(5 - weekday, 0)
    day = np.where(random.random(n) < 0.15, np.minimum(day + to_saturday, DAYS - 2), day)
    # At weekends people shop earlier and more evenly.
    weekend = day % 7 >= 5
    hour = np.where(weekend, 14.0, readers.chronotype[reader]) + np.where(weekend, 3.5, 2.0) * random.standard_normal(n)
    local = day * DAY_SECONDS + ((hour % 24) * 3600).astype(np.int64)
    offset = np.array([hours for _, hours, _ in REGIONS])[readers.region[reader]]
    second = FIRST_DAY + local - 3600 * offset
    return second[np.lexsort((second, reader))]


def _choose(
    catalogue: Catalogue, cells: np.ndarray, reader: np.ndarray, second: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """An item for each event: on sale by then, and if the shelf allows not one the reader already has."""
    elapsed = (second - FIRST_DAY) / (DAYS * DAY_SECONDS)
    item = catalogue.draw(cells, random)
    for attempt in range(64):
        again = catalogue.arrival[item] > elapsed
        if attempt < 8:
            again |= _is_repeat(reader, item, len(catalogue))
        rows = np.flatnonzero(again)
        if not len(rows):
            return item
        item[rows] = catalogue.draw(cells[rows], random)
    item[catalogue.arrival[item] > elapsed] = np.argmin(catalogue.arrival)
    return item


def _is_repeat(reader: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """True for every event but the first of a (reader, item) pair. [events]"""
    key = reader * items + item
    order = np.argsort(key, kind="stable")
    repeat = np.zeros(len(key), bool)
    repeat[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeat
