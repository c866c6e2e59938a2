from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables, trainings
from tests.trainer.training.test_resuming import Killed, without_times
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training
from trainer.training import precision

pytestmark = pytest.mark.slow


def on_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: list(range(len(capabilities))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda i: {"compute_capability": capabilities[i]})


def on_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str) -> None:
    on_gpus(monkeypatch)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n", encoding="utf-8")
    monkeypatch.setattr(precision, "PROCESSOR", cpuinfo)


@pytest.mark.parametrize(
    ("capabilities", "automatic", "mixed"),
    [
        ([(6, 1)], "float32", "float16"),
        ([(7, 0)], "float16", "float16"),
        ([(9, 0)], "bfloat16", "bfloat16"),
        ([(9, 0), (7, 5)], "float16", "float16"),
        ([(9, 0), (6, 1)], "float32", "float16"),
    ],
)
def test_products_on_gpus(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], automatic: str, mixed: str
) -> None:
    on_gpus(monkeypatch, *capabilities)
    assert precision.product_type("auto").name == automatic
    assert precision.product_type("mixed").name == mixed
    assert precision.product_type("float32") == tf.float32


@pytest.mark.parametrize(
    ("flags", "automatic"), [("avx512f", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16 amx_tile", "bfloat16")]
)
def test_products_on_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, automatic: str) -> None:
    on_processor(monkeypatch, tmp_path, flags)
    assert precision.product_type("auto").name == automatic
    assert precision.product_type("mixed").name == "bfloat16"
    assert precision.product_type("float32") == tf.float32


def test_products_on_a_processor_of_unknown_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_gpus(monkeypatch)
    monkeypatch.setattr(precision, "PROCESSOR", tmp_path / "none")
    assert precision.product_type("auto") == tf.float32


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("products", [tf.bfloat16, tf.float16])
def test_products_in_half_precision(products: tf.DType, transpose: bool) -> None:
    a, b = tf.random.stateless_normal([3, 7, 5], [1, 2]), tf.random.stateless_normal([3, 5, 4], [3, 4])
    exact = tf.matmul(a, b)
    b = tf.linalg.matrix_transpose(b) if transpose else b
    assert tf.reduce_all(precision.matmul(a, b, tf.float32, transpose) == exact)
    product = precision.matmul(a, b, products, transpose)
    assert product.dtype == tf.float32
    np.testing.assert_allclose(product, exact, atol=0.05)
    assert np.abs(product - exact).max() > 0
    plain, half = (precision.Dense(6, kind, kernel_initializer="ones") for kind in (tf.float32, products))
    np.testing.assert_allclose(half(a), plain(a), atol=0.1)
    half.bias.assign(tf.ones([6]))
    np.testing.assert_allclose(half(tf.zeros([1, 1, 5])), np.ones([1, 1, 6]))


@pytest.mark.parametrize("products", [tf.bfloat16, tf.float16])
def test_half_precision_learns_like_float32_and_leaves_float32(
    products: tf.DType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    expected, _ = trainings.train(trainings.config(epochs=3, precision="float32"), tmp_path / "plain")
    monkeypatch.setattr(retrieval_training, "product_type", lambda _: products)
    models: list[tf.keras.Model] = []
    fit = retrieval_training.fit
    monkeypatch.setattr(
        retrieval_training, "fit", lambda model, *a, **k: (models.append(model), fit(model, *a, **k))[1]
    )
    result, weights = trainings.train(trainings.config(epochs=3), tmp_path)
    (model,) = models
    block = model.user_tower.transformer.blocks[0]
    assert block.hidden.products == products
    assert hasattr(model.optimizer, "loss_scale") == (products == tf.float16)
    assert {value.dtype for value in weights} == {np.dtype(np.float32)}
    losses = [[record["loss"] for record in records["epochs"]] for records in (result, expected)]
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert losses[0] != losses[1]
    items, *_ = tables.markov()
    loaded = retrieval_persistence.load(tmp_path / "model", items, None)
    assert loaded.user_tower.transformer.blocks[0].hidden.products == tf.float32


def test_loss_scaling_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_training, "product_type", lambda _: tf.float16)
    all_batches = retrieval_training.training_batches

    def cut_off(*arguments):  # type: ignore[no-untyped-def]
        for i, batch in enumerate(all_batches(*arguments)):
            if (arguments[5], i) == (2, 3):
                raise Killed
            yield batch

    settings = trainings.config(epochs=2, checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(retrieval_training, "training_batches", cut_off)
        with pytest.raises(Killed):
            trainings.train(settings, tmp_path, checkpoints=tmp_path / "checkpoints")
    result, weights = trainings.train(settings, tmp_path, checkpoints=tmp_path / "checkpoints")
    (tmp_path / "undisturbed").mkdir()
    expected, expected_weights = trainings.train(settings, tmp_path / "undisturbed")
    assert without_times(result["epochs"]) == without_times(expected["epochs"])
    for weight, expected_weight in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
