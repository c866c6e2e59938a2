"""The text encoder: raw strings to unit vectors, the same code in Beam, in training and in the served graph."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.text.bert.backbone import write_directory
from trainer.text.bert.inference import BertInference
from trainer.text.bert.tokenizer import Packer
from trainer.text.cleaning import clean
from trainer.text.length_batches import batches_by_length, next_batch_size
from trainer.text.quiet_keras_nlp import keras_nlp

_TEXTS_AT_ONCE = 4096  # cleaned or tokenized in one call


class TextEncoder(tf.Module):
    """Cleaning, WordPiece tokenizer, BERT and pooling in one callable.

    Works eagerly, inside `tf.function` and in an exported SavedModel: the vocabulary is a constant of the graph, the
    weights are tracked variables, and stock TensorFlow Serving links every op. Make one with
    `trainer.text.pretrained.load_encoder`.

    Attributes:
      encoder: the name or directory that it was loaded from, as `load_encoder` takes it.
      width: size of a vector.
      max_tokens: longest sequence, [CLS] and [SEP] included.
      fingerprint: hexadecimal; changes with the weights, vocabulary, tokenizer options, cleaning, pooling, `max_tokens`
        and the type of the matrix products.
      pooling: "mean", "cls" or "max".
      tokens_per_pass: how many tokens of padding cost as much as one more pass of the encoder; see `__call__`.
    """

    @tf.autograph.experimental.do_not_convert  # see bert.backbone.build_backbone
    def __init__(
        self,
        encoder: str,
        backbone: keras_nlp.models.BertBackbone,
        tokenizer: keras_nlp.models.BertTokenizer,
        *,
        pooling: str,
        max_tokens: int,
        fingerprint: str,
        products: tf.DType,
        tokens_per_pass: int,
    ) -> None:
        super().__init__(name="text_encoder")
        self.encoder = encoder
        self.width: int = backbone.hidden_dim
        self.max_tokens = max_tokens
        self.fingerprint = fingerprint
        self.pooling = pooling
        self.tokens_per_pass = tokens_per_pass
        self._packer = Packer(tokenizer, max_tokens)
        self._bert = BertInference(backbone, products)
        # Namespaces hide these objects from saving, which visits every Keras model and tf.function that is an attribute
        # of a module.
        self._parts = types.SimpleNamespace(backbone=backbone, tokenizer=tokenizer)
        self._compiled = types.SimpleNamespace(
            clean=_compile(clean, tf.TensorSpec([None], tf.string)),
            tokenize=_compile(self._packer, tf.TensorSpec([None], tf.string)),
            embed=_compile(self.embed_tokens, tf.TensorSpec([None, None], tf.int32)),
        )

    @tf.autograph.experimental.do_not_convert
    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Encodes texts, raw or cleaned. Each distinct text of the batch is encoded once, empty texts are skipped.

        Short texts are encoded in a pass of their own if that costs less than padding them to the length of long ones.
        Every additional pass costs as much as `tokens_per_pass` tokens, because it reads the weights once more.

        Args:
          texts: string [B].

        Returns:
          float32 [B, width], of unit length; zeros for a text that is empty after cleaning.
        """
        distinct, distinct_row = tf.unique(clean(texts))  # [U], [B]
        has_text = tf.not_equal(distinct, "")  # [U]
        tokens = self._packer(tf.boolean_mask(distinct, has_text))  # [N, (T)]
        vectors = self._embed_in_passes(tokens)  # [N, width]
        vectors = tf.concat([tf.zeros([1, self.width]), vectors], axis=0)  # [1 + N, width], row 0 for empty texts
        vector_row = tf.where(has_text, tf.cumsum(tf.cast(has_text, tf.int32)), 0)  # [U]
        return tf.ensure_shape(tf.gather(vectors, tf.gather(vector_row, distinct_row)), [None, self.width])

    def _embed_in_passes(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Unit vectors of packed sequences, encoded in several passes where that saves padding.

        Sequences are sorted by length. Each pass takes the next `next_batch_size` of them, longest first, and pads them
        to the longest.

        Args:
          tokens: int32 [N, (T)].

        Returns:
          float32 [N, width].
        """
        order = tf.argsort(tokens.row_lengths(), direction="DESCENDING", stable=True)
        longest_first = tf.gather(tokens, order)  # [N, (T)]
        lengths = tf.cast(longest_first.row_lengths(), tf.int32)  # [N]
        count = tf.size(lengths)

        def embed_next_batch(start: tf.Tensor, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            end = start + next_batch_size(lengths[start:], self.tokens_per_pass)
            batch = longest_first[start:end].to_tensor(self._packer.padding_id)  # [end - start, T]
            return end, tf.concat([vectors, self.embed_tokens(batch)], axis=0)

        _, vectors = tf.while_loop(
            lambda start, _: start < count,
            embed_next_batch,
            [0, tf.zeros([0, self.width])],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, self.width])],
        )
        return tf.gather(vectors, tf.argsort(order))  # in the order of `tokens`

    @tf.autograph.experimental.do_not_convert
    def embed_tokens(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Unit vectors of packed sequences: int32 [B, T], padded -> float32 [B, width]."""
        inputs = self.bert_inputs(token_ids)
        return self.pool(self._bert(inputs["token_ids"], inputs["padding_mask"]), inputs["padding_mask"])

    def bert_inputs(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inputs of the backbone, each int32 [B, T]: `token_ids`, `segment_ids`, `padding_mask`."""
        return {
            "token_ids": token_ids,
            "segment_ids": tf.zeros_like(token_ids),
            "padding_mask": tf.cast(tf.not_equal(token_ids, self._packer.padding_id), tf.int32),
        }

    def pool(self, states: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """Unit vectors of the last layer's states: [B, T, width], int32 [B, T] -> [B, width]."""
        mask = tf.cast(padding_mask, tf.bool)
        if self.pooling == "mean":
            weight = tf.cast(mask, states.dtype)[:, :, tf.newaxis]
            pooled = tf.reduce_sum(states * weight, axis=1) / tf.maximum(tf.reduce_sum(weight, axis=1), 1.0)
        elif self.pooling == "max":
            pooled = tf.reduce_max(tf.where(mask[:, :, tf.newaxis], states, states.dtype.min), axis=1)
        else:
            pooled = states[:, 0]
        return tf.math.l2_normalize(pooled, axis=-1)

    def encode_texts(
        self,
        texts: Sequence[str | bytes],
        tokens_per_batch: int = 4096,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Encodes any number of texts in batches of similar length.

        Args:
          texts: raw or cleaned.
          tokens_per_batch: largest number of tokens in a batch, padding included; a longer text is a batch by itself.
          progress: called after each batch with the number of encoded texts and the number of all texts; both count
            distinct texts that are not empty.

        Returns:
          float32 [len(texts), width]; zeros for an empty text.
        """
        distinct_rows: dict[bytes, int] = {}  # cleaned text -> row among the distinct ones
        text_rows: list[int] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            cleaned = self._compiled.clean(tf.constant(texts[start : start + _TEXTS_AT_ONCE], tf.string)).numpy()
            text_rows += (distinct_rows.setdefault(text, len(distinct_rows)) for text in cleaned)
        distinct = list(distinct_rows)
        vectors = np.zeros([len(distinct), self.width], np.float32)
        rows_with_text = np.flatnonzero([text != b"" for text in distinct])
        sequences = self.tokenize([distinct[row] for row in rows_with_text])
        vectors[rows_with_text] = self.embed_sequences(sequences, tokens_per_batch, progress)
        return vectors[text_rows]

    def tokenize(self, texts: Sequence[str | bytes]) -> list[np.ndarray]:
        """Packed sequences of cleaned texts: one int32 array a text, [CLS] and [SEP] included."""
        sequences: list[np.ndarray] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            ragged = self._compiled.tokenize(tf.constant(texts[start : start + _TEXTS_AT_ONCE], tf.string))
            sequences += np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])
        return sequences

    def embed_sequences(
        self,
        sequences: Sequence[np.ndarray],
        tokens_per_batch: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of packed sequences, encoded in batches of similar length: float32 [len(sequences), width].

        Args:
          sequences: as `tokenize` returns them.
          tokens_per_batch, progress: see `encode_texts`.
        """
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        vectors = np.zeros([len(sequences), self.width], np.float32)
        done = 0
        for rows in batches_by_length(lengths, tokens_per_batch):
            vectors[rows] = self._compiled.embed(self.pad([sequences[row] for row in rows])).numpy()
            done += len(rows)
            if progress:
                progress(done, len(sequences))
        return vectors

    def pad(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Pads packed sequences to the longest of them: int32 [len(sequences), T]."""
        padded = np.full([len(sequences), max(map(len, sequences), default=0)], self._packer.padding_id, np.int32)
        for index, sequence in enumerate(sequences):
            padded[index, : len(sequence)] = sequence
        return padded

    @property
    def backbone(self) -> keras_nlp.models.BertBackbone:
        """The KerasNLP model. After training it, call `update_from_backbone`."""
        return self._parts.backbone

    def update_from_backbone(self) -> None:
        """Copies the backbone's current weights into the inference pass."""
        self._bert.update_from_backbone()

    def save(self, directory: Path) -> None:
        """Writes a BERT directory with the backbone's current weights, which `load_encoder` reads.

        Args:
          directory: is created; should not exist.
        """
        directory.mkdir(parents=True)
        write_directory(directory, self.backbone, self._parts.tokenizer, self.pooling)


def _compile(function: Callable, *signature: tf.TensorSpec) -> Callable:
    return tf.function(function, input_signature=signature, autograph=False)
