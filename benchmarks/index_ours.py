"""This project's indexes as an `index_worker.Searcher`, served as the server serves them: a SavedModel in a session.

ScaNN's parameters are chosen by the index builder (`trainer.index.builder`). The SavedModel has a second signature with
ScaNN's op alone, which shows the cost of the code around it.

Arguments: a JSON object with the index (a kind of `IndexConfig`), its directory and threads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from index_worker import answer
from threads import use_threads

_MODEL = "model"


class Ours:
    """An index of `trainer.index`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def build(
        self, vectors: np.ndarray, directory: Path, request: dict[str, Any]
    ) -> tuple[float, dict[str, Any] | None]:
        import tensorflow as tf

        from trainer.config import IndexConfig
        from trainer.index import builder, persistence

        kind, k = self._options["index"], request["k"]
        config = IndexConfig(kind=kind, k=k, recall_target=request["recall"])
        queries = np.load(request["tuning"])
        if kind == "brute_force":
            queries = queries[:0]  # there are no parameters to choose
        report = builder.build(config, vectors, queries, directory / "index")
        index = persistence.load(directory / "index")
        search = tf.function(lambda queries: {"items": index.search(queries, k)[1]})
        functions = {"search": search}
        if kind == "scann":
            functions["op"] = tf.function(lambda queries: {"items": _op_alone(index, queries, k)})
        spec = tf.TensorSpec([None, index.dim], tf.float32, name="queries")
        module = tf.Module()
        module.index, module.functions = index, functions
        signatures = {key: function.get_concrete_function(spec) for key, function in functions.items()}
        tf.saved_model.save(module, str(directory / _MODEL), signatures=signatures)
        return report["build_seconds"], report["parameters"]

    def load(self, directory: Path) -> None:
        from serving.server.runtime import servable

        self._servable = servable.load("index", 1, directory / _MODEL)
        self.use({"signature": "search"})

    def use(self, parameters: dict[str, Any]) -> None:
        self._signature = self._servable.signatures[parameters["signature"]]
        self._outputs = list(self._signature.outputs.values())

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        from serving.server.runtime.predict import run

        return run(self._servable, self._signature, [queries], self._outputs)[0]


def _op_alone(index: Any, queries: Any, k: int) -> Any:
    import tensorflow as tf
    from scann.scann_ops.py import scann_ops

    parameters = index.parameters
    in_parallel = tf.shape(queries)[0] >= 32
    results = scann_ops.scann_search_batched(
        index._searcher.handle(), queries, k, parameters["reorder"], parameters["leaves_to_search"], in_parallel
    )
    return tf.ensure_shape(results.indices, [None, None]) + 1


def main() -> None:
    options = json.loads(sys.argv[1])
    use_threads(options["threads"])
    import tensorflow as tf

    from serving.server.runtime import custom_ops

    tf.get_logger().setLevel("ERROR")
    custom_ops.register()
    with tf.compat.v1.Session(graph=tf.Graph()) as session, session.graph.as_default():
        session.run(tf.constant(0))  # the first session of a process costs more than later ones
    answer(Ours(options), Path(options["directory"]), {"version": tf.__version__})


if __name__ == "__main__":
    main()
