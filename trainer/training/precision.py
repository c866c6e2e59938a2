"""The precision of matrix products. Everything else is float32: weights, sums, normalisation, softmax.

Half precision makes matrix products at least twice as fast. The operations between them are bound by memory: they would
gain little, and would carry their rounding errors from layer to layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

FLOAT32 = tf.float32
TENSOR_CORES, BFLOAT16_CORES = (7, 0), (8, 0)  # lowest compute capability for float16 (Volta), bfloat16 (Ampere)
PROCESSOR = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def product_type(precision: str) -> tf.DType:
    """The type of matrix products for a value of `retrieval.precision` or `text.precision`, on this machine's devices.

    Args:
      precision: `float32`; `mixed`: half precision; or `auto`: half precision where every GPU has instructions for it,
        or the processor if there is no GPU, otherwise float32. Half precision is bfloat16, except on GPUs that support
        only float16.
    """
    if precision == "float32":
        return FLOAT32
    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
    lowest = min((tuple(capability or (0, 0)) for capability in capabilities), default=None)
    is_faster = not BFLOAT16_FLAGS.isdisjoint(_processor_flags()) if lowest is None else lowest >= TENSOR_CORES
    if precision == "auto" and not is_faster:
        return FLOAT32
    return tf.bfloat16 if lowest is None or lowest >= BFLOAT16_CORES else tf.float16


def _processor_flags() -> set[str]:
    try:
        lines = PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def matmul(a: tf.Tensor, b: tf.Tensor, products: tf.DType, transpose_b: bool = False) -> tf.Tensor:
    """`tf.matmul` of float32 tensors, computed in type `products`; the result is float32."""
    if products == FLOAT32:
        return tf.matmul(a, b, transpose_b=transpose_b)
    return tf.cast(tf.matmul(tf.cast(a, products), tf.cast(b, products), transpose_b=transpose_b), FLOAT32)


class Dense(tf.keras.layers.Dense):
    """Keras's Dense layer without activation, its matrix product computed in type `products`.

    Args:
      units: width of the output.
      products: type of the matrix product.
      **options: as for Keras's layer.
    """

    def __init__(self, units: int, products: tf.DType, **options: Any) -> None:
        super().__init__(units, **options)
        self.products = products

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """float32 [..., width] -> [..., units]."""
        if self.products == FLOAT32:
            return super().call(inputs)
        kernel = tf.cast(self.kernel, self.products)
        product = tf.tensordot(tf.cast(inputs, self.products), kernel, 1)
        return tf.nn.bias_add(tf.cast(product, FLOAT32), self.bias)


def with_loss_scaling(optimizer: tf.keras.optimizers.Optimizer, products: tf.DType) -> tf.keras.optimizers.Optimizer:
    """The optimizer, with loss scaling if products are float16: without it, small gradients would become 0."""
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if products == tf.float16 else optimizer
