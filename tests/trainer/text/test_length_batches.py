import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.text.length_batches import batches_by_length, next_batch_size


@given(st.lists(st.integers(2, 40), max_size=50), st.integers(1, 200))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    batches = list(batches_by_length(array, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= budget
    in_order = [length for batch in batches for length in array[batch]]
    assert in_order == sorted(lengths, reverse=True)


def sizes_of_passes(lengths: list[int], tokens_per_pass: int) -> list[int]:
    sizes = []
    while lengths:
        sizes.append(int(next_batch_size(tf.constant(lengths, tf.int32), tokens_per_pass)))
        lengths = lengths[sizes[-1] :]
    return sizes


@pytest.mark.parametrize(
    ("lengths", "tokens_per_pass", "sizes"),
    [
        ([22, 20, 6, 5, 3], 0, [2, 2, 1]),
        ([22, 20, 6, 5, 3], 30, [2, 3]),
        ([22, 20, 6, 5, 3], 47, [2, 3]),
        ([22, 20, 6, 5, 3], 48, [5]),  # stopping before the third saves (22 - 6) * 3 = 48 tokens, no more than a pass
        ([8, 7, 7, 7], 0, [4]),  # 7 is more than 75 % of 8
        ([8, 6, 6, 6], 0, [1, 3]),
        ([5], 0, [1]),
    ],
)
def test_a_pass_stops_where_padding_would_cost_more(lengths: list[int], tokens_per_pass: int, sizes: list[int]) -> None:
    assert sizes_of_passes(lengths, tokens_per_pass) == sizes


@settings(deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=20), st.integers(0, 100))
def test_a_pass_stops_at_the_first_sequence_that_saves_enough(lengths: list[int], tokens_per_pass: int) -> None:
    lengths = sorted(lengths, reverse=True)
    stops = [
        i
        for i, length in enumerate(lengths)
        if length <= 0.75 * lengths[0] and (lengths[0] - length) * (len(lengths) - i) > tokens_per_pass
    ]
    assert int(next_batch_size(tf.constant(lengths, tf.int32), tokens_per_pass)) == [*stops, len(lengths)][0]
