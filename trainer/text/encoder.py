"""The text encoder: raw strings to unit vectors, one implementation for Beam, training and the served graph."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError, UsageError
from trainer.text import weights
from trainer.text.cleaning import CLEANING_VERSION, clean
from trainer.text.forward import Forward
from trainer.text.quiet_keras_nlp import keras_nlp
from trainer.text.tokenizer import Packer
from trainer.training.precision import FLOAT32

ENCODING_VERSION = "1"  # part of every fingerprint: raise it when packing, pooling or normalisation changes
_CHUNK = 4096  # texts tokenized at once in `encode_texts`
TOKENS_PER_PASS = 64  # of a small BERT on a processor of a few cores
# A batch is cut where a text is this much shorter than the longest before it, see `TextEncoder._embed_by_length`.
_SHORTER = 0.75


class TextEncoder(tf.Module):
    """Cleaning, WordPiece tokenizer, BERT and pooling in one callable.

    Works eagerly, inside `tf.function` and in an exported SavedModel (the vocabulary is a constant of the graph, the
    weights are tracked variables; no op that stock TensorFlow Serving lacks). Build it with `load`.

    Attributes:
      encoder: what it was loaded from, as `load` takes it.
      width: size of a vector.
      max_tokens: longest sequence read, [CLS] and [SEP] included.
      fingerprint: hex; changes with the weights, vocabulary, tokenizer options, cleaning, pooling, `max_tokens` and
        the type of the matrix products.
      pooling: "mean", "cls" or "max".
      tokens_per_pass: how many tokens of padding cost what one more pass of the encoder costs; see `__call__`.
    """

    @tf.autograph.experimental.do_not_convert  # see weights.build_backbone
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
        self._forward = Forward(backbone, products)
        # In namespaces, because saving looks into every Keras model and tf.function that is an attribute of a module.
        self._parts = types.SimpleNamespace(backbone=backbone, tokenizer=tokenizer)
        self._compiled = types.SimpleNamespace(
            clean=_compiled(clean, tf.TensorSpec([None], tf.string)),
            tokenize=_compiled(self._packer, tf.TensorSpec([None], tf.string)),
            embed=_compiled(self.embed_tokens, tf.TensorSpec([None, None], tf.int32)),
        )

    @tf.autograph.experimental.do_not_convert
    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Encodes texts, raw or cleaned; every distinct text of the batch once, an empty one not at all.

        Short texts are not padded to the length of long ones where that would cost more than a pass of their own. A
        pass costs as much as `tokens_per_pass` tokens: the weights are read from memory once more.

        Args:
          texts: string [B].

        Returns:
          float32 [B, width], of unit length; zeros where nothing is left of the text after cleaning.
        """
        distinct, place = tf.unique(clean(texts))  # [U], [B]
        written = tf.not_equal(distinct, "")  # [U]
        tokens = self._packer(tf.boolean_mask(distinct, written))  # [W, (T)]
        vectors = self._embed_by_length(tokens)  # [W, width]
        vectors = tf.concat([tf.zeros([1, self.width]), vectors], axis=0)  # [1 + W, width]
        row = tf.where(written, tf.cumsum(tf.cast(written, tf.int32)), 0)  # [U]
        return tf.ensure_shape(tf.gather(vectors, tf.gather(row, place)), [None, self.width])

    @tf.autograph.experimental.do_not_convert
    def embed_tokens(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Unit vectors of packed sequences: int32 [B, T], padded -> float32 [B, width]."""
        inputs = self.bert_inputs(token_ids)
        return self.pool(self._forward(inputs["token_ids"], inputs["padding_mask"]), inputs["padding_mask"])

    def refresh(self) -> None:
        """Encodes with the backbone's weights as they are now: to be called after they were trained."""
        self._forward.refresh()

    def bert_inputs(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the backbone takes, each int32 [B, T]: `token_ids`, `segment_ids`, `padding_mask`."""
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
        """Encodes any number of texts in length-sorted batches.

        Args:
          texts: raw or cleaned.
          tokens_per_batch: no batch holds more tokens, padding included (a single text may).
          progress: called after each batch with the number of distinct texts done and of all distinct texts.

        Returns:
          float32 [len(texts), width]; zeros for an empty text.
        """
        rows_of: dict[bytes, int] = {}  # of the distinct cleaned texts
        inverse: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            cleaned = self._compiled.clean(tf.constant(texts[start : start + _CHUNK], tf.string)).numpy()
            inverse += (rows_of.setdefault(text, len(rows_of)) for text in cleaned)
        distinct = list(rows_of)
        vectors = np.zeros([len(distinct), self.width], np.float32)
        written = np.flatnonzero([text != b"" for text in distinct])
        sequences = self.tokenize([distinct[row] for row in written])
        vectors[written] = self.embed_sequences(sequences, tokens_per_batch, progress)
        return vectors[inverse]

    def tokenize(self, texts: Sequence[str | bytes]) -> list[np.ndarray]:
        """Packed sequences of cleaned texts: one int32 array a text, [CLS] and [SEP] included."""
        sequences: list[np.ndarray] = []
        for start in range(0, len(texts), _CHUNK):
            ragged = self._compiled.tokenize(tf.constant(texts[start : start + _CHUNK], tf.string))
            sequences += np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])
        return sequences

    def embed_sequences(
        self,
        sequences: Sequence[np.ndarray],
        tokens_per_batch: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of packed sequences, encoded in length-sorted batches: float32 [len(sequences), width].

        Args:
          sequences: as `tokenize` gives them.
          tokens_per_batch, progress: see `encode_texts`.
        """
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        vectors = np.zeros([len(sequences), self.width], np.float32)
        done = 0
        for rows in batches_by_length(lengths, tokens_per_batch):
            vectors[rows] = self._compiled.embed(self.padded([sequences[row] for row in rows])).numpy()
            done += len(rows)
            if progress:
                progress(done, len(sequences))
        return vectors

    def padded(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Packed sequences, padded to the longest of them: int32 [len(sequences), T]."""
        padded = np.full([len(sequences), max(map(len, sequences), default=0)], self._packer.padding_id, np.int32)
        for index, sequence in enumerate(sequences):
            padded[index, : len(sequence)] = sequence
        return padded

    def _embed_by_length(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Unit vectors of packed sequences, in groups of like length: int32 [W, (T)] -> float32 [W, width]."""
        order = tf.argsort(tokens.row_lengths(), direction="DESCENDING", stable=True)
        tokens = tf.gather(tokens, order)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)  # [W]
        count = tf.size(lengths)

        def group(start: tf.Tensor, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rest = lengths[start:]
            saved = (rest[0] - rest) * tf.range(count - start, 0, -1)  # tokens, if the group ended before this text
            shorter = tf.cast(rest, tf.float32) <= _SHORTER * tf.cast(rest[0], tf.float32)
            ends = tf.where(shorter & (saved > self.tokens_per_pass))[:, 0]
            end = start + tf.cast(tf.concat([ends, [tf.size(rest, tf.int64)]], axis=0)[0], tf.int32)
            padded = tokens[start:end].to_tensor(self._packer.padding_id)
            return end, tf.concat([vectors, self.embed_tokens(padded)], axis=0)

        _, vectors = tf.while_loop(
            lambda start, _: start < count,
            group,
            [0, tf.zeros([0, self.width])],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, self.width])],
        )
        return tf.gather(vectors, tf.argsort(order))

    @property
    def backbone(self) -> keras_nlp.models.BertBackbone:
        """The model; where it is trained, `refresh` brings the encoder up to date."""
        return self._parts.backbone

    def save(self, directory: Path) -> str:
        """Writes a BERT directory that `load` reads, with the weights as they are now; returns its fingerprint.

        Args:
          directory: is made; should not exist.
        """
        directory.mkdir(parents=True)
        weights.write(directory, self.backbone, self._parts.tokenizer, self.pooling)
        return describe(str(directory), self.max_tokens)[1]


def batches_by_length(lengths: np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Rows in batches of like length, longest first, at most `tokens_per_batch` tokens each, padding included.

    The longest come first so that a budget too large for the memory fails at once.

    Args:
      lengths: int [n], tokens of each row.

    Yields:
      int64 arrays of rows; together each row once.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, int(tokens_per_batch // max(1, lengths[order[start]])))
        yield order[start : start + size]
        start += size


def load(
    name: str, max_tokens: int, products: tf.DType = FLOAT32, tokens_per_pass: int = TOKENS_PER_PASS
) -> TextEncoder:
    """Loads a pretrained encoder.

    Args:
      name: `all-MiniLM-L6-v2`, a BERT directory (see `trainer.text.weights`), or a KerasNLP preset of a BERT
        (`bert_base_zh`, `bert_base_multi`, ...), which is downloaded on first use.
      max_tokens: longest sequence read, [CLS] and [SEP] included.
      products: type of the matrix products; see `trainer.training.precision`.
      tokens_per_pass: see `TextEncoder`.

    Raises:
      UsageError: no such encoder, or `max_tokens` does not suit it.
      TowersError: its files are missing, damaged or not to be had.
    """
    if _is_preset(name):
        return _load_preset(name, max_tokens, products, tokens_per_pass)
    files = weights.read(name)
    _check_max_tokens(max_tokens, files.max_positions, name)
    tokenizer = keras_nlp.models.BertTokenizer(
        vocabulary=list(files.vocabulary),
        lowercase=files.lowercase,
        strip_accents=files.strip_accents,
        split_on_cjk=files.split_on_cjk,
    )
    return TextEncoder(
        name,
        weights.build_backbone(files),
        tokenizer,
        pooling=files.pooling,
        max_tokens=max_tokens,
        fingerprint=_fingerprint(files.identity(), max_tokens, products),
        products=products,
        tokens_per_pass=tokens_per_pass,
    )


def describe(name: str, max_tokens: int, products: tf.DType = FLOAT32) -> tuple[int, str]:
    """Width and fingerprint of an encoder, without loading its weights where they lie in a directory.

    Raises: as `load`.
    """
    if _is_preset(name):
        encoder = load(name, max_tokens, products)
        return encoder.width, encoder.fingerprint
    files = weights.read(name)
    _check_max_tokens(max_tokens, files.max_positions, name)
    return files.width, _fingerprint(files.identity(), max_tokens, products)


def _compiled(function: Callable, *signature: tf.TensorSpec) -> Callable:
    return tf.function(function, input_signature=signature, autograph=False)


def _is_preset(name: str) -> bool:
    return weights.locate(name) is None and name in keras_nlp.models.BertBackbone.presets


def _load_preset(name: str, max_tokens: int, products: tf.DType, tokens_per_pass: int) -> TextEncoder:
    try:
        backbone = keras_nlp.models.BertBackbone.from_preset(name)
        tokenizer = keras_nlp.models.BertTokenizer.from_preset(name)
    except Exception as error:  # whatever the hub's client and its transport raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TowersError(
            f"encoder {name}: KerasNLP could not fetch the preset ({reason}). Go online once, or set text.encoder to "
            f"{weights.MINILM} or a BERT directory."
        ) from None
    _check_max_tokens(max_tokens, backbone.max_sequence_length, name)
    digest = hashlib.sha256()
    unread = {variable.ref() for variable in backbone.pooled_dense.weights}
    for variable in backbone.weights:
        if variable.ref() not in unread:
            digest.update(variable.numpy().tobytes())
    identity = {
        "preset": name,
        "weights": digest.hexdigest(),
        "vocabulary": hashlib.sha256("\n".join(tokenizer.get_vocabulary()).encode()).hexdigest(),
        "pooling": "mean",
    }
    return TextEncoder(
        name,
        backbone,
        tokenizer,
        pooling="mean",
        max_tokens=max_tokens,
        fingerprint=_fingerprint(identity, max_tokens, products),
        products=products,
        tokens_per_pass=tokens_per_pass,
    )


def _check_max_tokens(max_tokens: int, positions: int, name: str) -> None:
    if not 3 <= max_tokens <= positions:
        raise UsageError(
            f"`text.max_tokens` should be from 3 to the {positions} positions of {name}. "
            f"Received: max_tokens={max_tokens}"
        )


def _fingerprint(identity: dict, max_tokens: int, products: tf.DType) -> str:
    document = {
        **identity,
        "max_tokens": max_tokens,
        "cleaning": CLEANING_VERSION,
        "encoding": ENCODING_VERSION,
        "products": products.name,
    }
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()
