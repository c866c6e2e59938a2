import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.graph.histories import last_events


@st.composite
def batches(draw):
    """Rows of item ids of one width; "" anywhere is padding."""
    width = draw(st.integers(0, 6))
    row = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=width, max_size=width)
    rows = draw(st.lists(row, max_size=4))
    return np.array(rows, object).reshape(len(rows), width), draw(st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(batches())
def test_keeps_the_last_events_in_their_order(batch):
    ids, keep = batch
    place = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
    values = tf.constant(ids.reshape(-1).tolist(), tf.string, ids.size)
    columns = {"id": tf.reshape(values, ids.shape), "place": tf.constant(place, tf.int64, place.shape)}
    histories = last_events(columns, columns["id"] != "", keep)
    assert histories.valid.shape == histories.columns["id"].shape == histories.columns["place"].shape
    assert histories.valid.shape[1] >= 1
    for row, given_ids in enumerate(ids):
        expected = [(item.encode(), at) for at, item in enumerate(given_ids) if item][-keep:]
        valid = histories.valid.numpy()[row]
        assert histories.length.numpy()[row] == len(expected) == valid.sum()
        assert valid[: len(expected)].all()
        events = zip(histories.columns["id"].numpy()[row], histories.columns["place"].numpy()[row], strict=True)
        assert list(events)[: len(expected)] == expected
