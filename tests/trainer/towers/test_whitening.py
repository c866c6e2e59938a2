from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.towers.whitening import Whitening


def test_whitened_texts_have_unit_variance_and_no_text_stays_none() -> None:
    generator = np.random.default_rng(0)
    vectors = (generator.normal(size=(500, 8)) * np.array([9, 5, 3, 1, 1, 1, 0.1, 0.1]) + 4).astype(np.float32)
    layer = Whitening(8, 3)
    layer.adapt(vectors, seed=1)
    white = layer(tf.constant(vectors)).numpy()
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.02)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    assert not layer(tf.zeros([2, 8])).numpy().any()
    again = Whitening(8, 3)
    again.adapt(vectors, seed=1)
    np.testing.assert_array_equal(again.directions, layer.directions)
