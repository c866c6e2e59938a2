"""Ingestion of a whole dataset: contents of the examples."""

import gzip
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.pseudonyms import pseudonym
from tfx_pipeline import bookshop
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.ingest.shards import Shards
from trainer.config import loader as config_loader

pytestmark = pytest.mark.slow

ITEMS = {"path": "items.jsonl", "item_id": "id"}
KEY = "a key of some length, for tests"


def test_features_of_sequences_and_items(shop):
    shop.write(
        "interactions.csv",
        "user,item,time,kind,stars,summary,review,search,place\n"
        'u1,b,20,buy,4,Nice,"two\nlines",red book,home\n'
        "u1,a,10,view,0,,,,\n"
        "u1,c,20,buy,,Second of equal times,,,work\n"
        "u1,a,30,buy,5,repeated pair,,,\n"
        "u2,a,1,view,3,,,,home\n",
    )
    shop.write(
        "items.jsonl",
        '{"id": "a", "title": "书名", "about": "内容", "kind": "novel", "tags": "x|y", "price": "9.5", "vec": [1, 2]}\n'
        '{"id": "b", "title": "", "about": "only a description", "price": "￥9"}\n'
        '{"id": "never", "title": "untouched", "vec": [1]}\n',
    )
    shop.write("users.csv", "user,region,age\nu1,north,31\nu3,south,\n")
    report = shop.ingest(
        shop.config(
            {
                "event": "kind",
                "rating": "stars",
                "missing_rating": 0,
                "text": ["summary", "review"],
                "query": ["search"],
                "context": ["place"],
            },
            items={
                **ITEMS,
                "text": ["title", "about"],
                "categorical": ["kind"],
                "multi_valued": ["tags"],
                "numeric": ["price"],
                "dense": {"vec": 2},
            },
            users={"path": "users.csv", "user_id": "user", "categorical": ["region"], "numeric": ["age"]},
        )
    )
    train, validation, test = (shop.examples(split) for split in ("train", "validation", "test"))
    assert [example["user_id"] for example in train] == [[b"u1"], [b"u2"]]
    rating = test[0].pop("rating")
    assert rating[0] != rating[0]
    assert rating[1] == 4
    assert rating[2] != rating[2]
    assert test == [
        {
            "user_id": [b"u1"],
            "item_id": [b"a", b"b", b"c"],
            "timestamp": [10, 20, 20],
            "target_count": [1],
            "event": [b"view", b"buy", b"buy"],
            "text": [b"", b"Nice\ntwo\nlines", b"Second of equal times"],
            "query": [b"", b"red book", b""],
            "context_place": [b"", b"home", b"work"],
            "profile_region": [b"north"],
            "profile_age": [31.0],
        }
    ]
    assert validation[0]["item_id"] == [b"a", b"b"]
    assert validation[0]["target_count"] == [1]
    assert train[0]["item_id"] == [b"a"]
    assert train[0]["target_count"] == [0]
    assert train[1]["profile_region"] == [b""]
    assert train[1]["profile_age"] == []

    items = {example["item_id"][0]: example for example in shop.examples("all")}
    assert list(items) == [b"a", b"b", b"c", b"never"]
    assert items[b"a"] == {
        "item_id": [b"a"],
        "title": ["书名".encode()],
        "text": ["书名\n内容".encode()],
        "train_count": [2],  # u1's first event and u2's only one
        "occurs": [1],
        "categorical_kind": [b"novel"],
        "multi_valued_tags": [b"x", b"y"],
        "numeric_price": [9.5],
        "dense_vec": [1.0, 2.0],
    }
    assert (items[b"b"]["title"], items[b"b"]["numeric_price"]) == ([b"b"], [])
    assert items[b"c"]["title"] == [b"c"]
    assert [items[id]["train_count"][0] for id in items] == [2, 0, 0, 0]
    assert [items[id]["occurs"][0] for id in items] == [1, 1, 1, 0]

    assert report.events == {"all": 4, "train": 2, "validation": 1, "test": 1}
    assert (report.users, report.items, report.items_occurring, report.items_without_row) == (2, 4, 3, 1)
    assert report.tables["interactions"].notes == {"repeated (user, item) pair left out": 1}
    assert report.tables["users"].notes == {"user without events left out": 1}
    assert report.tables["items"].notes == {
        "unparsable number taken as missing": 1,
        "unparsable vector taken as missing": 1,
    }
    saved = (shop.output / "quarantine" / "counts.json").read_text()
    assert IngestReport.from_json(saved) == report
    assert "4 items, 3 occur" in report.table()


def test_time_split_and_no_test_split(shop):
    shop.write(
        "interactions.csv", "user,item,time\n" + "".join(f"u{t % 2},i{t},{t}\n" for t in range(10)) + "new,i1,9\n"
    )
    shop.ingest(shop.config(split={"kind": "time", "validation_from": "4", "test_from": "7"}))
    test = {example["user_id"][0]: example for example in shop.examples("test")}
    assert test[b"u1"]["timestamp"] == [1, 3, 5, 7, 9]
    assert test[b"u1"]["target_count"] == [2]
    assert test[b"new"]["timestamp"] == [9]
    assert [example["target_count"] for example in shop.examples("validation")] == [[2], [1]]
    assert [example["timestamp"] for example in shop.examples("train")] == [[0, 2], [1, 3]]
    counts = {example["item_id"][0]: example["train_count"][0] for example in shop.examples("all")}
    assert [counts[b"i%d" % t] for t in range(10)] == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]

    shop.ingest(shop.config(split={"test": False}, repeats="all"), output="final")
    assert not (shop.output / "sequences" / "Split-test").exists()
    assert [example["target_count"] for example in shop.examples("validation")] == [[1], [1]]


def test_the_same_rows_in_any_layout_give_the_same_bytes(shop, monkeypatch):
    """CSV in one file or a directory of several, JSON lines and Parquet, gzipped or not, in one worker or two."""
    rows = [(f"u{n % 40}", f"书{n * 7 % 50}", n // 3) for n in range(600)]
    header, lines = "user,item,time\n", [f"{user},{item},{time}\n" for user, item, time in rows]
    shop.write("one.csv", header + "".join(lines))
    for part in range(3):
        content = (header + "".join(lines[part * 200 : part * 200 + 200])).encode()
        shop.write(f"many/part-{part}.csv.gz", gzip.compress(content))
    shop.write("many/_SUCCESS", "")
    cells = [dict(zip(("user", "item", "time"), row, strict=True)) for row in rows]
    shop.write("one.jsonl", "".join(json.dumps(row) + "\n" for row in cells))
    pq.write_table(pa.Table.from_pylist(cells), shop.directory / "one.parquet")

    workers = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    # The number of shards follows from the files' sizes, which differ here.
    monkeypatch.setattr(Shards, "for_files", lambda source_files: Shards(users=3, items=2, quarantine=1))
    digests = {}
    for path, arguments in (
        ("one.csv", []),
        ("many", workers),
        ("many/*.gz", []),
        ("one.jsonl", []),
        ("one.parquet", []),
    ):
        name = path.replace("/", "_").replace("*", "")
        shop.ingest(shop.config({"path": path}), output=f"out_{name}", pipeline_args=arguments)
        files = sorted(path for path in shop.output.glob("*/Split-*/*") if path.is_file())
        assert len(files) == 3 * 3 + 2
        digests[name] = {str(f.relative_to(shop.output)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    assert all(layout == digests["one.csv"] for layout in digests.values())


def test_pseudonyms_in_every_output_and_the_key_in_none(shop, monkeypatch, events):
    monkeypatch.setenv("SHOP_KEY", KEY)
    shop.write("interactions.csv", events(30, 3) + "secret-user,i1,never\n")
    shop.write("items.jsonl", '{"id": "i1", "title": "One"}\n' * 2 + '{"id": "i2"}\n')
    config = shop.config(items={**ITEMS, "text": ["title"]}, pseudonymise={"key_env": "SHOP_KEY"}, max_bad_row_rate=0.5)
    shop.ingest(config)
    users = {example["user_id"][0].decode() for example in shop.examples("train")}
    assert users == {pseudonym(KEY.encode(), f"u{n}") for n in range(30)}
    items = {example["item_id"][0].decode(): example for example in shop.examples("all")}
    assert items[pseudonym(KEY.encode(), "i1")]["title"] == [b"One"]
    assert {item.decode() for example in shop.examples("test") for item in example["item_id"]} <= set(items)
    assert [(row["reason"], row["position"], row["row"]) for row in shop.quarantined()] == [
        ("unparsable time", 91, ""),
        ("duplicate item", 2, ""),
    ]
    for path in shop.output.rglob("*.*"):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert KEY.encode() not in content
        assert b"secret-user" not in content


def test_all_broken_rows_of_the_bookshop_are_quarantined(tmp_path, shop):
    shop_counts = bookshop.write(tmp_path / "bookshop", users=200, items=400, events=4000, seed=3)
    config = config_loader.load("configs/demo.yaml")
    shop.directory = tmp_path / "bookshop"
    report = shop.ingest(config, output="../out")
    names = {
        "unparsable_time": "unparsable time",
        "missing_user_id": "missing user id",
        "missing_item_id": "missing item id",
        "wrong_number_of_fields": "wrong number of fields",
        "rating_not_a_number": "unparsable rating",
        "invalid_utf8": "invalid UTF-8",
        "control_character_in_id": "control character in an id",
        "duplicate_item": "duplicate item",
        "item_without_id": "missing item id",
        "duplicate_user": "duplicate user",
    }
    counts: dict[str, int] = {}
    expected: dict[str, int] = {}
    for table in report.tables.values():
        assert table.rows == table.used + sum(table.broken.values())
        for reason, count in table.broken.items():
            counts[reason] = counts.get(reason, 0) + count
    for kind, count in shop_counts["broken"].items():
        expected[names[kind]] = expected.get(names[kind], 0) + count
    assert counts == expected
    assert len(shop.quarantined()) == sum(expected.values())
    assert {name: table.rows for name, table in report.tables.items()} == {
        path.split(".")[0]: rows for path, rows in shop_counts["rows"].items()
    }
