"""Names of categories and their items, as an allow-list means them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.export.exporter import export
from serving.graph.categories import Categories
from tests.serving import exported
from trainer.data import category_names
from trainer.errors import TowersError

pytestmark = pytest.mark.slow

NAMES = ("novel", "Novel", "two\nlines", "科幻", "rock & roll", "a\x00b")


def allowed(made: Categories, names: list[str]) -> list[int]:
    """Places of the items that have one of the names."""
    allowed_items = made.items(made.ids(tf.constant([names], tf.string, [1, len(names)])))
    return (np.flatnonzero(allowed_items[0]) - 1).tolist()


@settings(max_examples=60, deadline=None)
@given(
    table=st.lists(st.lists(st.sampled_from(["", *NAMES]), max_size=3), min_size=1, max_size=8),
    wanted=st.lists(st.sampled_from([*NAMES, "unknown"]), min_size=1, max_size=4),
)
def test_every_item_that_has_a_name_and_no_other(table: list[list[str]], wanted: list[str]) -> None:
    expected = [place for place, names in enumerate(table) if set(names) & set(wanted)]
    assert allowed(Categories(exported.ragged(table)), wanted) == expected


def test_blanks_around_a_name_are_those_that_ingestion_takes_away() -> None:
    made = Categories(exported.ragged([["novel"], ["two\nlines"]]))
    blanks = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    around = [f"{blank}{name}{blank}{blank}" for name in ("novel", "two\nlines") for blank in blanks]
    assert made.ids(tf.constant([around])).numpy().tolist() == [[1] * len(blanks) + [2] * len(blanks)]
    others = ["\u200bnovel", "nov el", "two lines", *blanks]
    assert made.ids(tf.constant([others])).numpy().tolist() == [[0] * len(others)], "blank is not empty"
    assert made.ids(tf.constant([[b"\xff novel", b"\xff"]])).numpy().tolist() == [[0, 0]], "nor is what is no UTF-8"


def test_a_catalogue_without_any_category() -> None:
    made = Categories(exported.ragged([[""], []]))
    assert allowed(made, ["novel"]) == []
    assert made.ids(tf.constant([["", "novel"]])).numpy().tolist() == [[-1, 0]]


@pytest.mark.parametrize("column", ["colour", "tags"])
def test_names_come_in_the_order_of_the_items(column: str, tmp_path: Path) -> None:
    config, items = exported.make_config(category=column), exported.make_items(1_100)
    names = category_names.load(config, exported.make_ingested_items(items, tmp_path), items)
    lists = [[name.decode() for name in part if name] for part in np.split(names.values, names.offsets[1:-1])]
    assert lists == exported.category_names(items, column)


def test_names_of_other_items_are_refused(tmp_path: Path) -> None:
    config = exported.make_config(category="colour")
    ingested = exported.make_ingested_items(exported.make_items(7), tmp_path / "items")
    for directory, count in ((ingested, 7), (tmp_path / "absent", 0)):
        with pytest.raises(TowersError, match=rf"should hold the catalogue's 8 items\. Received: {count} items"):
            category_names.load(config, directory, exported.make_items(8))


def test_an_export_without_the_ingested_items_is_refused(tmp_path: Path) -> None:
    config, items = exported.make_config(category="colour", everything=False), exported.make_items(8)
    towers = exported.make_towers(config, items, everything=False)
    with pytest.raises(ValueError, match=r"`ingested_items` should be given.*Received: None"):
        export(
            config,
            towers,
            None,
            index_directory=exported.make_index(config, towers, tmp_path / "index", "brute_force"),
            dataset=exported.make_dataset(items, texts=False),
            sequence_transform="unused",
            directory=tmp_path / "model",
        )
