"""In which precision matrix products are computed. All else is float32: weights, sums, normalisation, softmax.

A product is where half precision pays: the units that multiply are twice as fast or faster, while what lies between
the products is bound by memory and gains little, and would carry its rounding from layer to layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

FLOAT32 = tf.float32
TENSOR_CORES, BFLOAT16_CORES = (7, 0), (8, 0)  # compute capabilities: Volta multiplies float16, Ampere bfloat16 too
PROCESSOR = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def products_in(precision: str) -> tf.DType:
    """The type that `retrieval.precision` and `text.precision` mean on this machine's devices.

    Args:
      precision: `auto`: half precision where every GPU, or without one the processor, has instructions for it,
        otherwise float32; `float32`; `mixed`: half precision in any case. Half precision is bfloat16, except on GPUs
        that know only float16.
    """
    if precision == "float32":
        return FLOAT32
    gpus = tf.config.list_physical_devices("GPU")
    found = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
    weakest = min((tuple(capability or (0, 0)) for capability in found), default=None)
    gains = not BFLOAT16_FLAGS.isdisjoint(_processor_flags()) if weakest is None else weakest >= TENSOR_CORES
    if precision == "auto" and not gains:
        return FLOAT32
    return tf.bfloat16 if weakest is None or weakest >= BFLOAT16_CORES else tf.float16


def _processor_flags() -> set[str]:
    try:
        lines = PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def matmul(a: tf.Tensor, b: tf.Tensor, products: tf.DType, transpose_b: bool = False) -> tf.Tensor:
    """`tf.matmul` of float32 tensors, computed in `products`; float32."""
    if products == FLOAT32:
        return tf.matmul(a, b, transpose_b=transpose_b)
    return tf.cast(tf.matmul(tf.cast(a, products), tf.cast(b, products), transpose_b=transpose_b), FLOAT32)


class Dense(tf.keras.layers.Dense):
    """Keras's, its product computed in `products`; no activation.

    Args:
      units: width of the output.
      products: type of the product.
      **options: as Keras's.
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


def scaled(optimizer: tf.keras.optimizers.Optimizer, products: tf.DType) -> tf.keras.optimizers.Optimizer:
    """The optimizer, with loss scaling where the type needs it: small gradients would be 0 in float16."""
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if products == tf.float16 else optimizer
