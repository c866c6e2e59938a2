"""The pretrained encoder that ships: its vectors against values that were computed without our code."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.text.reference_bert import embed, wordpiece
from trainer.text.bert import directory as bert_directory
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import load_encoder

pytestmark = pytest.mark.slow

SENTENCES = [
    "This guitar string sounds great, and it lasts for months!",
    "A history of unbelievably stubborn mathematicians.",
    "tea",
    "很好看的小说",
]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return load_encoder(bert_directory.MINILM, 128)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


def test_equals_a_forward_pass_in_numpy(minilm: TextEncoder) -> None:
    directory = bert_directory.locate(bert_directory.MINILM)
    assert directory is not None
    vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens = [wordpiece(sentence, vocabulary) for sentence in SENTENCES]
    assert tokens[2:] == [[101, 5572, 102], [101, 100, 100, 100, 1916, 1829, 100, 102]]
    expected = np.array([embed(Path(directory), ids) for ids in tokens])
    vectors = minilm(tf.constant(SENTENCES)).numpy()
    assert vectors.shape == (len(SENTENCES), 384)
    assert cosines(vectors, expected).min() > 0.99999
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_bfloat16_products_change_little(minilm: TextEncoder) -> None:
    vectors = load_encoder(bert_directory.MINILM, 128, tf.bfloat16)(tf.constant(SENTENCES)).numpy()
    assert vectors.dtype == np.float32
    assert cosines(vectors, minilm(tf.constant(SENTENCES)).numpy()).min() > 0.9999


def test_equals_what_sentence_transformers_gives(minilm: TextEncoder) -> None:
    # The first six numbers, by sentence-transformers 6.2 on PyTorch 2.13, out of the same files.
    expected = [
        [-0.063095, -0.022775, 0.031937, -0.020405, -0.129890, 0.013115],
        [-0.064143, 0.023217, -0.035452, 0.072063, -0.113262, -0.025321],
        [-0.067600, -0.007744, 0.011267, 0.022772, 0.001898, 0.048027],
        [0.024910, 0.080664, 0.113733, 0.016413, 0.079194, 0.092469],
        [0.024808, 0.022675, 0.037190, 0.034708, 0.070911, 0.012197],
    ]
    accents_and_signs = "Café naïve – Zürich's 2nd “edition” costs $12.50"
    vectors = minilm(tf.constant([*SENTENCES, accents_and_signs])).numpy()
    np.testing.assert_allclose(vectors[:, :6], expected, atol=2e-5)


def test_length_sorted_batches_equal_single_texts(minilm: TextEncoder) -> None:
    texts = [*SENTENCES, "a " * 300, ""]
    single = np.concatenate([minilm(tf.constant([text])).numpy() for text in texts])
    np.testing.assert_allclose(minilm.encode_texts(texts, 256), single, atol=1e-5)
