"""Which ops an exported graph uses, and which of them its server has.

TensorFlow Serving finds an op missing only when a request reaches it, with the model shown as AVAILABLE. So the export
looks first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trainer.errors import TowersError

Target = Literal["brute_force", "scann"]

# tensorflow-text's ops in stock TensorFlow Serving 2.12 to 2.20 (SUPPORTED_TENSORFLOW_OPS in its model_servers/BUILD).
# Not among them, though the Python package has them: RoundRobinTrim, RoundRobinGenerateMasks, Utf8Binarize.
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
SCANN_PREFIX = "Scann>"
# In TensorFlow's core, but they call back into the Python process that made the graph.
_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def used_ops(saved_model: str | os.PathLike[str]) -> set[str]:
    """Names of all ops of a SavedModel, function bodies included; calls of its own functions count as no op."""
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


def missing_ops(saved_model: str | os.PathLike[str], target: Target) -> list[str]:
    """The ops, sorted, that a server of this kind lacks.

    Args:
      saved_model: the directory that holds `saved_model.pb`.
      target: `brute_force`: stock TensorFlow Serving; `scann`: one with ScaNN's ops, or the embedded server.
    """

    def linked(op: str) -> bool:
        if op in _PYTHON_OPS:
            return False
        # `tf.raw_ops` is made from TensorFlow's own ops alone, whatever libraries are loaded.
        return hasattr(tf.raw_ops, op) or op in TEXT_OPS or (target == "scann" and op.startswith(SCANN_PREFIX))

    return sorted(op for op in used_ops(saved_model) if not linked(op))


def check_ops(saved_model: str | os.PathLike[str], target: Target) -> None:
    """Raises TowersError, naming the ops, if a server of this kind lacks some."""
    missing = missing_ops(saved_model, target)
    if missing:
        server = "stock TensorFlow Serving" if target == "brute_force" else "TensorFlow Serving built with ScaNN"
        raise TowersError(
            f"{saved_model}: uses ops that {server} lacks: {', '.join(missing)}. "
            f"Replace them, or export for another server (index.kind)."
        )
