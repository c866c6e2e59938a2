"""Prepares new items for the trained towers: applies the run's Transform and encodes their texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfx_pipeline import text_embedding
from tfx_pipeline.reindex.item_transform import transform_items
from tfx_pipeline.reindex.workspace import Workspace
from tfx_pipeline.runs import trained_run
from tfx_pipeline.runs.trained_run import TrainedRun
from tfx_pipeline.terminal import progress
from tfx_pipeline.text_embedding import TextEncoding
from trainer.data import loading
from trainer.data.tables import ItemTable, TextVectors
from trainer.errors import TowersError
from trainer.retrieval import new_catalogue
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.text.store.vectors import load_vectors

_BLOCK = 65_536  # vectors in memory at once


def encode_items(workspace: Workspace, run: TrainedRun) -> tuple[ItemTable, TextVectors | None]:
    """Transforms the items of `workspace.items` and encodes those of their texts that the text store does not have.

    Returns:
      (the items, vectors of their texts).

    Raises:
      TowersError: the text encoder is not the run's.
    """
    paths = trained_run.dataset_paths(workspace.run)
    transform_items(
        str(workspace.items), paths.item_transform, str(workspace.transformed_items), workspace.make_pipeline
    )
    encoding = _encoding(run, paths.texts, run.config.text.store or str(workspace.run.text_store))
    run_vectors = trained_run.text_vectors(workspace.run, run)
    if run_vectors is not None:
        store = EmbeddingStore(encoding.store_directory, encoding.describe()[1])
        add_missing_vectors(store, load_vectors(paths.texts).keys, run_vectors.vectors)
    sources = [(str(workspace.transformed_items / "Split-all" / "*.gz"), ["text"])]
    metadata = text_embedding.embed_examples(
        sources, encoding, str(workspace.texts), workspace.make_pipeline, progress.update
    )
    progress.summary(text_embedding.describe(metadata))

    new_paths = replace(paths, items=str(workspace.transformed_items), texts=str(workspace.texts))
    items = new_catalogue.with_trained_counts(loading.load_items(run.config, new_paths), run.dataset.items)
    vectors = load_vectors(new_paths.texts).vectors
    if not len(vectors):  # no item has a text, so no vector is looked up
        return items, run_vectors
    return items, TextVectors(vectors=vectors, encoder=encoding.encoder)


def _encoding(run: TrainedRun, texts: str, store_directory: str) -> TextEncoding:
    """Settings of the encoder that made the text vectors which the run's towers were trained with.

    Args:
      run: the run.
      texts: directory of the vectors that its pipeline made.
      store_directory: of the text store.

    Raises:
      TowersError: the encoder's files or its code have changed since.
    """
    metadata = load_vectors(texts).metadata
    fine_tuned = run.towers.encoder
    encoding = TextEncoding(
        fine_tuned or metadata["encoder"],
        metadata["max_tokens"],
        tf.float32 if fine_tuned else tf.as_dtype(metadata["products"]),  # fine-tuning computes in float32
        run.config.text.tokens_per_batch,
        store_directory,
    )
    if not fine_tuned and encoding.describe()[1] != metadata["fingerprint"]:
        raise TowersError(
            f"{encoding.encoder}: is not the text encoder of the run: its files or its code have changed since. "
            "Restore them, or run the pipeline again."
        )
    return encoding


def add_missing_vectors(store: EmbeddingStore, keys: np.ndarray, vectors: np.ndarray) -> None:
    """Adds those of a run's text vectors that the store does not have yet.

    Known texts then keep the vectors that the towers were trained with, even if the store is new or does not have the
    vectors of a fine-tuned encoder.

    Args:
      store: of the encoder's vectors.
      keys: uint8 [texts, 16].
      vectors: float [texts, dim].
    """
    for first in range(0, len(keys), _BLOCK):
        block = slice(first, first + _BLOCK)
        present, _ = store.lookup(keys[block])
        store.append(keys[block][~present], vectors[block][~present])
