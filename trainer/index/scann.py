"""Approximate search with ScaNN's TensorFlow ops (Guo et al., "Accelerating Large-Scale Inference with Anisotropic
Vector Quantization", ICML 2020), in a form of which a served model holds one copy.

ScaNN's ops find their searcher by a name in the session's resource manager. Left to themselves they take the name of
the graph node, so that every signature builds a searcher of its own, on its first request. Here all of them go by one
name, made from the searcher's content, and the SavedModel's initialisation builds it: one copy, there before the first
request, freed with the session.
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

# Below this, partitions of some dozens of items each would cost recall and save nothing: ScaNN scores every item.
SMALLEST_TREE = 1000

# Leaves are chosen by their centres' dot products with the query, so that a centre should err less along its items than
# across them. The threshold is the paper's, of the cosines that matter. For .98 of the best 100 of a million items in
# distinct clusters, 120 of 1,000 leaves are searched in place of 300 (`benchmarks/index_comparison.py --spread 0.5`).
_PARTITION_THRESHOLD = 0.3

# Inputs of the op that restores a searcher, apart from `x` (the vectors) and the texts among them.
_TEXT_PARTS = ("scann_config", "serialized_partitioner", "ah_codebook")
_NUMBER_PARTS = {
    "datapoint_to_token": np.int32,
    "hashed_dataset": np.uint8,
    "int8_dataset": np.int8,
    "int8_multipliers": np.float32,
    "dp_norms": np.float32,
}


@dataclass(frozen=True)
class ScannParameters:
    """How a searcher is built and asked.

    Attributes:
      capacity: items fetched by an approximate search; a row that needs more is searched exactly.
      leaves: partitions of the catalogue, about the square root of its size; 0 = no partitions, ScaNN scores all items.
      leaves_to_search: partitions looked into for a query.
      reorder: candidates whose dot product is computed exactly, at least `capacity`.
      dimensions_per_block: dimensions that share one 4-bit code. With one, an item takes twice the code that it takes
        with two, and its score is so exact that few have to be re-scored: 0.43 against 0.55 ms a query, 5,300 against
        4,500 a second in batches, in the benchmark named above.
      anisotropic_quantization_threshold: weight of the error along the vector, see the paper.
    """

    capacity: int
    leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 0
    dimensions_per_block: int = 1
    anisotropic_quantization_threshold: float = 0.2


class ScannIndex(Index):
    """See `Index`. Approximate, except that a row which needs more items than `capacity` is searched exactly.

    Args:
      vectors: see `Index`.
      parameters: how to build and search.
      parts: a built searcher as `save` wrote it; None builds one, the same one from the same vectors.
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
        """The index that `save` wrote to the directory."""
        with np.load(directory / "scann.npz", allow_pickle=False) as parts:
            return cls(vectors, ScannParameters(**parameters), {name: parts[name] for name in parts.files})

    def save(self, directory: Path) -> None:
        """Writes the built searcher, without the vectors. Built again it would be equal, but cost the time again."""
        np.savez(directory / "scann.npz", **self._parts)

    def with_parameters(self, parameters: ScannParameters) -> ScannIndex:
        """The same searcher, asked differently (`capacity`, `leaves_to_search`, `reorder`)."""
        other = copy.copy(self)
        other._parameters = parameters
        return other

    def search(self, queries: tf.Tensor, k: int | tf.Tensor, needed: tf.Tensor | None = None) -> SearchResult:
        if needed is None:
            needed = tf.fill([tf.shape(queries)[0]], k)
        needed = tf.minimum(needed, self.size)  # [B]
        scores, items = pad_columns(*self._approximate(queries), k)
        short = tf.reduce_sum(tf.cast(items != UNKNOWN_ITEM, tf.int32), axis=1) < needed  # [B]

        def completed() -> SearchResult:
            rows = tf.where(short)  # [S, 1]
            exact_scores, exact_items = self.exact(tf.boolean_mask(queries, short), k)
            return (
                tf.tensor_scatter_nd_update(scores, rows, exact_scores),
                tf.tensor_scatter_nd_update(items, rows, exact_items),
            )

        return tf.cond(tf.reduce_any(short), outlined_branch(completed), lambda: (scores, items))

    def _approximate(self, queries: tf.Tensor) -> SearchResult:
        """[B, dim] -> [B, found], [B, found], where found is as many as the luckiest row has."""
        parameters = self._parameters
        treed = parameters.leaves > 0
        found = scann_ops.scann_search_batched(
            self._searcher.handle(),
            queries,
            min(parameters.capacity, self.size),
            min(parameters.reorder, self.size) if treed else -1,
            parameters.leaves_to_search if treed else -1,
            # The threads of one request would compete with those of others; a large batch is a job of its own.
            tf.shape(queries)[0] >= 32,
        )
        shape = [None, None]  # the ops say nothing about their outputs' shape
        items, scores = tf.ensure_shape(found.indices, shape), tf.ensure_shape(found.distances, shape)
        # ScaNN fills short rows with item 0 at distance NaN.
        valid = tf.math.is_finite(scores)
        return tf.where(valid, scores, -np.inf), tf.where(valid, items + 1, UNKNOWN_ITEM)


class _Searcher(tf.saved_model.experimental.TrackableResource):
    """A searcher that is built when the module is made, and again when the SavedModel is loaded."""

    def __init__(self, name: str, vectors: tf.Variable, variables: dict[str, tf.Variable]) -> None:
        super().__init__()
        self._name, self._vectors, self._variables = name, vectors, variables
        assert self.resource_handle is not None  # makes it, and has it tracked
        self._initialize()

    def handle(self) -> tf.Tensor:
        """The searcher, which is there already: the op's inputs are not read."""
        nothing = {part: tf.constant("") for part in _TEXT_PARTS}
        nothing |= {part: tf.zeros([], dtype) for part, dtype in _NUMBER_PARTS.items()}
        return scann_ops.tensors_to_scann(x=tf.zeros([]), shared_name=self._name, **nothing)

    def _create_resource(self) -> tf.Tensor:
        # TensorFlow wants a handle made without a variable's value; the searcher itself can not be had that way.
        return tf.raw_ops.MutexV2(shared_name=f"{self._name}_anchor")

    def _initialize(self) -> None:
        scann_ops.tensors_to_scann(x=self._vectors[1:], shared_name=self._name, **self._variables)


def _build(vectors: np.ndarray, parameters: ScannParameters) -> dict[str, np.ndarray]:
    builder = scann_ops.builder(vectors, parameters.capacity, "dot_product")
    if parameters.leaves:
        builder = (
            builder.tree(
                parameters.leaves,
                parameters.leaves_to_search,
                random_init=False,  # k-means++ draws the same numbers each time, the other initialisation does not
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
    for part in _TEXT_PARTS:
        parts[part] = np.frombuffer(b"".join(tf.reshape(getattr(tensors, part), [-1]).numpy().tolist()), np.uint8)
    for part, dtype in _NUMBER_PARTS.items():
        value = getattr(tensors, part).numpy()
        parts[part] = value if value.ndim else np.zeros([], dtype)  # an absent part comes as whatever was in memory
    return parts


def _error_weight(threshold: float, dim: int) -> float:
    """How much more an error along a vector counts than one across it: the paper's theorem 3.4; never less."""
    return max(1.0, (dim - 1) * threshold**2 / (1 - threshold**2))


def _as_tensor(part: str, array: np.ndarray) -> tf.Tensor:
    if part not in _TEXT_PARTS:
        return tf.constant(array)
    # The op takes a scalar for "absent" and a vector of one for a text.
    return tf.constant([array.tobytes()]) if array.size else tf.constant("")
