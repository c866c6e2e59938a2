"""Approximate search with ScaNN's TensorFlow ops; all signatures of a served model share one searcher.

ScaNN: Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", ICML 2020.

ScaNN's ops look up their searcher by a name in the session's resource manager. By default that is the name of the graph
node, so that every signature builds its own searcher, at its first request. Here all ops use one name, a hash of the
searcher's content, and the SavedModel's initialisation builds the searcher. There is one copy, it exists before the
first request, and it is freed with the session.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scann.scann_ops.py import scann_ops

from trainer.data.tables import UNKNOWN_ITEM
from trainer.graphs import outlined_branch
from trainer.index.base import Index, SearchResult, pad_columns

# In a smaller catalogue ScaNN scores every item: leaves of a few dozen items each would cost recall and save no time.
MIN_ITEMS_FOR_LEAVES = 1000

# Leaves are chosen by the dot products of their centres with the query. The part of a centre's error that is parallel
# to its items therefore matters more than the orthogonal part. This is the paper's threshold T, the smallest cosine
# that matters. With it, a search of 120 of 1,000 leaves reaches recall@100 .98 over a million items in distinct
# clusters; without it, 300 leaves are needed (`benchmarks/index_comparison.py --spread 0.5`).
_PARTITION_THRESHOLD = 0.3

# Inputs of the op that restores a searcher, beside `x` (the vectors): strings, and numbers with their types.
_STRING_PARTS = ("scann_config", "serialized_partitioner", "ah_codebook")
_NUMBER_PARTS = {
    "datapoint_to_token": np.int32,
    "hashed_dataset": np.uint8,
    "int8_dataset": np.int8,
    "int8_multipliers": np.float32,
    "dp_norms": np.float32,
}


@dataclass(frozen=True)
class ScannParameters:
    """How a searcher is built and searched.

    Attributes:
      capacity: items that an approximate search returns; a row that needs more is searched exactly.
      leaves: partitions of the catalogue, about the square root of its size; 0: no partitions, ScaNN scores all items.
      leaves_to_search: partitions searched for a query.
      reorder: candidates whose dot product is computed exactly, at least `capacity`.
      dimensions_per_block: dimensions that share one 4-bit code. One dimension a block takes twice the memory of two,
        but scores are exact enough for fewer candidates to be scored again: 0.43 against 0.55 ms a query, 5,300 against
        4,500 queries a second in batches (the benchmark above).
      anisotropic_quantization_threshold: the paper's threshold T, which decides how much more the error parallel to a
        vector weighs than the orthogonal error.
    """

    capacity: int
    leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 0
    dimensions_per_block: int = 1
    anisotropic_quantization_threshold: float = 0.2


class ScannIndex(Index):
    """See `Index`. Approximate, but a row that needs more items than `capacity` is searched exactly.

    Args:
      vectors: see `Index`.
      parameters: how to build and search.
      parts: a searcher as `save` wrote it; None builds one. The same vectors always give the same searcher.
    """

    kind = "scann"

    def __init__(
        self, vectors: np.ndarray, parameters: ScannParameters, parts: dict[str, np.ndarray] | None = None
    ) -> None:
        super().__init__(vectors)
        self._parameters = parameters
        self._parts = _build(vectors[1:], parameters) if parts is None else parts
        digest = hashlib.blake2b(digest_size=12)
        for array in (vectors, *(self._parts[name] for name in sorted(self._parts))):
            digest.update(str((array.dtype, array.shape)).encode() + array.tobytes())
        self._variables = {
            part: tf.Variable(_as_tensor(part, array), trainable=False, name=part)
            for part, array in self._parts.items()
        }
        self._searcher = _Searcher(f"scann_{digest.hexdigest()}", self.vectors, self._variables)

    @property
    def parameters(self) -> dict[str, Any]:
        return asdict(self._parameters)

    @classmethod
    def load(cls, vectors: np.ndarray, parameters: dict[str, Any], directory: Path) -> ScannIndex:
        """Reads the searcher that `save` wrote to the directory."""
        with np.load(directory / "scann.npz", allow_pickle=False) as parts:
            return cls(vectors, ScannParameters(**parameters), {name: parts[name] for name in parts.files})

    def save(self, directory: Path) -> None:
        """Writes the searcher without the vectors, so that loading does not have to build it again."""
        np.savez(directory / "scann.npz", **self._parts)

    def with_parameters(self, parameters: ScannParameters) -> ScannIndex:
        """The same searcher with other search settings: `capacity`, `leaves_to_search`, `reorder`."""
        other = copy.copy(self)
        other._parameters = parameters
        return other

    def search(self, queries: tf.Tensor, k: int | tf.Tensor, min_items: tf.Tensor | None = None) -> SearchResult:
        if min_items is None:
            min_items = tf.fill([tf.shape(queries)[0]], k)
        min_items = tf.minimum(min_items, self.size)  # [B]
        scores, items = pad_columns(*self._approximate_search(queries), k)
        is_incomplete = tf.reduce_sum(tf.cast(items != UNKNOWN_ITEM, tf.int32), axis=1) < min_items  # [B]

        def search_incomplete_rows_exactly() -> SearchResult:
            rows = tf.where(is_incomplete)  # [I, 1]
            exact_scores, exact_items = self.exact_search(tf.boolean_mask(queries, is_incomplete), k)
            return (
                tf.tensor_scatter_nd_update(scores, rows, exact_scores),
                tf.tensor_scatter_nd_update(items, rows, exact_items),
            )

        return tf.cond(
            tf.reduce_any(is_incomplete), outlined_branch(search_incomplete_rows_exactly), lambda: (scores, items)
        )

    def _approximate_search(self, queries: tf.Tensor) -> SearchResult:
        """[B, dim] -> [B, M], [B, M], M = the largest number of items of any row, at most `capacity`."""
        parameters = self._parameters
        has_leaves = parameters.leaves > 0
        neighbours = scann_ops.scann_search_batched(
            self._searcher.handle(),
            queries,
            min(parameters.capacity, self.size),
            min(parameters.reorder, self.size) if has_leaves else -1,
            parameters.leaves_to_search if has_leaves else -1,
            # Whether to search in parallel. Threads for a small request would compete with those of other requests.
            tf.shape(queries)[0] >= 32,
        )
        shape = [None, None]  # the op leaves even the rank of its outputs unknown
        items, scores = tf.ensure_shape(neighbours.indices, shape), tf.ensure_shape(neighbours.distances, shape)
        # ScaNN pads rows with item 0 at distance NaN.
        valid = tf.math.is_finite(scores)
        return tf.where(valid, scores, -np.inf), tf.where(valid, items + 1, UNKNOWN_ITEM)


class _Searcher(tf.saved_model.experimental.TrackableResource):
    """A searcher that is built when this object is made, and again when the SavedModel is loaded.

    Args:
      name: of the searcher in the session's resource manager.
      vectors: float32 [n + 1, dim], row 0 the unknown item.
      variables: the parts of the searcher.
    """

    def __init__(self, name: str, vectors: tf.Variable, variables: dict[str, tf.Variable]) -> None:
        super().__init__()
        self._name, self._vectors, self._variables = name, vectors, variables
        assert self.resource_handle is not None  # reading the property creates the handle and tracks it
        self._initialize()

    def handle(self) -> tf.Tensor:
        """Handle of the existing searcher. The op's inputs are placeholders, which it does not read."""
        placeholders = {part: tf.constant("") for part in _STRING_PARTS}
        placeholders |= {part: tf.zeros([], dtype) for part, dtype in _NUMBER_PARTS.items()}
        return scann_ops.tensors_to_scann(x=tf.zeros([]), shared_name=self._name, **placeholders)

    def _create_resource(self) -> tf.Tensor:
        # TensorFlow requires a handle that is created without reading variables. Building a searcher reads variables:
        # the handle is therefore that of a mutex.
        return tf.raw_ops.MutexV2(shared_name=f"{self._name}_anchor")

    def _initialize(self) -> None:
        scann_ops.tensors_to_scann(x=self._vectors[1:], shared_name=self._name, **self._variables)


def _build(vectors: np.ndarray, parameters: ScannParameters) -> dict[str, np.ndarray]:
    """Builds a searcher of float32 [n, dim] vectors; returns its parts."""
    builder = scann_ops.builder(vectors, parameters.capacity, "dot_product")
    if parameters.leaves:
        builder = (
            builder.tree(
                parameters.leaves,
                parameters.leaves_to_search,
                random_init=False,  # k-means++, whose random numbers are the same in every build
                training_sample_size=min(len(vectors), max(100_000, 50 * parameters.leaves)),
                avq=_error_weight(_PARTITION_THRESHOLD, vectors.shape[1]),
            )
            .score_ah(
                parameters.dimensions_per_block,
                anisotropic_quantization_threshold=parameters.anisotropic_quantization_threshold,
            )
            .reorder(parameters.reorder)
        )
    else:
        builder = builder.score_brute_force()
    tensors = scann_ops.scann_to_tensors(builder.build().searcher_handle)
    parts: dict[str, np.ndarray] = {}
    for part in _STRING_PARTS:
        parts[part] = np.frombuffer(b"".join(tf.reshape(getattr(tensors, part), [-1]).numpy().tolist()), np.uint8)
    for part, dtype in _NUMBER_PARTS.items():
        value = getattr(tensors, part).numpy()
        parts[part] = value if value.ndim else np.zeros([], dtype)  # a missing part has an undefined value
    return parts


def _error_weight(threshold: float, dim: int) -> float:
    """Weight of the error parallel to a vector relative to the orthogonal one, at least 1: theorem 3.4 of the paper."""
    return max(1.0, (dim - 1) * threshold**2 / (1 - threshold**2))


def _as_tensor(part: str, array: np.ndarray) -> tf.Tensor:
    if part not in _STRING_PARTS:
        return tf.constant(array)
    # The op expects a scalar for a missing part, and a vector with one element for a string.
    return tf.constant([array.tobytes()]) if array.size else tf.constant("")
