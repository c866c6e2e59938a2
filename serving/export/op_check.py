"""Checks that the servers of an export have all ops of its graph.

TensorFlow Serving reports a missing op only when a request needs it. Without a warm-up request that needs the op, the
model is AVAILABLE until then. So the ops are checked at export.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trainer.errors import TowersError

Target = Literal["brute_force", "scann"]
Server = Literal["stock", "tf_serving_scann", "embedded"]

# The servers that can load an export: see serving/deploy/README.md.
SERVERS_OF: dict[Target, tuple[Server, ...]] = {
    "brute_force": ("stock", "tf_serving_scann", "embedded"),
    "scann": ("tf_serving_scann", "embedded"),
}
_NAMES: dict[Server, str] = {
    "stock": "stock TensorFlow Serving",
    "tf_serving_scann": "TensorFlow Serving built with ScaNN",
    "embedded": "the embedded server",
}

# tensorflow-text's ops in stock TensorFlow Serving 2.12 to 2.20 (SUPPORTED_TENSORFLOW_OPS in its model_servers/BUILD).
TEXT_OPS = frozenset(
    {
        "CaseFoldUTF8",
        "ConstrainedSequence",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "FindSourceOffsets",
        "MaxSpanningTree",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "PhraseTokenize",
        "RegexSplitWithOffsets",
        "RougeL",
        "SentenceFragments",
        "SentenceFragmentsV2",
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
        "SplitMergeTokenizeWithOffsets",
        "TFText>BoiseTagsToOffsets",
        "TFText>ByteSplitByOffsets",
        "TFText>ByteSplitWithOffsets",
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
        "TFText>FastWordpieceDetokenize",
        "TFText>NgramsStringJoin",
        "TFText>OffsetsToBoiseTags",
        "TFText>PhraseDetokenize",
        "TFText>WhitespaceTokenizeWithOffsetsV2",
        "TokenizerFromLogits",
        "UnicodeScriptTokenizeWithOffsets",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)
# tensorflow-text's ops that only its Python package has, not TensorFlow Serving.
_OTHER_TEXT_OPS = frozenset({"TFText>RoundRobinGenerateMasks", "TFText>RoundRobinTrim", "TFText>Utf8Binarize"})
SCANN_PREFIX = "Scann>"
SCANN_OPS = frozenset(
    SCANN_PREFIX + name
    for name in ("ScannCreateSearcher", "ScannSearch", "ScannSearchBatched", "ScannToTensors", "TensorsToScann")
)
# The ops that each server links in addition to TensorFlow's own.
LINKED: dict[Server, frozenset[str]] = {
    "stock": TEXT_OPS,
    "tf_serving_scann": TEXT_OPS | SCANN_OPS,
    "embedded": TEXT_OPS | _OTHER_TEXT_OPS | SCANN_OPS,
}
# TensorFlow's ops that call a function of the Python process that made the graph. No server has that function.
_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def used_ops(saved_model: str | os.PathLike[str]) -> set[str]:
    """Names of all ops of a SavedModel, including those in function bodies. Calls of functions do not count as ops."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((Path(saved_model) / "saved_model.pb").read_bytes())
    ops: set[str] = set()
    functions: set[str] = set()
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        ops.update(node.op for node in graph.node)
        for function in graph.library.function:
            functions.add(function.signature.name)
            ops.update(node.op for node in function.node_def)
    return ops - functions


def missing_ops(saved_model: str | os.PathLike[str], server: Server) -> list[str]:
    """The ops of a SavedModel that a server lacks, sorted.

    Args:
      saved_model: the directory that holds `saved_model.pb`.
      server: `stock`: TensorFlow Serving as published, with and without GPU; `tf_serving_scann`: TensorFlow Serving
        built with ScaNN's ops (`serving/deploy/tf-serving-scann`); `embedded`: `towers serve`.
    """

    def linked(op: str) -> bool:
        # `tf.raw_ops` has only TensorFlow's own ops, even if libraries with other ops are loaded.
        return op not in _PYTHON_OPS and (hasattr(tf.raw_ops, op) or op in LINKED[server])

    return sorted(op for op in used_ops(saved_model) if not linked(op))


def check_ops(saved_model: str | os.PathLike[str], target: Target) -> None:
    """Raises TowersError, which names the missing ops, if a server for this target lacks an op of the graph."""
    for server in SERVERS_OF[target]:
        missing = missing_ops(saved_model, server)
        if missing:
            raise TowersError(
                f"{saved_model}: uses ops that {_NAMES[server]} lacks: {', '.join(missing)}. "
                f"Replace them, or export for another server (index.kind)."
            )
