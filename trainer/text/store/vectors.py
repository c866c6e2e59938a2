"""The table of text vectors that a run writes and training reads: one row for every distinct text."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError
from trainer.text.store.embedding_store import EmbeddingStore, save_array, writable_file
from trainer.text.store.keys import KEY_BYTES, SortedKeys, as_array, text_key

FILES = ("vectors.npy", "keys.npy", "metadata.json")  # in the order of writing
_BLOCK_ROWS = 65_536  # copied at once


class TextTable(NamedTuple):
    """Row i of both arrays is one text."""

    keys: np.ndarray  # uint8 [n, 16], sorted
    vectors: np.ndarray  # float16 [n, width], a file mapped into memory
    metadata: dict[str, Any]  # see `tfx_pipeline.text_embedding.embed_examples`


def as_stored(vectors: tf.Tensor) -> tf.Tensor:
    """Rounds float32 vectors to half precision, as the store does for training, and returns them as float32."""
    return tf.cast(tf.cast(vectors, tf.float16), tf.float32)


def write_vectors(directory: str, keys: np.ndarray, store: EmbeddingStore, metadata: dict[str, Any]) -> None:
    """Copies the vectors of texts from the store into a table: `keys.npy`, `vectors.npy` and `metadata.json`.

    Args:
      directory: local, or of any file system that TensorFlow knows; is made if it does not exist. Existing files of
        these names are replaced, `metadata.json` last.
      keys: uint8 [n, 16], sorted and distinct.
      store: should hold all these keys.
      metadata: should have `texts` and `width`.

    Raises:
      TowersError: a key is not in the store, or the disk is full.
    """
    if _is_remote(directory):
        with tempfile.TemporaryDirectory() as local:
            write_vectors(local, keys, store, metadata)
            tf.io.gfile.makedirs(directory)
            for name in FILES:
                tf.io.gfile.copy(os.path.join(local, name), os.path.join(directory, name), overwrite=True)
        return

    path = Path(directory)
    with writable_file(path / "vectors.npy") as temporary:
        _write_blocks(temporary, keys, store, (len(keys), metadata["width"]))
    with writable_file(path / "keys.npy") as temporary:
        save_array(temporary, keys)
    with writable_file(path / "metadata.json") as temporary:
        temporary.write_text(json.dumps(metadata, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_blocks(file: Path, keys: np.ndarray, store: EmbeddingStore, shape: tuple[int, int]) -> None:
    """Copies vectors from the store block by block, so that they are never all in memory."""
    if not len(keys):  # an empty array cannot be mapped into memory
        save_array(file, np.zeros(shape, np.float16))
        return
    vectors = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
    for start in range(0, len(keys), _BLOCK_ROWS):
        is_stored, values = store.lookup(keys[start : start + _BLOCK_ROWS])
        if not is_stored.all():
            raise TowersError(
                f"{store.directory}: {np.count_nonzero(~is_stored)} texts of this run are missing. Was a shard deleted "
                "during the run? Run again: the missing texts will be encoded."
            )
        vectors[start : start + _BLOCK_ROWS] = values
    vectors.flush()


def load_vectors(directory: str) -> TextTable:
    """Opens the table that `write_vectors` wrote. Files of a remote directory are copied to a temporary one first.

    Raises:
      TowersError: a file is missing or damaged.
    """
    try:
        path = Path(_download(directory) if _is_remote(directory) else directory)
        metadata = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
        keys = np.load(path / "keys.npy", allow_pickle=False)
        vectors = np.load(path / "vectors.npy", mmap_mode="r" if len(keys) else None, allow_pickle=False)
        if keys.shape != (metadata["texts"], KEY_BYTES) or vectors.shape != (metadata["texts"], metadata["width"]):
            raise ValueError(f"{keys.shape} keys and {vectors.shape} vectors for {metadata['texts']} texts")
    except (OSError, ValueError, KeyError, TypeError, EOFError, tf.errors.OpError) as error:
        raise TowersError(
            f"{directory}: cannot read the text embeddings ({error}). Delete the directory and run the pipeline again."
        ) from None
    return TextTable(keys, vectors, metadata)


def rows_of(keys: np.ndarray | SortedKeys, texts: np.ndarray) -> np.ndarray:
    """Rows of texts in a table of vectors.

    Args:
      keys: of the table, uint8 [n, 16], or `SortedKeys` of them, which saves time over many calls.
      texts: cleaned texts, object (str or bytes) [m].

    Returns:
      int32 [m]; -1 for an empty text.

    Raises:
      TowersError: a text has no row.
    """
    texts = np.asarray(texts, dtype=object)
    distinct_rows: dict[str | bytes, int] = {}  # text -> row among the distinct ones
    inverse = np.fromiter((distinct_rows.setdefault(text, len(distinct_rows)) for text in texts), np.int64, len(texts))
    distinct = list(distinct_rows)
    has_text = np.array([bool(text) for text in distinct], dtype=bool)
    rows = np.full(len(distinct), -1, np.int64)
    sorted_keys = keys if isinstance(keys, SortedKeys) else SortedKeys(keys)
    rows[has_text] = sorted_keys.find(as_array(text_key(text) for text in distinct if text))
    missing = np.flatnonzero(has_text & (rows < 0))
    if len(missing):
        raise TowersError(
            f"{len(missing)} of {len(distinct)} texts have no stored embedding (the first: "
            f"{distinct[missing[0]][:60]!r}). The embeddings belong to other data or to another version of the "
            "cleaning: run the pipeline again."
        )
    return rows.astype(np.int32)[inverse]


def _is_remote(directory: str) -> bool:
    return "://" in str(directory)


def _download(directory: str) -> str:
    local = tempfile.mkdtemp(prefix="text_vectors_")
    atexit.register(shutil.rmtree, local, ignore_errors=True)
    for name in FILES:
        tf.io.gfile.copy(os.path.join(directory, name), os.path.join(local, name))
    return local
