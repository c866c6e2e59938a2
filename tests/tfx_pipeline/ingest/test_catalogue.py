"""Ingestion of the items table alone: examples, quarantine, and changes since an earlier ingestion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.tfx_pipeline.ingest.conftest import Shop, examples, quarantined
from tfx_pipeline.ingest.catalogue import CataloguePaths, ingest_items
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.reindex import catalogue_changes
from trainer.errors import TowersError

pytestmark = pytest.mark.slow

ITEMS = {
    "path": "items.csv",
    "item_id": "id",
    "text": ["title", "about"],
    "categorical": ["kind"],
    "numeric": ["price"],
}
TABLE = "id,title,about,kind,price\nb,Blue,sky,x,2\na,Red,rose,y,1\nc,,,,\n"


def pipeline() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions([]))


@pytest.fixture
def read(shop: Shop) -> Callable[..., IngestReport]:
    def run(table: str, unlisted: dict | None = None, place: str = "read", **data: object) -> IngestReport:
        shop.write("items.csv", table)
        config = shop.config(items=ITEMS, **data).data
        paths = CataloguePaths(str(shop.directory / place / "items"), str(shop.directory / place / "quarantine"))
        return ingest_items(config, str(shop.directory), paths, unlisted or {}, pipeline)

    return run


def test_items_equal_those_of_a_full_ingestion(shop: Shop, read: Callable) -> None:
    shop.write("interactions.csv", "user,item,time\n" + "".join(f"u,{i},{n}\n" for n, i in enumerate("abzd", 1)))
    shop.write("items.csv", TABLE)
    shop.ingest(shop.config(items=ITEMS))
    full = {example["item_id"][0]: example for example in shop.examples("all")}
    read(TABLE, {b"z": (0, 1), b"d": (0, 1)})
    alone = {example["item_id"][0]: example for example in examples(shop.directory / "read" / "items", "all")}
    assert alone.keys() == full.keys() == {b"a", b"b", b"c", b"d", b"z"}
    for item_id, example in alone.items():
        if item_id in (b"a", b"b"):  # the table does not know their events
            example["train_count"], example["occurs"] = full[item_id]["train_count"], full[item_id]["occurs"]
        assert example == full[item_id]


def test_broken_rows_are_quarantined_with_their_position(shop: Shop, read: Callable) -> None:
    report = read(TABLE + "b,again,,,\nshort\n,no id,,,\n", max_bad_row_rate=0.6)
    rows = quarantined(shop.directory / "read" / "quarantine")
    assert [(row["table"], row["position"]) for row in rows] == [("items", 4), ("items", 5), ("items", 6)]
    assert (report.tables["items"].rows, report.tables["items"].used) == (6, 3)
    assert sum(report.tables["items"].broken.values()) == 3


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("id,title,about,kind,price\n", "items: the table is empty"),
        (TABLE + "short\n" * 3, r"items: 3 of 6 rows are broken.*data\.max_bad_row_rate"),
        ("id,titel,about,kind,price\na,b,c,d,1\n", "did you mean `titel`?"),
    ],
)
def test_a_table_that_cannot_be_used_leaves_no_items(shop: Shop, read: Callable, table: str, words: str) -> None:
    with pytest.raises(TowersError, match=words):
        read(table)
    assert not (shop.directory / "read" / "items").exists()
    remains = {path.name for path in Path(shop.directory / "read").glob("*")}
    assert remains <= {"quarantine"}


def test_changes(shop: Shop, read: Callable) -> None:
    read(TABLE, {b"z": (5, 1)})
    read("id,title,about,kind,price\nb,Blue,sky,x,2.5\nd,New,,,\nc,,,,\nz,Now listed,,,\n", {b"z": (5, 1)}, "later")
    before, after = (catalogue_changes.read(str(shop.directory / name / "items")) for name in ("read", "later"))
    changes = catalogue_changes.compare(before, after)
    assert (changes.new, changes.removed, changes.changed, changes.same) == (["d"], ["a"], ["b", "z"], 1)
    assert [row.empty for _, row in sorted(before.items())] == [False, False, True, True]
    assert before[b"z"].train_count == 5
    same = catalogue_changes.compare(before, before)
    assert (same.new, same.removed, same.changed, same.same) == ([], [], [], 4)
