"""Parts of a reindexing; the whole of it is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tables
from tfx_pipeline.commands.reindex import with_settings
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.reindex.catalogue_changes import Changes, Row
from tfx_pipeline.reindex.encode_items import add_missing_vectors
from tfx_pipeline.reindex.read_items import items_without_row
from tfx_pipeline.reindex.reindexing import count_unread
from tfx_pipeline.reindex.workspace import ReindexSettings, open_workspace
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config
from trainer.errors import TowersError, UsageError
from trainer.retrieval.model import RetrievalModel
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.towers.inputs import ItemInputs, UserInputs

INTERACTIONS = {"path": "events.csv", "user_id": "u", "item_id": "i", "time": "n", "time_format": "order"}


def config(**data: object) -> Config:
    items = {"items": {"path": "items.csv", "item_id": "i"}}
    return Config.model_validate({"name": "shop", "data": {"interactions": INTERACTIONS, **items, **data}})


def test_known_texts_keep_the_vectors_that_the_towers_were_trained_with(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "of-the-trained-encoder")
    keys = np.arange(5 * 16, dtype=np.uint8).reshape(5, 16)
    vectors = np.arange(10, dtype=np.float16).reshape(5, 2)
    store.append(keys[:2], -vectors[:2] - 1)  # there already: not to be replaced
    add_missing_vectors(store, keys, vectors)
    add_missing_vectors(store, keys, vectors)
    present, stored = EmbeddingStore(tmp_path, "of-the-trained-encoder").lookup(keys)
    assert present.all()
    np.testing.assert_array_equal(stored, [*(-vectors[:2] - 1), *vectors[2:]])
    assert len(store) == 5


@pytest.mark.parametrize(("without_row", "expected"), [(2, {b"x": (3, 1)}), (0, {})])
def test_items_that_no_table_ever_had_stay(tmp_path: Path, without_row: int, expected: dict) -> None:
    directory = RunDirectory(tmp_path / "run")
    report = IngestReport(
        {}, users=1, items=2, items_occurring=2, items_without_row=without_row, events={}, sequences={}
    )
    (tmp_path / "counts.json").write_text(report.to_json())
    with directory.opened(config()):
        directory.record_outputs({"Ingest": {"quarantine": str(tmp_path)}})
    rows = {b"x": Row(b"1", empty=True, train_count=3, occurs=1), b"y": Row(b"2", empty=False, train_count=1, occurs=1)}
    assert items_without_row(rows, directory) == expected


def test_new_items_need_something_that_the_model_reads() -> None:
    model = RetrievalModel(tables.make_config(model={"dim": 8}), ItemInputs(items=3), UserInputs())
    items = tables.item_table(3)
    model.attach(items, None)
    new = Changes(new=[items.item_id[0]], removed=[], changed=[], same=2)
    with pytest.raises(TowersError, match="only by their ids, so all 1 new items"):
        count_unread(model, items, new)
    assert count_unread(model, items, Changes([], ["x"], [], 2)) == 0


def test_only_what_serves_can_be_set(tmp_path: Path) -> None:
    changed = with_settings(config(), ["serving.k=3", "index.kind=brute_force"], str(tmp_path / "it's \\ new.csv"))
    assert (changed.serving.k, changed.index.kind) == (3, "brute_force")
    assert changed.data.items is not None
    assert changed.data.items.path == str(tmp_path / "it's \\ new.csv")
    assert with_settings(config(), [], "gs://bucket/items-*.csv").data.items.path == "gs://bucket/items-*.csv"  # type: ignore[union-attr]
    for wrong in ("retrieval.epochs=1", "text.max_tokens=9", "data.repeats=all", "serving", "data.items.path=x"):
        with pytest.raises(UsageError, match="can change without training"):
            with_settings(config(), [wrong], None)
    with pytest.raises(UsageError, match=r"--set: `serving\.kk` is not a known key; did you mean `k`\?"):
        with_settings(config(), ["serving.kk=1"], None)
    with pytest.raises(TowersError, match="no items table"):
        with_settings(config(items=None), [], "items.csv")


def test_a_working_directory_of_a_killed_reindexing_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".reindex-old" / "model").mkdir(parents=True)
    with open_workspace(ReindexSettings(config(), ".", [], max_removed=0.5), RunDirectory(tmp_path)) as workspace:
        assert list(tmp_path.iterdir()) == [workspace.directory]
    assert list(tmp_path.iterdir()) == []
