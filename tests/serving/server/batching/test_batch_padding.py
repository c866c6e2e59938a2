"""Calls of unequal widths in one batch: padded, and checked as if each were alone."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.client.prediction_client import PredictionClient
from serving.graph.input_checks import check_inputs
from serving.server.batching.batched_servable import merge, padded_shapes
from tests.serving.batches import LONG, call_together, spy_on_runs


def test_inputs_of_different_widths_are_padded_when_asked_for(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(
        f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }} pad_variable_length_inputs: true"
    )
    texts = [[["a"]], [["b", "c", "d"]], np.empty([1, 0], object)]
    answers = call_together([lambda text=text: client.predict("echo", {"text": text})["text"] for text in texts])
    assert [answer.tolist() for answer in answers] == [[[b"a", b"", b""]], [[b"b", b"c", b"d"]], [[b"", b"", b""]]]
    assert sizes == [3]


@pytest.fixture(scope="module")
def two_histories(tmp_path_factory, start):
    """`two_histories(items, texts, excluded)`: one user's history and exclusions, in padded batches of two calls.

    The answer is what the graph read. It checks its inputs as an export does.
    """

    class Histories(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name="user_id"),
                *(tf.TensorSpec([None, None], tf.string, name=f"{name}_item_id") for name in ("history", "exclude")),
                tf.TensorSpec([None, None], tf.string, name="history_text"),
            ]
        )
        def read(self, user_id, history_item_id, exclude_item_id, history_text):
            inputs = {
                "user_id": user_id,
                "history_item_id": history_item_id,
                "exclude_item_id": exclude_item_id,
                "history_text": history_text,
            }
            inputs = check_inputs(inputs, "user_id")
            events = tf.strings.reduce_join(inputs["history_item_id"] + inputs["history_text"], -1)
            return {"read": events + "-" + tf.strings.reduce_join(inputs["exclude_item_id"], -1)}

    directory = tmp_path_factory.mktemp("histories")
    model = Histories()
    tf.saved_model.save(model, str(directory / "models" / "1"), signatures={"serving_default": model.read})
    path = directory / "batching.txt"
    path.write_text(
        f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {LONG} }} pad_variable_length_inputs: true"
    )
    server = start(directory / "models", "--enable_batching", f"--batching_parameters_file={path}")
    with PredictionClient(server.address, "tiny", timeout=20) as client:

        def predict(items, texts, excluded):
            named = {"history_item_id": items, "history_text": texts, "exclude_item_id": excluded}
            inputs = {name: np.array([list(value)], object).reshape(1, -1) for name, value in named.items()}
            return client.predict("", {"user_id": ["u"], **inputs})["read"].tolist()

        yield predict


@pytest.mark.parametrize("longer", [("abcde", "vwxyz", "a"), ("abc", "xyz", "abcd"), ("", "", "abcdef")])
@pytest.mark.parametrize("malformed", [("abc", "xy", ""), ("ab", "xyz", "abc"), ("a", "", "a")])
def test_whether_a_call_is_refused_does_not_depend_on_its_neighbours(two_histories, monkeypatch, longer, malformed):
    sizes = spy_on_runs(monkeypatch)
    error, answer = call_together([lambda call=call: two_histories(*call) for call in (malformed, longer)])
    assert (error.code, "`history_text` should have the shape" in error.message) == ("INVALID_ARGUMENT", True)
    items, texts, excluded = longer
    read = "".join(item + text for item, text in zip(items, texts, strict=True))
    assert answer == [f"{read}-{excluded}".encode()]
    assert sizes == [2, 1, 1]


def test_two_calls_whose_padding_would_mend_each_other_are_both_refused(two_histories):
    errors = call_together([lambda: two_histories("abc", "xy", ""), lambda: two_histories("ab", "xyz", "")])
    for error in errors:
        assert (error.code, "`history_text` should have the shape" in error.message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    "other", [("de", "vw", "de"), ("de", "vw", "d"), ("def", "uvw", "d"), ("", "", ""), ("", "", "d")]
)
def test_inputs_that_are_equally_wide_by_accident_split_no_batch(two_histories, monkeypatch, other):
    sizes = spy_on_runs(monkeypatch)
    answers = call_together([lambda call=call: two_histories(*call) for call in (("abc", "xyz", "abc"), other)])
    read = "".join(item + text for item, text in zip(*other[:2], strict=True))
    assert answers == [[b"axbycz-abc"], [f"{read}-{other[2]}".encode()]]
    assert sizes == [2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=4).flatmap(
        lambda ranks: st.lists(
            st.tuples(*(st.tuples(*[st.integers(0, 3)] * rank) for rank in ranks)), min_size=1, max_size=4
        )
    )
)
def test_dimensions_of_a_batch_are_equal_where_those_of_every_call_are(calls):
    flat = lambda shapes: [size for shape in shapes for size in shape]  # noqa: E731
    padded = padded_shapes(calls)
    assert [len(shape) for shape in padded] == [len(shape) for shape in calls[0]]
    dimensions = list(zip(flat(padded), *map(flat, calls), strict=True))
    for size, *sizes in dimensions:
        assert size >= max(sizes)
        assert size == sizes[0] or len(set(sizes)) > 1
        for other, *others in dimensions:
            assert (size == other) == (sizes == others)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([np.float32, np.int64, object]).flatmap(
        lambda dtype: st.lists(
            hnp.arrays(
                dtype,
                hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4),
                elements=st.binary(max_size=3) if dtype is object else None,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    st.integers(0, 3),
)
def test_each_part_of_a_merged_batch_is_what_was_put_in_and_the_rest_is_nothing(arrays, more):
    rows = sum(len(array) for array in arrays)
    (width,) = padded_shapes([[array.shape[1:]] for array in arrays])
    merged = merge(arrays, (rows + more if rows else 0, *width))
    start = 0
    for array in arrays:
        part = merged[start : start + len(array)]
        np.testing.assert_array_equal(part[:, : array.shape[1]], array)
        assert all(value in (0, b"") for value in part[:, array.shape[1] :].ravel().tolist())
        start += len(array)
    for row in merged[start:]:
        np.testing.assert_array_equal(row, merged[0])
    assert merged.dtype == arrays[0].dtype
