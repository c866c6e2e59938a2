from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import tables
from trainer.data.batches import BatchColumns, request_batches, sequences_per_batch, training_batches, training_windows


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    max_history=st.integers(1, 12),
    overlap=st.floats(0, 0.95),
)
def test_every_event_is_a_target_in_exactly_one_window(lengths: list[int], max_history: int, overlap: float) -> None:
    sequences = tables.sequence_table([list(range(1, length + 1)) for length in lengths])
    windows = training_windows(sequences, max_history, overlap)
    targets = np.concatenate([np.arange(a, b) for a, b in zip(windows.target_from, windows.stop, strict=True)] or [[]])
    assert sorted(targets) == list(range(sum(lengths)))
    assert (windows.stop - windows.start <= max_history + 1).all()
    assert (windows.start <= windows.target_from).all()
    assert (windows.start >= sequences.offsets[windows.user]).all()
    assert (windows.stop <= sequences.offsets[windows.user + 1]).all()


def test_later_windows_keep_a_history() -> None:
    windows = training_windows(tables.sequence_table([list(range(1, 31))]), 9, 0.5)
    history = windows.target_from - windows.start
    assert history[0] == 0
    assert (history[1:] >= 4).all()


def test_long_sequences_make_smaller_batches() -> None:
    long = training_windows(tables.sequence_table([[1] * 100] * 40), 99, 0.2)
    short = training_windows(tables.sequence_table([[1] * 5] * 40), 99, 0.2)
    assert sequences_per_batch(long, 128, 1000) == 10
    assert sequences_per_batch(short, 128, 1000) == 128
    assert sequences_per_batch(long, 128, 1) == 1


def test_an_epoch_holds_every_target_once_and_is_given_by_seed_and_epoch() -> None:
    generator = np.random.default_rng(0)
    sequences = tables.sequence_table([list(generator.integers(1, 50, n)) for n in generator.integers(1, 30, 70)])
    windows = training_windows(sequences, 10, 0.5)

    def epoch(seed: int, number: int) -> list[np.ndarray]:
        return [batch["target"] for batch in training_batches(sequences, BatchColumns(), windows, 8, seed, number)]

    targets = np.concatenate([batch[batch > 0] for batch in epoch(1, 1)])
    assert sorted(targets) == sorted(sequences.item)
    assert all(np.array_equal(a, b) for a, b in zip(epoch(1, 1), epoch(1, 1), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(epoch(1, 1), epoch(1, 2), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(epoch(1, 1), epoch(2, 1), strict=True))


@pytest.mark.parametrize("known", [False, True])
def test_a_request_holds_the_history_and_only_what_it_may_know(known: bool) -> None:
    sequences = tables.sequence_table(
        [[1, 2, 3, 4], [5, 6], [7]],
        targets=1,
        query_row=np.arange(7, dtype=np.int32),
        context={"device": np.arange(7, dtype=np.int32)},
    )
    columns = BatchColumns(query=True, timestamp=True, context=("device",))
    batches = list(request_batches(sequences, columns, 2, 2, with_query=known, with_timestamp=known))
    assert [list(users) for users, _ in batches] == [[0, 1], [2]]
    first = batches[0][1]
    assert first["item_index"].tolist() == [[2, 3], [5, 0]]
    assert first["length"].tolist() == [2, 1]
    assert first["context_device"].tolist() == [3, 5]
    assert first["query_row"].tolist() == ([3, 5] if known else [-1, -1])
    assert first["request_timestamp"].tolist() == (list(sequences.timestamp[[3, 5]]) if known else [0, 0])
    assert batches[1][1]["length"].tolist() == [0]


def test_a_request_after_everything_knows_no_event() -> None:
    sequences = tables.sequence_table([[1, 2], [3]], context={"device": np.array([4, 5, 6], np.int32)})
    columns = BatchColumns(context=("device",))
    _, batch = next(request_batches(sequences, columns, 5, 5, with_query=True, with_timestamp=True))
    assert batch["item_index"].tolist() == [[1, 2], [3, 0]]
    assert batch["context_device"].tolist() == [0, 0]
