"""The pipeline of interest-towers: Beam, TFX and the command line."""

import os
from typing import Any

# TFRS, KerasNLP and TFX need Keras 2. TensorFlow reads the variable when `tf.keras` is first used.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Hides TensorFlow's start-up messages, unless the user has set the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def __getattr__(name: str) -> Any:
    """Resolves artifact types by their names on Kubeflow. TFX is imported only then."""
    if name in ("Quarantine", "TextEmbeddings", "Towers", "Ranker", "VectorIndex", "GateVerdict"):
        from tfx_pipeline import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
