"""Another catalogue for a trained model: the items table read anew, a new index, a new version, the same weights."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from serving.export import exporter
from tfx_pipeline import text_embedding
from tfx_pipeline.components.pusher import push
from tfx_pipeline.gates.infrastructure.judgement import try_in_server
from tfx_pipeline.ingest import dataset as ingestion
from tfx_pipeline.ingest.catalogue import CataloguePaths, ingest_items
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.reindex import catalogue_changes
from tfx_pipeline.reindex.catalogue_changes import Changes, Row
from tfx_pipeline.reindex.item_transform import transform_items
from tfx_pipeline.runs import trained_run
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.runs.trained_run import TrainedRun
from tfx_pipeline.terminal import failures, progress
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen, captured
from trainer.config import Config
from trainer.data import loading
from trainer.data.loading import Dataset
from trainer.data.tables import ItemTable, TextVectors
from trainer.errors import TowersError
from trainer.files import write_text
from trainer.index import builder
from trainer.index.queries import user_vectors
from trainer.retrieval import new_catalogue
from trainer.retrieval.model import RetrievalModel
from trainer.text.pretrained import describe_encoder
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.text.store.vectors import load_vectors

MAX_QUERIES = 1_000  # held-out users to measure recall and latency of the index on
_STEPS = ("ReadItems", "EmbedTexts", "Index", "Export", "Validate", "Push")
_ASIDE = ".reindex-"  # of working directories in the run's
_SEEDED_AT_ONCE = 65_536  # vectors
_LEFT = "nothing was pushed, and texts that were encoded are kept"

MakePipeline = Callable[[], beam.Pipeline]


@dataclass(frozen=True)
class Reindexed:
    """What a reindexing did.

    Attributes:
      model: the pushed version's directory.
      changes: the items table against the run's catalogue.
      unread: how many of the new items say nothing that the model reads; each has the unknown item's vector.
      items: items in the index.
      index: a line on it.
      rows: what was read of the table; its rows that could not be used are in `rows.quarantine`.
    """

    model: str
    changes: Changes
    unread: int
    items: int
    index: str
    rows: IngestReport


def reindex(
    config: Config,
    data_root: str,
    directory: RunDirectory,
    beam_pipeline_args: list[str],
    screen: Screen,
    max_removed: float,
) -> Reindexed:
    """Reads the items table, gives its items vectors by the trained item tower, and pushes a version that serves them.

    Items of the run's catalogue keep their learnt embeddings; what the table says of them is read anew. New ones get
    their vectors from what they say, as unknown ids do in training. Items that the table no longer has leave; those
    that it never had, known by their events alone, stay. The result depends on the run and the table alone: not on
    what was reindexed before.

    Args:
      config: the finished run's, with other settings of serving, the index or the items table.
      data_root: what its paths are relative to.
      directory: the run's.
      beam_pipeline_args: options of the steps that run on Beam.
      screen: where progress is shown.
      max_removed: the largest share of the run's catalogue that may leave.

    Raises:
      TowersError: a step failed; the message says which, its log and what to do. Nothing was pushed.
    """

    def make_pipeline() -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(beam_pipeline_args))

    with directory.locked(), Interruption() as interruption, _working_directory(directory) as aside:
        steps = _Steps(screen, directory, interruption)
        with steps.next():
            rows, changes = _read_items(config, data_root, directory, aside, make_pipeline, max_removed)
        with steps.next():
            run = trained_run.load(directory, ("validation",), config)
            items, texts = _load_items(run, directory, aside, make_pipeline)
        with steps.next():
            towers = new_catalogue.model_for_catalogue(run.towers, run.dataset.items, items, texts)
            unread = _check_new(towers, items, changes)
            queries = user_vectors(config, run.towers, run.dataset.splits["validation"], limit=MAX_QUERIES)
            index = builder.describe(
                builder.build(config.index, towers.item_vectors().numpy(), queries, aside / "index")
            )
            progress.summary(index)
        with steps.next():
            paths = trained_run.dataset_paths(directory)
            report = exporter.export(
                config,
                towers,
                run.ranker and run.ranker.for_catalogue(new_catalogue.rows_in(run.dataset.items, items)),
                index_directory=aside / "index",
                dataset=Dataset(items=items, splits={}, texts=run.dataset.texts),
                sequence_transform=paths.sequence_transform,
                item_transform=paths.item_transform,
                ingested_items=aside / "items",
                directory=aside / "model",
            )
            progress.summary(exporter.describe(report))
        with steps.next():
            progress.summary(try_in_server(aside / "model").summary)
        with steps.next():
            shutil.rmtree(directory.reindexed / "items", ignore_errors=True)
            shutil.move(aside / "items", directory.reindexed / "items")
            model = str(push(aside / "model", directory.serving(config.serving.model_name)))
            progress.summary(f"version {os.path.basename(model)}")
        done = Reindexed(model, changes, unread, len(items), index, rows)
        write_text(directory.reindexed / "report.json", json.dumps(asdict(done), indent=2, ensure_ascii=False) + "\n")
    return done


class _Steps:
    """Shows one step after the other, and turns what they raise into what to tell the person."""

    def __init__(self, screen: Screen, directory: RunDirectory, interruption: Interruption) -> None:
        self._screen, self._directory, self._interruption = screen, directory, interruption
        self._number = 0

    @contextlib.contextmanager
    def next(self) -> Iterator[None]:
        name = _STEPS[self._number]
        self._number += 1
        log = str(self._directory.log(f"reindex-{name}"))
        with self._screen.step(self._number, len(_STEPS), name, self._interruption.check):
            try:
                with captured(log):
                    yield
                if self._number < len(_STEPS):  # else it is done: what was pushed is served by now
                    self._interruption.check()
            except KeyboardInterrupt:
                raise TowersError(f"stopped during {name}: {_LEFT}.") from None
            except Exception as error:
                raise failures.explained(name, log, error, _LEFT) from error


@contextlib.contextmanager
def _working_directory(directory: RunDirectory) -> Iterator[Path]:
    """A directory in the run's that is gone afterwards; those of killed reindexings go at once."""
    for left_behind in directory.path.glob(f"{_ASIDE}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=directory.path) as aside:
        yield Path(aside)


def _read_items(
    config: Config,
    data_root: str,
    directory: RunDirectory,
    aside: Path,
    make_pipeline: MakePipeline,
    max_removed: float,
) -> tuple[IngestReport, Changes]:
    """Ingests the table to `aside`/items and holds it against the run's catalogue."""
    before = catalogue_changes.read(directory.output("Ingest", "items"))
    quarantine = directory.reindexed / "quarantine"
    shutil.rmtree(quarantine, ignore_errors=True)
    rows = ingest_items(
        config.data,
        data_root,
        CataloguePaths(items=str(aside / "items"), quarantine=str(quarantine)),
        _unlisted(before, directory),
        make_pipeline,
    )
    changes = catalogue_changes.compare(before, catalogue_changes.read(str(aside / "items")))
    if len(changes.removed) > max_removed * len(before):
        raise TowersError(
            f"{len(changes.removed)} of the run's {len(before)} items are not in the items table (the first: "
            f"{changes.removed[0]!r}). It should name every item that is to be recommended, not the new ones alone. If "
            f"they are to leave, raise --max_removed (now {max_removed:g})."
        )
    progress.summary(
        f"{len(changes.new):,} new, {len(changes.removed):,} removed, {len(changes.changed):,} changed, "
        f"{changes.same:,} as they were; {sum(rows.tables['items'].broken.values()):,} rows quarantined"
    )
    return rows, changes


def _unlisted(before: dict[bytes, Row], directory: RunDirectory) -> dict[bytes, tuple[int, int]]:
    """Items that the run knows by their events alone: that the table does not have them says nothing new."""
    counts = Path(directory.output("Ingest", "quarantine"), ingestion.COUNTS_FILE)
    if not IngestReport.from_json(counts.read_text(encoding="utf-8")).items_without_row:
        return {}
    return {item_id: (row.train_count, row.occurs) for item_id, row in before.items() if row.empty}


def _load_items(
    run: TrainedRun, directory: RunDirectory, aside: Path, make_pipeline: MakePipeline
) -> tuple[ItemTable, TextVectors | None]:
    """Transforms the ingested items and encodes those of their texts that no run has encoded yet."""
    paths = trained_run.dataset_paths(directory)
    transform_items(str(aside / "items"), paths.item_transform, str(aside / "transformed"), make_pipeline)
    made = load_vectors(paths.texts)
    given = trained_run.text_vectors(directory, run)
    # An encoder that was trained with the towers was trained, and its vectors were made, in float32.
    products = tf.float32 if run.towers.encoder else tf.as_dtype(made.metadata["products"])
    name = run.towers.encoder or made.metadata["encoder"]
    max_tokens = made.metadata["max_tokens"]
    store = run.config.text.store or str(directory.text_store)
    _, fingerprint = describe_encoder(name, max_tokens, products)
    if not run.towers.encoder and fingerprint != made.metadata["fingerprint"]:
        raise TowersError(
            f"{name}: is not the text encoder that the run was made with; its files or this code have changed. Bring "
            "the old ones back, or run the pipeline again."
        )
    if given is not None:
        _seed(EmbeddingStore(store, fingerprint), made.keys, given.vectors)
    metadata = text_embedding.embed_examples(
        [(str(aside / "transformed" / "Split-all" / "*.gz"), ["text"])],
        encoder=name,
        max_tokens=max_tokens,
        products=products,
        tokens_per_batch=run.config.text.tokens_per_batch,
        store_directory=store,
        directory=str(aside / "texts"),
        make_pipeline=make_pipeline,
        on_progress=progress.update,
    )
    progress.summary(text_embedding.describe(metadata))
    encoded = replace(paths, items=str(aside / "transformed"), texts=str(aside / "texts"))
    items = loading.load_items(run.config, encoded)
    vectors = load_vectors(encoded.texts).vectors
    texts = TextVectors(vectors=vectors, encoder=name) if len(vectors) else given  # no item has a text: no row is read
    return new_catalogue.with_trained_counts(items, run.dataset.items), texts


def _seed(store: EmbeddingStore, keys: np.ndarray, vectors: np.ndarray) -> None:
    """Puts a run's own vectors into the store where it lacks them: known texts keep the vectors they were trained with,
    be the store a new one, and be the encoder one that was trained with the towers.
    """
    for first in range(0, len(keys), _SEEDED_AT_ONCE):
        some = slice(first, first + _SEEDED_AT_ONCE)
        found, _ = store.lookup(keys[some])
        store.append(keys[some][~found], vectors[some][~found])


def _check_new(towers: RetrievalModel, items: ItemTable, changes: Changes) -> int:
    """How many new items cannot be told apart.

    Raises:
      TowersError: none can.
    """
    if changes.new and not towers.item_tower.inputs.content:
        raise TowersError(
            f"the model knows items by their ids alone, so its {len(changes.new)} new ones would all have the same "
            "vector. Give the items text or features and train again (`towers run`)."
        )
    vectors, new = towers.item_vectors().numpy(), set(changes.new)
    rows = [row for row, item_id in enumerate(items.item_id, 1) if item_id in new]
    return int(np.isclose(vectors[rows], vectors[0], atol=1e-6).all(axis=1).sum())
