from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.training.averaging import WeightAverage


def test_average_of_the_last_steps() -> None:
    """Against the recursion written out, whose first steps forget faster."""
    weight = tf.Variable([1.0, -2.0])
    average = WeightAverage([weight], steps=3.0)
    step = tf.function(average.update)
    expected = weight.numpy()
    for i in range(1, 40):
        weight.assign([float(i), 1.0])
        step()
        decay = min(0.75, (1 + i) / (10 + i))
        expected = decay * expected + (1 - decay) * weight.numpy()
        np.testing.assert_allclose(average.averages[0], expected, rtol=1e-5)
    assert 35 < average.averages[0][0] < 38  # the mean of the last few


def test_averages_are_applied_within_the_block_only() -> None:
    weight = tf.Variable([4.0])
    average = WeightAverage([weight], steps=1.0)
    weight.assign([8.0])
    with average.applied():
        assert weight.numpy() == [4.0]
    assert weight.numpy() == [8.0]
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert weight.numpy() == [8.0]
    average.apply()
    assert weight.numpy() == [4.0]


def test_a_checkpoint_saves_the_averages() -> None:
    average = WeightAverage([tf.Variable([1.0])], steps=1.0)
    saved = [variable.ref() for variable in average.variables]
    assert average.updates.ref() in saved
    assert average.averages[0].ref() in saved
