"""The texts of a dataset, read again from its examples: tables hold only their rows among the embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.config import Config, DataConfig
from trainer.data.dataset import DatasetPaths
from trainer.data.examples import ALL_SPLITS, example_files, flat_values, parse_examples, parsing_spec
from trainer.data.features import TEXT_FEATURES, item_features, sequence_features
from trainer.errors import TowersError
from trainer.text.languages import languages
from trainer.text.store.keys import SortedKeys
from trainer.text.store.vectors import load_vectors, rows_of


def load_languages(config: Config, paths: DatasetPaths) -> np.ndarray | None:
    """The language of every text that has an embedding, see `trainer.text.languages`.

    Returns:
      object (str) [rows]; None for data without texts.

    Raises:
      TowersError: a text has no embedding.
    """
    keys = SortedKeys(load_vectors(paths.texts).keys)
    if not len(keys):
        return None
    result = np.full(len(keys), "", object)
    for rows, texts in _read(config.data, paths, keys):
        new = result[rows] == ""
        result[rows[new]] = languages(texts[new])
    return result


def load_texts(config: Config, paths: DatasetPaths, rows: np.ndarray) -> dict[int, str]:
    """The texts of these rows, int64 [m], as the encoder reads them (cleaned): row -> text."""
    requested = set(rows.tolist())
    result: dict[int, str] = {}
    if requested:
        keys = SortedKeys(load_vectors(paths.texts).keys)
        for text_rows, texts in _read(config.data, paths, keys):
            for row, text in zip(text_rows.tolist(), texts, strict=True):
                if row in requested:
                    result[row] = text.decode("utf-8", errors="replace")
    return result


def load_all_texts(data: DataConfig, paths: DatasetPaths, keys: SortedKeys) -> np.ndarray:
    """Every text that has an embedding, of items and of all splits: object (bytes) [rows].

    Raises:
      TowersError: the examples lack a text.
    """
    result = np.full(len(keys), None, object)
    for rows, texts in _read(data, paths, keys):
        result[rows] = texts
    missing = sum(text is None for text in result)
    if missing:
        raise TowersError(
            f"{paths.texts}: {missing} of {len(result)} texts are in no example of this run. Run the pipeline again."
        )
    return result


def _read(data: DataConfig, paths: DatasetPaths, keys: SortedKeys) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and texts of items and of all splits, some hundred at a time: int64 [m], object (bytes) [m].

    Empty texts have no row and are left out. A text is yielded as often as the examples hold it.
    """
    for directory, features in ((paths.items, item_features(data)), (paths.sequences, sequence_features(data))):
        text_features = [feature for feature in features if feature.name in TEXT_FEATURES]
        files = example_files(directory, ALL_SPLITS) if text_features else []
        for parsed in parse_examples(files, parsing_spec(text_features)):
            for value in parsed.values():
                texts = flat_values(value)
                rows = rows_of(keys, texts)
                yield rows[rows >= 0], texts[rows >= 0]
