from __future__ import annotations

import dataclasses

import numpy as np

from tests.trainer import tables
from trainer.data import TextVectors
from trainer.written import written_about


def texts(rows: int, width: int = 6) -> TextVectors:
    vectors = np.random.default_rng(0).normal(size=(rows, width)) + 3.0
    return TextVectors((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16), "none")


def test_items_written_about_alike_start_alike() -> None:
    train = tables.sequence_table([[1, 2, 3, 4], [1, 2, 3, 5]])
    # Items 1 and 2 are spoken of in the same words, 3 in others; of 4 nothing is said, of 5 only a query speaks.
    train = dataclasses.replace(
        train,
        text_row=np.array([0, 0, 1, -1, 0, 0, 2, -1], np.int32),
        query_row=np.array([-1, -1, -1, -1, -1, -1, -1, 3], np.int32),
    )
    start = written_about(6, train, texts(4), dim=4)
    assert start.shape == (7, 4)
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), [0, 1, 1, 1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(start[1], start[2], atol=1e-6)
    assert start[1] @ start[3] < 0.9


def test_the_unknown_item_and_narrow_texts() -> None:
    train = dataclasses.replace(tables.sequence_table([[0, 1, 2]]), text_row=np.array([0, 1, 2], np.int32))
    start = written_about(2, train, texts(3, width=3), dim=5)
    assert not start[0].any()
    assert not start[:, 3:].any()
    assert start[1].any()


def test_nothing_written() -> None:
    assert not written_about(3, tables.sequence_table([[1, 2]]), texts(1), dim=4).any()
