"""Stores the headline metrics of each held-out user, so that runs can be compared user by user."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.errors import TowersError
from trainer.evaluation import metrics
from trainer.evaluation.document import MODELS
from trainer.files import atomic_file

if TYPE_CHECKING:  # readers of a file need no TensorFlow
    from trainer.evaluation.stages import Stages

FILE = "per_user.npz"
_USER_IDS, _ENDS, _CASES = "user_id", "user_id_ends", "case"


@dataclass(frozen=True)
class PerUser:
    """Metrics of a run's own models for each user.

    Attributes:
      user_id: object (str) [U].
      case: int64 [U], a hash of the held-out items' ids.
      figures: stage -> metric -> float32 [U].
    """

    user_id: np.ndarray
    case: np.ndarray
    figures: dict[str, dict[str, np.ndarray]]


def headline(cutoffs: Sequence[int]) -> tuple[str, str, str]:
    """The metrics of slices and comparisons: NDCG and hit rate at 10, and recall at the largest cutoff.

    If 10 is not a cutoff, the largest cutoff takes its place.
    """
    k = 10 if 10 in cutoffs else max(cutoffs)
    return f"ndcg@{k}", f"hit_rate@{k}", f"recall@{max(cutoffs)}"


def headline_figures(config: Config, stages: Stages, name: str) -> dict[str, np.ndarray]:
    """The headline metrics of a stage, float64 [U] over `stages.users`."""
    values = metrics.per_user(stages.by_name[name].ranks, stages.targets.offsets, config.evaluation.cutoffs)
    return {metric: values[metric][stages.users] for metric in headline(config.evaluation.cutoffs)}


def write(directory: Path, config: Config, stages: Stages, items: ItemTable, sequences: SequenceTable) -> None:
    """Writes the headline figures of the run's models to `FILE` in a directory that exists."""
    # The ids are one byte array: in an array of strings, every id would take as much space as the longest.
    ids = [str(user_id).encode() for user_id in sequences.user_id[stages.users]]
    columns: dict[str, np.ndarray] = {
        _USER_IDS: np.frombuffer(b"".join(ids), np.uint8),
        _ENDS: np.cumsum([len(user_id) for user_id in ids], dtype=np.int64),
        _CASES: _cases(stages, items),
    }
    for name in (name for name in MODELS if name in stages.by_name):
        for metric, values in headline_figures(config, stages, name).items():
            columns[f"{name}/{metric}"] = values.astype(np.float32)
    with atomic_file(directory / FILE) as temporary:
        np.savez_compressed(temporary, **columns)


def read(directory: Path) -> PerUser:
    """Reads what `write` wrote.

    Raises:
      TowersError: the file is missing or damaged.
    """
    try:
        with np.load(directory / FILE, allow_pickle=False) as columns:
            return _parse(dict(columns))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise TowersError(f"{directory / FILE}: cannot be read ({error}). Evaluate the run again.") from None


def _parse(columns: dict[str, np.ndarray]) -> PerUser:
    figures: dict[str, dict[str, np.ndarray]] = {}
    for key in (key for key in columns if "/" in key):
        stage, metric = key.split("/")
        figures.setdefault(stage, {})[metric] = columns[key]
    text, ends = columns[_USER_IDS].tobytes(), columns[_ENDS]
    ids = [text[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return PerUser(np.array(ids, object), columns[_CASES], figures)


def _cases(stages: Stages, items: ItemTable) -> np.ndarray:
    """A hash of each user's held-out item ids: int64 [U]."""
    offsets = stages.targets.offsets
    names = np.concatenate([[""], items.item_id])
    hashes = []
    for user in stages.users:
        held_out = sorted(names[stages.targets.item[offsets[user] : offsets[user + 1]]])
        digest = hashlib.blake2b("\0".join(held_out).encode(), digest_size=8).digest()
        hashes.append(int.from_bytes(digest, "little", signed=True))
    return np.array(hashes, np.int64)
