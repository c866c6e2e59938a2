import os
from typing import Any

# TFRS, KerasNLP and TFX all need Keras 2; TensorFlow reads this at the first touch of tf.keras.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# TensorFlow's start-up messages; an engineer who wants them sets the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def __getattr__(name: str) -> Any:
    """Finds artifact types by the names they have on Kubeflow, without importing TFX for everybody else."""
    if name in ("Quarantine", "TextEmbeddings", "Towers", "Ranker", "VectorIndex", "GateVerdict"):
        from tfx_pipeline import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
