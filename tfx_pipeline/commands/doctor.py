"""`towers doctor`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

EPILOG = """\
example:
  towers doctor

Prints a line for each check:
  OK    present
  FAIL  missing, and every run needs it; the exit code is then 1
  --    missing, but optional
"""

_PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-text",
    "tensorflow-recommenders",
    "keras-nlp",
    "scann",
    "tfx",
    "apache-beam",
    "tensorflow-serving-api",
    "protobuf",
)

Check = tuple[str, bool | None, str]  # name, whether it passed (None: optional and absent), details or remedy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    healthy = True
    for check in (_python, _packages, _keras, _devices, _memory, _index_back_ends, _server_engines, _encoder):
        for name, passed, details in _results(check):
            mark = {True: "OK  ", False: "FAIL", None: "--  "}[passed]
            print(f"{mark}  {name:<26} {details}", flush=True)
            healthy = healthy and passed is not False
    return 0 if healthy else 1


def _results(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The results of a check. If it raises an error it has failed, and the other checks still run."""
    try:
        yield from check()
    except Exception as error:
        yield check.__name__.strip("_").replace("_", " "), False, " ".join(str(error).split())[:200]


def _python() -> Iterator[Check]:
    present = ".".join(map(str, sys.version_info[:3]))
    passed = sys.version_info[:2] == (3, 10)
    yield "Python", passed, present if passed else f"{present}; Python 3.10 is required"


def _packages() -> Iterator[Check]:
    for name in _PACKAGES:
        try:
            yield name, True, version(name)
        except PackageNotFoundError:
            yield name, False, "not installed; delete .venv and run ./towers again"


def _keras() -> Iterator[Check]:
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    from trainer.text.quiet_keras_nlp import keras_nlp

    same_keras = issubclass(keras_nlp.models.BertBackbone, tf.keras.Model) and issubclass(tfrs.Model, tf.keras.Model)
    remedy = "KerasNLP and TFRS use different Keras; set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported"
    yield "one Keras for all", same_keras, f"tf-keras {version('tf-keras')}" if same_keras else remedy


def _devices() -> Iterator[Check]:
    import tensorflow as tf

    yield "CPU cores", True, str(os.cpu_count())
    gpus = tf.config.list_physical_devices("GPU")
    yield "GPU", bool(gpus) or None, ", ".join(gpu.name for gpu in gpus) or "none; see docs/operations.md, GPU"


def _memory() -> Iterator[Check]:
    import psutil

    gigabytes = psutil.virtual_memory().total / 2**30
    yield "memory", gigabytes >= 6, f"{gigabytes:.0f} GiB" + ("" if gigabytes >= 6 else "; the demo takes up to 6 GiB")


def _index_back_ends() -> Iterator[Check]:
    yield "index: brute force", True, "needs only TensorFlow's own ops; any TensorFlow Serving can serve it"
    import numpy as np
    from scann import scann_ops

    vectors = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    searcher = scann_ops.builder(vectors, 1, "dot_product").score_brute_force().build()
    neighbours, _ = searcher.search_batched(vectors[:1])
    yield "index: ScaNN", int(neighbours[0, 0]) >= 0, f"scann {version('scann')}; served by the embedded server"


def _server_engines() -> Iterator[Check]:
    yield "server: embedded", True, "towers serve"
    binary = shutil.which("tensorflow_model_server")
    remedy = "not on PATH (optional): install tensorflow-model-server to use --engine tensorflow_model_server"
    yield "server: TensorFlow Serving", bool(binary) or None, binary or remedy


def _encoder() -> Iterator[Check]:
    from trainer.config import TextConfig
    from trainer.text.pretrained import load_encoder

    settings = TextConfig()
    loaded = load_encoder(settings.encoder, settings.max_tokens)
    yield "text encoder", True, f"{settings.encoder}, {loaded.width} dimensions, files verified"
