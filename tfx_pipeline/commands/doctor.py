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

Exit code 1 when something that every run needs is missing.
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

Check = tuple[str, bool | None, str]  # what, OK (None: optional and absent), finding or remedy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    healthy = True
    for check in (_python, _packages, _keras, _devices, _memory, _index_back_ends, _server_engines, _encoder):
        for what, ok, finding in _guarded(check):
            mark = {True: "OK  ", False: "FAIL", None: "--  "}[ok]
            print(f"{mark}  {what:<26} {finding}", flush=True)
            healthy = healthy and ok is not False
    return 0 if healthy else 1


def _guarded(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that raises is a failed check, not the end of the list."""
    try:
        yield from check()
    except Exception as error:
        yield check.__name__.strip("_").replace("_", " "), False, " ".join(str(error).split())[:200]


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield "Python", sys.version_info[:2] == (3, 10), f"{found}" if found.startswith("3.10") else f"{found}; needs 3.10"


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

    one = issubclass(keras_nlp.models.BertBackbone, tf.keras.Model) and issubclass(tfrs.Model, tf.keras.Model)
    remedy = "KerasNLP and TFRS see different Keras; set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported"
    yield "one Keras for all", one, f"tf-keras {version('tf-keras')}" if one else remedy


def _devices() -> Iterator[Check]:
    import tensorflow as tf

    yield "CPU cores", True, str(os.cpu_count())
    gpus = tf.config.list_physical_devices("GPU")
    yield "GPU", bool(gpus) or None, ", ".join(gpu.name for gpu in gpus) or "none; see BUILD.md, GPU, to use one"


def _memory() -> Iterator[Check]:
    import psutil

    gigabytes = psutil.virtual_memory().total / 2**30
    yield "memory", gigabytes >= 6, f"{gigabytes:.0f} GiB" + ("" if gigabytes >= 6 else "; the demo takes up to 6 GiB")


def _index_back_ends() -> Iterator[Check]:
    yield "index: brute force", True, "TensorFlow's own ops; any TensorFlow Serving serves it"
    import numpy as np
    from scann import scann_ops

    vectors = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    searcher = scann_ops.builder(vectors, 1, "dot_product").score_brute_force().build()
    found, _ = searcher.search_batched(vectors[:1])
    yield "index: ScaNN", int(found[0, 0]) >= 0, f"scann {version('scann')}; served by the embedded server"


def _server_engines() -> Iterator[Check]:
    yield "server: embedded", True, "towers serve"
    binary = shutil.which("tensorflow_model_server")
    remedy = "not on PATH (optional): install tensorflow-model-server for --engine tensorflow_model_server"
    yield "server: TensorFlow Serving", bool(binary) or None, binary or remedy


def _encoder() -> Iterator[Check]:
    from trainer.config import TextConfig
    from trainer.text.pretrained import load_encoder

    settings = TextConfig()
    loaded = load_encoder(settings.encoder, settings.max_tokens)
    yield "text encoder", True, f"{settings.encoder}, {loaded.width} wide, files verified"
