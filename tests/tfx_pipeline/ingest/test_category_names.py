"""Categories of the items table are those that requests name."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from serving.graph.categories import Categories
from tests.tfx_pipeline.ingest.conftest import Shop
from tests.trainer import tables
from tfx_pipeline.ingest.catalogue import CataloguePaths, ingest_items
from trainer.data import category_names

pytestmark = pytest.mark.slow

ITEMS = {"path": "items.jsonl", "item_id": "id", "categorical": ["kind"], "multi_valued": ["tags"]}
KINDS = [" novel\u3000", "two\nlines", 5.0, True, "", None, "科幻", "novel"]
TAGS = ["novel| two\nlines ||novel", ["a|b", " novel "], 5.0, "", None, "科幻", "Novel", "\t"]


@pytest.mark.parametrize(
    ("column", "cells", "items_of"),
    [
        (
            "kind",
            KINDS,
            {
                " novel\u3000": [1, 8],
                "novel": [1, 8],
                "two\nlines": [2],
                "5": [3],
                "true": [4],
                "科幻": [7],
                "None": [],
            },
        ),
        (
            "tags",
            TAGS,
            {"novel": [1, 2], "two\nlines": [1], " two\nlines ": [1], "a|b": [2], "5": [3], "科幻": [6], "b": []},
        ),
    ],
)
def test_a_name_is_that_of_the_table(shop: Shop, column: str, cells: list[Any], items_of: dict[str, list[int]]) -> None:
    items = tables.item_table(len(cells))
    rows = [{"id": item_id, column: cell} for item_id, cell in zip(items.item_id, cells, strict=True)]
    shop.write("items.jsonl", "\n".join(json.dumps({"kind": "", "tags": "", **row}) for row in reversed(rows)))
    config = shop.config(items=ITEMS)
    config = config.model_copy(update={"serving": config.serving.model_copy(update={"category": column})})
    paths = CataloguePaths(str(shop.directory / "items"), str(shop.directory / "quarantine"))
    ingest_items(config.data, str(shop.directory), paths, {}, lambda: beam.Pipeline(options=PipelineOptions([])))
    categories = Categories(category_names.load(config, paths.items, items))
    rows = categories.items(categories.ids(tf.constant([[name] for name in items_of])))
    assert {name: tf.where(row)[:, 0].numpy().tolist() for name, row in zip(items_of, rows, strict=True)} == items_of
