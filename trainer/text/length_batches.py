"""Batches of sequences of similar length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

MAX_LENGTH_RATIO = 0.75  # only sequences up to this share of the longest one's length are moved to another pass


def batches_by_length(lengths: np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Batches rows by length, longest first, with at most `tokens_per_batch` tokens each, padding included.

    With the longest sequences first, a `tokens_per_batch` that is too large for the memory fails at once.

    Args:
      lengths: int [n], tokens of each row.

    Yields:
      int64 arrays of rows; each row is in one of them.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, int(tokens_per_batch // max(1, lengths[order[start]])))
        yield order[start : start + size]
        start += size


def next_batch_size(lengths: tf.Tensor, tokens_per_pass: int) -> tf.Tensor:
    """How many sequences the next pass of the encoder should take. Sequences are sorted, longest first.

    One pass over all sequences pads each of them to the longest. If the pass stops before sequence i, the sequences
    from i on need another pass, but at least (lengths[0] - lengths[i]) * (n - i) tokens of padding are saved. With
    lengths 22, 20, 6, 5, 3, stopping before the third sequence saves (22 - 6) * 3 = 48 tokens.

    The pass stops before the first sequence i for which this saves more than `tokens_per_pass` tokens and lengths[i] is
    at most `MAX_LENGTH_RATIO` of the longest. If there is no such sequence, it takes all.

    Args:
      lengths: int32 [n], n > 0, descending.
      tokens_per_pass: how many tokens of padding cost as much as one more pass.

    Returns:
      int32 scalar, from 1 to n.
    """
    count = tf.size(lengths)
    longest = lengths[0]
    sequences_from_here = tf.range(count, 0, -1)  # n - i for each i, [n]
    saved_tokens = (longest - lengths) * sequences_from_here  # [n]
    is_shorter = tf.cast(lengths, tf.float32) <= MAX_LENGTH_RATIO * tf.cast(longest, tf.float32)  # [n]
    stops = tf.where(is_shorter & (saved_tokens > tokens_per_pass))[:, 0]  # [stops], ascending
    return tf.cast(tf.concat([stops, [tf.cast(count, tf.int64)]], axis=0)[0], tf.int32)
