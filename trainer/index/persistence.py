"""Writes and reads the directory of an index: `index.json`, `vectors.npy`, and the parts of ScaNN's searcher."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import TowersError
from trainer.files import atomic_directory
from trainer.index.base import Index
from trainer.index.brute_force import BruteForceIndex

FORMAT = 1  # of the directory
DESCRIPTION, VECTORS = "index.json", "vectors.npy"


def save(index: Index, report: dict[str, Any], directory: str | os.PathLike[str]) -> None:
    """Writes an index and the report of its builder.

    Args:
      directory: should be missing or empty. It appears once everything is written.

    Raises:
      TowersError: the directory is not empty or cannot be written.
    """
    description = {"format": FORMAT, "kind": index.kind, "parameters": index.parameters, "report": report}
    with atomic_directory(Path(directory)) as temporary:
        np.save(temporary / VECTORS, index.vectors.numpy())
        index.save(temporary)
        (temporary / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(directory: str | os.PathLike[str]) -> Index:
    """Reads the index that `save` wrote.

    Raises:
      TowersError: there is none, or it has another format.
    """
    directory = Path(directory)
    description = read_description(directory)
    vectors = np.load(directory / VECTORS)
    if description["kind"] == BruteForceIndex.kind:
        return BruteForceIndex(vectors)
    from trainer.index.scann import ScannIndex

    return ScannIndex.load(vectors, description["parameters"], directory)


def read_description(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `index.json`: `format`, `kind`, `parameters` and `report`.

    Raises:
      TowersError: there is none, or it has another format.
    """
    path = Path(directory) / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TowersError(f"{path}: there is no readable index. Run the pipeline's index step again.") from None
    if description.get("format") != FORMAT:
        raise TowersError(
            f"{path}: has format {description.get('format')}, this version reads {FORMAT}. Build the index again."
        )
    return description
