"""Limits the threads of TensorFlow; to be called before it is imported."""

from __future__ import annotations

import os


def use_threads(count: int) -> None:
    """Limits the threads inside operations and between them."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(count)
    import trainer  # noqa: F401  (sets variables that TensorFlow reads when it is imported)
