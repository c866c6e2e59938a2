from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables, trainings
from tests.trainer.test_resuming import Killed, lasting
from trainer import precision, retrieval


def on_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: list(range(len(capabilities))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda i: {"compute_capability": capabilities[i]})


@pytest.mark.parametrize(
    ("capabilities", "automatic", "mixed"),
    [
        ([], "float32", "mixed_bfloat16"),
        ([(6, 1)], "float32", "mixed_float16"),
        ([(7, 0)], "mixed_float16", "mixed_float16"),
        ([(9, 0), (6, 1)], "float32", "mixed_float16"),
    ],
)
def test_which_policy(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], automatic: str, mixed: str
) -> None:
    on_gpus(monkeypatch, *capabilities)
    assert precision.policy_for("auto") == automatic
    assert precision.policy_for("mixed") == mixed
    assert precision.policy_for("float32") == "float32"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_like_float32_and_leaves_float32(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    expected, _ = trainings.train(trainings.config(epochs=3), tmp_path / "plain")
    monkeypatch.setattr(retrieval, "policy_for", lambda _: policy)
    models: list[tf.keras.Model] = []
    fit = retrieval.fit
    monkeypatch.setattr(retrieval, "fit", lambda model, *a, **k: (models.append(model), fit(model, *a, **k))[1])
    result, weights = trainings.train(trainings.config(epochs=3), tmp_path)
    (model,) = models
    block = model.user_tower.transformer.blocks[0]
    assert block.hidden.compute_dtype == policy.removeprefix("mixed_")
    assert hasattr(model.optimizer, "loss_scale") == (policy == "mixed_float16")
    assert model.item_tower.compute_dtype == "float32"
    assert {value.dtype for value in weights} == {np.dtype(np.float32)}
    losses = [[record["loss"] for record in records["epochs"]] for records in (result, expected)]
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert losses[0] != losses[1]
    items, *_ = tables.markov()
    loaded = retrieval.load(tmp_path / "model", items, None)
    assert loaded.user_tower.transformer.blocks[0].hidden.compute_dtype == "float32"


def test_loss_scaling_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "policy_for", lambda _: "mixed_float16")
    whole = retrieval.training_batches

    def cut_off(*arguments):  # type: ignore[no-untyped-def]
        for i, batch in enumerate(whole(*arguments)):
            if (arguments[5], i) == (2, 3):
                raise Killed
            yield batch

    settings = trainings.config(epochs=2, checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(retrieval, "training_batches", cut_off)
        with pytest.raises(Killed):
            trainings.train(settings, tmp_path, checkpoints=tmp_path / "checkpoints")
    result, weights = trainings.train(settings, tmp_path, checkpoints=tmp_path / "checkpoints")
    (tmp_path / "undisturbed").mkdir()
    expected, expected_weights = trainings.train(settings, tmp_path / "undisturbed")
    assert lasting(result["epochs"]) == lasting(expected["epochs"])
    for got, wanted in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(got, wanted)
