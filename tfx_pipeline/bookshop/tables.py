"""The tables of the built-in bookshop: their columns, and writing them.

`interactions.csv`: user_id, item_id, time (ISO 8601 with offset), event (view, wishlist, purchase), device, rating (1-5
or empty), query (typed before the event, or empty), review (written after it, or empty).
`items.jsonl`: item_id, title, description, category, language, author, price, tags (divided by `|`).
`users.csv`: user_id, language (en, zh, both), age_band, region.

0.5 % of each table's rows are broken, in ten ways: see `damage`.
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

from tfx_pipeline.bookshop import damage
from tfx_pipeline.bookshop.catalogue import Catalogue, make_catalogue
from tfx_pipeline.bookshop.events import DEVICES, EVENTS, Events, simulate
from tfx_pipeline.bookshop.readers import AGE_BANDS, READS, REGIONS, UTC_OFFSETS, Readers, make_readers
from tfx_pipeline.bookshop.sentences import ReaderTexts, describe_book
from trainer.errors import UsageError
from trainer.files import atomic_directory

INTERACTIONS, ITEMS, USERS = "interactions.csv", "items.jsonl", "users.csv"
INTERACTION_COLUMNS = ("user_id", "item_id", "time", "event", "device", "rating", "query", "review")
USER_COLUMNS = ("user_id", "language", "age_band", "region")
MAX_EVENTS_PER_USER = 1000  # on average: a reader's events are simulated in one piece
BLOCK_EVENTS = 50_000  # events simulated at a time; a constant, because the bytes depend on it

# Numbers of the random streams. Each table has its own, so that the books stay the same when there are more events.
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

    The files appear complete or not at all. Memory holds the latent properties of readers and books (some 100 bytes
    each) and one block of events, however many events there are.

    Args:
      directory: the directory to write; it is absent or empty before.
      users, items: at least 1.
      events: rows of `interactions.csv`; at least one for each user, at most 1,000.
      seed: 0 or more.
      on_progress: called with (events written, `events`) after each block.

    Returns:
      `{"directory", "users", "items", "events", "rows": {file: rows}, "broken": {kind: rows}}`; `rows` includes broken
      rows and no header.

    Raises:
      UsageError: an argument is out of range.
      TowersError: the directory is not empty, or cannot be written (permission, full disk).
    """
    _check(users, items, events, seed)
    with atomic_directory(Path(directory)) as temporary:
        catalogue = make_catalogue(items, np.random.default_rng([seed, _CATALOGUE]))
        readers = make_readers(users, events, np.random.default_rng([seed, _READERS]))
        rows: dict[str, int] = {}
        broken: Counter[str] = Counter()
        with open(temporary / ITEMS, "wb") as file:
            rows[ITEMS] = _write_items(file, catalogue, seed, broken)
        with open(temporary / USERS, "wb") as file:
            rows[USERS] = _write_users(file, readers, seed, broken)
        with open(temporary / INTERACTIONS, "wb") as file:
            rows[INTERACTIONS] = _write_interactions(file, catalogue, readers, seed, broken, on_progress)
    return {
        "directory": str(directory),
        "users": users,
        "items": items,
        "events": events,
        "rows": rows,
        "broken": dict(broken),
    }


def _check(users: int, items: int, events: int, seed: int) -> None:
    for name, value, minimum in (("users", users, 1), ("items", items, 1), ("events", events, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
            raise UsageError(
                f"`{name}` should be a {'positive' if minimum else 'non-negative'} integer. Received: `{name}={value}`"
            )
    if not users <= events <= MAX_EVENTS_PER_USER * users:
        raise UsageError(
            f"`events` should be at least `users` and at most {MAX_EVENTS_PER_USER} times as many. "
            f"Received: `events={events}`, `users={users}`"
        )


def _ids(prefix: str, indices: np.ndarray, total: int) -> list[str]:
    width = max(5, len(str(total)))
    return [f"{prefix}{index + 1:0{width}d}" for index in indices.tolist()]


def _write_items(file: BinaryIO, catalogue: Catalogue, seed: int, broken: Counter[str]) -> int:
    random = np.random.default_rng([seed, _BOOKS])
    kinds = damage.broken_rows(len(catalogue), damage.BROKEN_ITEMS, np.random.default_rng([seed, _BROKEN, 0]))
    for index, item_id in enumerate(_ids("book-", np.arange(len(catalogue)), len(catalogue))):
        book = {"item_id": item_id, **describe_book(catalogue, index, random)}
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


def _write_users(file: BinaryIO, readers: Readers, seed: int, broken: Counter[str]) -> int:
    kinds = damage.broken_rows(len(readers), damage.BROKEN_USERS, np.random.default_rng([seed, _BROKEN, 1]))
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(USER_COLUMNS)
    for index, user_id in enumerate(_ids("reader-", np.arange(len(readers)), len(readers))):
        reads, age_band = READS[readers.reads[index]], int(readers.age_band[index])
        region = REGIONS[readers.region[index]][0]
        rows.writerow((user_id, reads, AGE_BANDS[age_band], region))
        if index in kinds:
            other = AGE_BANDS[(age_band + 1) % len(AGE_BANDS)]
            rows.writerow((user_id, reads, other, region))
            broken[kinds[index]] += 1
    text.flush()
    text.detach()
    return len(readers) + len(kinds)


def _write_interactions(
    file: BinaryIO,
    catalogue: Catalogue,
    readers: Readers,
    seed: int,
    broken: Counter[str],
    on_progress: Callable[[int, int], None] | None,
) -> int:
    total = int(readers.offsets[-1])
    kinds = damage.broken_rows(total, damage.BROKEN_INTERACTIONS, np.random.default_rng([seed, _BROKEN, 2]))
    file.write((",".join(INTERACTION_COLUMNS) + "\n").encode())
    reader_texts = ReaderTexts()
    done = first = 0
    while first < len(readers):
        # A block has readers with about BLOCK_EVENTS events in total, and at least one reader.
        last = int(np.searchsorted(readers.offsets, done + BLOCK_EVENTS, side="right")) - 1
        last = min(max(last, first + 1), len(readers))
        random = np.random.default_rng([seed, _EVENTS, first])
        events = simulate(catalogue, readers, first, last, random)
        columns = _columns(events, catalogue, readers, reader_texts, random)
        _write_block(file, columns, done, kinds)
        done, first = done + len(events), last
        if on_progress is not None:
            on_progress(done, total)
    broken.update(kinds.values())
    return total


def _columns(
    events: Events, catalogue: Catalogue, readers: Readers, reader_texts: ReaderTexts, random: np.random.Generator
) -> list[list[str]]:
    """The block's columns, in the order of INTERACTION_COLUMNS; rows are ordered by time."""
    queries = reader_texts.queries(events, random)
    reviews = reader_texts.reviews(events, random)
    order = np.argsort(events.second, kind="stable")
    reader = events.reader[order]
    region = readers.region[reader]
    suffixes = np.array([f"{offset:+03d}:00" for offset in UTC_OFFSETS], object)[region]
    local_time = np.datetime_as_string((events.second[order] + 3600 * UTC_OFFSETS[region]).astype("datetime64[s]"))
    return [
        _ids("reader-", reader, len(readers)),
        _ids("book-", events.item[order], len(catalogue)),
        (local_time.astype(object) + suffixes).tolist(),
        np.array(EVENTS, object)[events.kind[order]].tolist(),
        np.array(DEVICES, object)[events.device[order]].tolist(),
        np.array(["", "1", "2", "3", "4", "5"], object)[events.rating[order]].tolist(),
        queries[order].tolist(),
        reviews[order].tolist(),
    ]


def _write_block(file: BinaryIO, columns: list[list[str]], first_row: int, kinds: dict[int, str]) -> None:
    """Appends rows, numbered from `first_row`; those whose number is in `kinds` are written broken."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    start, n = 0, len(columns[0])
    broken_rows = [row for row in range(first_row, first_row + n) if row in kinds]
    for row in [*broken_rows, None]:
        end = n if row is None else row - first_row
        rows.writerows(zip(*(column[start:end] for column in columns), strict=True))
        start = end + 1
        if row is not None:
            file.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
            file.write(damage.damaged_line([column[end] for column in columns], kinds[row], row))
    file.write(text.getvalue().encode())
