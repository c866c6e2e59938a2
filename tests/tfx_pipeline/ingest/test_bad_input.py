"""Bad input is quarantined, or ends in an error of one line; outputs are never partial."""

import errno
import resource
import signal

import pytest
import tensorflow as tf

from serving.pseudonyms import PseudonymKeyError
from tfx_pipeline.ingest import examples as example_files
from tfx_pipeline.ingest import pseudonyms
from trainer.errors import TowersError, UsageError

pytestmark = pytest.mark.slow

ITEMS = {"path": "items.csv", "item_id": "item", "text": ["title"]}


def failure(shop, config=None, kind=TowersError, **arguments) -> str:
    with pytest.raises(kind) as error:
        shop.ingest(config, **arguments)
    message = str(error.value)
    assert "\n" not in message
    assert shop.remains() == []
    return message


@pytest.mark.parametrize("path", ["nowhere.csv", "no/*.csv", "folder"])
def test_missing_file(shop, path):
    (shop.directory / "folder").mkdir()
    assert path in failure(shop, shop.config({"path": path}))
    assert not shop.output.exists()


def test_unknown_format(shop, events):
    shop.write("interactions.dat", events())
    assert "data.interactions.format" in failure(shop, shop.config({"path": "interactions.dat"}))
    shop.ingest(shop.config({"path": "interactions.dat", "format": "csv"}))


def test_missing_column(shop, events):
    shop.write("interactions.csv", events())
    message = failure(shop, shop.config({"user_id": "usr"}))
    assert "no column `usr`; did you mean `user`? The file has: user, item, time" in message


def test_missing_column_in_a_later_file_and_in_json_lines(shop, events):
    shop.write("many/1.csv", events())
    shop.write("many/2.csv", "user,thing,time\nu9,i9,9\n")
    assert "2.csv: no column `item`" in failure(shop, shop.config({"path": "many"}))
    shop.write("rows.jsonl", '{"user": 1, "item": 2, "time": 3, "review": "x"}\n' * 9)
    message = failure(shop, shop.config({"path": "rows.jsonl", "text": ["reviews"]}))
    assert "no column `reviews`; did you mean `review`?" in message


@pytest.mark.parametrize("content", ["", "user,item,time\n"])
def test_empty_table(shop, content):
    shop.write("interactions.csv", content)
    assert "interactions: the table is empty" in failure(shop)


def test_all_rows_broken(shop):
    shop.write("interactions.csv", "user,item,time\n" + "u1,i1,2024-01-01\n" * 50 + ",i1,5\n" * 20 + "u,,5\n" * 10)
    message = failure(shop, shop.config(max_bad_row_rate=1))
    assert "80 of 80 rows are broken" in message
    assert "unparsable time (50), missing user id (20), missing item id (10)" in message
    assert str(shop.output / "quarantine") in message
    rows = shop.quarantined()
    assert len(rows) == 80
    assert rows[0] == {
        "table": "interactions",
        "file": str(shop.directory / "interactions.csv"),
        "position": 1,
        "reason": "unparsable time",
        "row": "u1,i1,2024-01-01",
    }


def test_too_many_broken_rows(shop, events):
    shop.write("interactions.csv", events(10, 3) + "u1,i1,soon\n")
    message = failure(shop)
    assert "1 of 31 rows are broken, `max_bad_row_rate` is 0.02" in message
    report = shop.ingest(shop.config(max_bad_row_rate=0.05), output="lenient")
    assert report.tables["interactions"].broken == {"unparsable time": 1}


def test_a_table_of_events_may_describe_the_items(shop):
    shop.write("interactions.csv", "user,item,time,title\nu1,a,1,First\nu1,b,2,\nu1,c,3,C\nu2,a,3,Second\n")
    items = {"path": "interactions.csv", "item_id": "item", "text": ["title"], "repeats": "first"}
    report = shop.ingest(shop.config(items=items))
    assert report.tables["items"].broken == {}
    assert report.tables["items"].notes == {"further row of an item left out": 1}
    assert (report.tables["items"].rows, report.tables["items"].used) == (4, 3)
    assert {example["item_id"][0]: example["title"] for example in shop.examples("all")} == {
        b"a": [b"First"],
        b"b": [b"b"],
        b"c": [b"C"],
    }


def test_usable_and_broken_rows(shop):
    """1 MB of text, emoji, control characters, mixed encodings, one-event users, duplicates, five items."""
    good = [f"u{user},i{(user + n) % 5},{n},fine 👍🏽\x07\n".encode() for user in range(40) for n in range(4)]
    shop.write(
        "interactions.csv",
        b"user,item,time,review\n" + b"".join(good) + b"one,i1,1," + b"x" * 10**6 + b"\n"
        b"u\x011,i1,9,\nu1,i2,9,\xc4\xe3\xba\xc3\nu1,i1\n" + b"z" * 1001 + b",i1,9,\n",
    )
    shop.write(
        "items.csv", "item,title\n" + "".join(f"i{n},T{n}\n" for n in range(5)) + "i3,again\n,no id\nuntouched,U\n"
    )
    report = shop.ingest(shop.config({"text": ["review"]}, items=ITEMS, max_bad_row_rate=0.3))
    assert report.tables["interactions"].broken == {
        "control character in an id": 1,
        "id too long": 1,
        "invalid UTF-8": 1,
        "wrong number of fields": 1,
    }
    assert report.tables["interactions"].notes == {"text cut to 100,000 characters": 1}
    assert report.tables["items"].broken == {"duplicate item": 1, "missing item id": 1}
    assert (report.users, report.items, report.items_occurring) == (41, 6, 5)
    train = {example["user_id"][0]: example for example in shop.examples("train")}
    assert len(train[b"one"]["text"][0]) == 100_000
    assert train[b"u0"]["text"][0] == "fine 👍🏽\x07".encode()
    assert b"one" not in {example["user_id"][0] for example in shop.examples("validation")}
    items = {example["item_id"][0]: example for example in shop.examples("all")}
    assert items[b"i3"]["title"] == [b"T3"]
    assert (items[b"untouched"]["occurs"], items[b"untouched"]["train_count"]) == ([0], [0])
    by_reason = {(row["table"], row["reason"]): row for row in shop.quarantined()}
    assert by_reason["interactions", "invalid UTF-8"]["row"] == r"u1,i2,9,\xc4\xe3\xba\xc3"
    assert by_reason["interactions", "invalid UTF-8"]["position"] == 163
    assert by_reason["items", "duplicate item"]["position"] == 6


def test_empty_splits(shop, events):
    shop.write("interactions.csv", events(5, 2))
    assert "no user has 3 events" in failure(shop)
    config = shop.config(split={"kind": "time", "validation_from": "2", "test_from": "100"})
    assert "no event lies from test_from=100 on" in failure(shop, config, output="by_time")


def test_output_folder_in_use(shop, events):
    shop.write("interactions.csv", events())
    shop.write("out/items/somebody_elses", "")
    with pytest.raises(TowersError, match="out/items: already there and not empty"):
        shop.ingest()
    assert shop.remains() == ["items"]
    shop.write("file/sequences", "")
    with pytest.raises(TowersError, match="file/sequences: already there and not empty"):
        shop.ingest(output="file")
    for name in ("sequences", "items", "quarantine"):
        (shop.directory / "empty" / name).mkdir(parents=True)
    shop.ingest(output="empty")
    assert len(shop.examples("test")) == 2


def test_full_disk_in_mid_write(shop, events, monkeypatch):
    shop.write("interactions.csv", events())

    class FullDisk(tf.io.TFRecordWriter):
        def write(self, record):
            super().write(record)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(example_files.tf.io, "TFRecordWriter", FullDisk)
    assert "could not write its output (No space left on device)" in failure(shop)
    assert list(shop.output.iterdir()) == []


def test_the_operating_system_refuses_in_mid_write(shop):
    """Files of this process are limited to 64 kB."""
    rows = [f"u{n % 50},i{n * 7919 % 10007},{n * 104729 % 10**9}\n" for n in range(20_000)]
    shop.write("interactions.csv", "user,item,time\n" + "".join(rows))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    try:
        message = failure(shop)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "could not write its output (File too large)" in message
    assert list(shop.output.iterdir()) == []


def test_no_key_for_pseudonyms(shop, events, monkeypatch):
    shop.write("interactions.csv", events())
    config = shop.config(pseudonymise={"key_env": "NO_SUCH_KEY"})
    assert "NO_SUCH_KEY" in failure(shop, config, UsageError)

    monkeypatch.setenv("NO_SUCH_KEY", "here, but not there: 123")
    calls = []

    def only_here(**_):
        calls.append(1)
        if len(calls) > 1:
            raise PseudonymKeyError("not set")
        return b"here, but not there: 123"

    monkeypatch.setattr(pseudonyms, "read_key", lambda *arguments: only_here())
    assert "a worker has no key for pseudonyms" in failure(shop, config)
