from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny_bert
from trainer.text.bert.inference import BertInference
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import load_encoder

TOKENS = tf.constant([[2, 7, 9, 8, 3], [2, 11, 3, 0, 0], [2, 3, 0, 0, 0]], tf.int32)
MASK = tf.cast(TOKENS != 0, tf.int32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return load_encoder(tiny_bert.write(tmp_path_factory.mktemp("bert"), seed=11), 16)


def keras_nlp_states(model: TextEncoder) -> np.ndarray:
    inputs = {"token_ids": TOKENS, "segment_ids": tf.zeros_like(TOKENS), "padding_mask": MASK}
    return model.backbone(inputs)["sequence_output"].numpy()


@pytest.mark.parametrize(
    ("products", "tolerance"), [(tf.float32, 1e-5), (tf.bfloat16, 0.05), (tf.float16, 0.01)], ids=lambda x: str(x)
)
def test_equals_keras_nlp(tiny: TextEncoder, products: tf.DType, tolerance: float) -> None:
    inference = BertInference(tiny.backbone, products)
    written = MASK.numpy().astype(bool)
    for states in (inference(TOKENS, MASK), tf.function(inference, autograph=False)(TOKENS, MASK)):
        assert states.dtype == tf.float32
        np.testing.assert_allclose(states.numpy()[written], keras_nlp_states(tiny)[written], atol=tolerance)


def test_padding_changes_nothing(tiny: TextEncoder) -> None:
    inference = BertInference(tiny.backbone, tf.float32)
    np.testing.assert_allclose(inference(TOKENS[1:2, :3], MASK[1:2, :3])[0], inference(TOKENS, MASK)[1, :3], atol=1e-5)
    assert inference(TOKENS[:0], MASK[:0]).shape == (0, 5, tiny_bert.WIDTH)
    assert inference(TOKENS[:, :0], MASK[:, :0]).shape == (3, 0, tiny_bert.WIDTH)


def test_trained_weights_are_copied_by_update_from_backbone(tmp_path: Path) -> None:
    model = load_encoder(tiny_bert.write(tmp_path, seed=12), 16)
    before = model.embed_tokens(TOKENS).numpy()
    for variable in model.backbone.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))
    np.testing.assert_array_equal(model.embed_tokens(TOKENS), before)
    model.update_from_backbone()
    expected = model.pool(keras_nlp_states(model), MASK)
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_allclose(model.embed_tokens(TOKENS), expected, atol=1e-5)
