"""In which precision the layers compute. Weights, losses, softmax and normalisation are float32 throughout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

FLOAT32 = "float32"
TENSOR_CORES = (7, 0)  # the compute capability from which float16 is faster (Volta)


def policy_for(precision: str) -> str:
    """The Keras policy that `retrieval.precision` means on this machine's devices.

    Args:
      precision: `auto`: mixed_float16 if every GPU gains by it, otherwise float32; `float32`; `mixed`: mixed_float16 on
        GPUs, mixed_bfloat16 on processors.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "mixed":
        return "mixed_float16" if gpus else "mixed_bfloat16"
    if precision == "auto" and gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
        if all(capability and tuple(capability) >= TENSOR_CORES for capability in capabilities):
            return "mixed_float16"
    return FLOAT32


@contextmanager
def layers_in(policy: str) -> Iterator[None]:
    """Keras layers that are made in this block compute in `policy`."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def scaled(optimizer: tf.keras.optimizers.Optimizer, policy: str) -> tf.keras.optimizers.Optimizer:
    """The optimizer, with loss scaling where the policy needs it: small gradients would be 0 in float16."""
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer
