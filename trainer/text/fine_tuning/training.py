"""Fine-tunes the text encoder together with the towers: the top layers of BERT, or all of it.

A training step encodes each distinct text of its batch once, with gradient: texts that users wrote, queries, and texts
of the batch's items. If they exceed `text.tokens_per_step` tokens, the step encodes a random part of them. All other
texts keep the vectors of their last encoding (`vectors.py`), either in an earlier step or when all texts were encoded,
which happens before each validation and at the end. The loss can therefore read any item of the catalogue, while the
number of texts that a step encodes depends neither on the size of the catalogue nor on the number of all texts.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import Batch
from trainer.data.tables import NO_TEXT, ItemTable, TextVectors
from trainer.errors import UsageError
from trainer.text.fine_tuning.saved import ENCODER_DIRECTORY, VECTORS_FILE
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.training.optimizers import TwoRateAdam

TEXT_ROWS, TEXT_TOKENS = "encoded_row", "encoded_tokens"  # columns of a batch, added to the towers' features


class FineTuning:
    """A text encoder in training, and its vectors of all texts.

    Attributes:
      layers: the Keras layers that are trained. Layers below them are frozen, and no gradient is computed there.
      text_vectors: vectors of all texts.

    Args:
      config: the configuration; `text.trainable_layers` is not 0.
      items: the catalogue.
      texts: all texts, with their vectors by the encoder before fine-tuning.

    Raises:
      UsageError: the encoder has fewer layers than `text.trainable_layers`.
      TowersError: the encoder cannot be loaded.
    """

    def __init__(self, config: Config, items: ItemTable, texts: TextVectors) -> None:
        if texts.texts is None:
            raise ValueError("`texts.texts` should be given: training encodes them. Received: None")
        from trainer.text.pretrained import load_encoder  # KerasNLP is slow to import, and few runs train an encoder

        self._config, self._seed = config.text, config.seed
        self._encoder = load_encoder(config.text.encoder, config.text.max_tokens)
        self._sequences = self._encoder.tokenize(list(texts.texts))
        self._item_rows = np.concatenate([[NO_TEXT], items.text_row]).astype(np.int32)
        self.text_vectors = CurrentTextVectors(texts.vectors)
        self._split_backbone()

    @tf.autograph.experimental.do_not_convert  # see bert.backbone.build_backbone
    def _split_backbone(self) -> None:
        """Splits the backbone into a frozen lower part and the blocks that are trained."""
        backbone, setting = self._encoder.backbone, self._config.trainable_layers
        blocks = backbone.transformer_layers
        self._trains_embeddings = setting == "all"
        count = len(blocks) if setting == "all" else int(setting)
        if count > len(blocks):
            raise UsageError(
                f"`text.trainable_layers` should be at most the {len(blocks)} layers of {self._config.encoder}, or "
                f"all, which trains its embeddings too. Received: {count}"
            )
        last_frozen = blocks[-count - 1] if count < len(blocks) else backbone.embeddings_dropout
        self._lower_part = tf.keras.Model(backbone.inputs, last_frozen.output)
        self._blocks = blocks[-count:]
        embeddings = [
            backbone.token_embedding,
            backbone.position_embedding,
            backbone.segment_embedding,
            backbone.embeddings_layer_norm,
        ]
        self.layers = [*(embeddings if self._trains_embeddings else []), *self._blocks]

    def adam(self, learning_rate: float, weight_decay: float) -> tf.keras.optimizers.Optimizer:
        """As `trainer.training.optimizers.Adam`, with the encoder's own learning rate for its layers."""
        variables = [variable for layer in self.layers for variable in layer.trainable_variables]
        return TwoRateAdam(learning_rate, weight_decay, variables, self._config.learning_rate)

    def add_texts(self, batches: Iterable[Batch], epoch: int) -> Iterator[Batch]:
        """Adds the texts to encode to each batch: their rows, int32 [m], and tokens, int32 [m, T].

        The choice of texts depends on nothing but seed, epoch and batch, so that a resumed run repeats it.
        """
        for batch in batches:
            generator = np.random.default_rng([self._seed, epoch, zlib.crc32(batch["item_index"].tobytes())])
            rows = self._sample_rows(batch, generator)
            # At least one row, because `CurrentTextVectors.gather` needs one. A negative row is never read.
            sequences = [self._sequences[row] for row in rows] or [np.zeros(1, np.int32)]
            rows = rows if len(rows) else np.array([NO_TEXT - 1])
            yield batch | {TEXT_ROWS: rows.astype(np.int32), TEXT_TOKENS: self._encoder.pad(sequences)}

    def _sample_rows(self, batch: Batch, generator: np.random.Generator) -> np.ndarray:
        """Random distinct rows of the batch's texts, sorted; as many as `tokens_per_step` allows, padding included."""
        columns = [self._item_rows[batch["item_index"]]]
        columns += [batch[name] for name in ("text_row", "query_row") if name in batch]
        rows = np.unique(np.concatenate([column.reshape(-1) for column in columns]))
        rows = generator.permutation(rows[rows >= 0])
        lengths = np.array([len(self._sequences[row]) for row in rows], np.int64)
        tokens = np.maximum.accumulate(lengths) * np.arange(1, len(rows) + 1)  # of the first 1, 2, ... rows, padded
        count = int(np.searchsorted(tokens, self._config.tokens_per_step, side="right"))
        return np.sort(rows[: max(1, count)])

    @tf.autograph.experimental.do_not_convert
    def embed_tokens(self, token_ids: tf.Tensor) -> tf.Tensor:
        """As `TextEncoder.embed_tokens`, with gradients for the trained layers and none below them."""
        inputs = self._encoder.bert_inputs(token_ids)
        mask = inputs["padding_mask"]
        states = self._lower_part(inputs, training=False)  # [m, T, width]
        if not self._trains_embeddings:
            states = tf.stop_gradient(states)
        for block in self._blocks:
            states = block(states, padding_mask=mask, training=False)
        return self._encoder.pool(states, mask)

    def encode_all_texts(self) -> None:
        """Encodes all texts with the encoder's current weights and stores the vectors."""
        self._encoder.update_from_backbone()
        self.text_vectors.stored.assign(
            self._encoder.embed_sequences(self._sequences, self._config.tokens_per_batch).astype(np.float16)
        )

    def encode_texts_before(self, validate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
        """Wraps `validate`: all texts are encoded with the current weights first."""

        def validate_current() -> dict[str, float]:
            self.encode_all_texts()
            return validate()

        return validate_current

    def save(self, directory: Path) -> None:
        """Encodes all texts with the final weights, and writes their vectors and the encoder."""
        self.encode_all_texts()
        np.save(directory / VECTORS_FILE, self.text_vectors.stored.numpy())
        self._encoder.save(directory / ENCODER_DIRECTORY)


def make_fine_tuning(
    config: Config, items: ItemTable, texts: TextVectors | None, reads_texts: bool
) -> FineTuning | None:
    """Makes the `FineTuning` that the configuration asks for; None if the encoder is frozen (`trainable_layers: 0`).

    Args:
      config, items, texts: see `FineTuning`.
      reads_texts: whether a tower reads texts.

    Raises:
      UsageError: no tower reads texts, or the encoder has fewer layers than `text.trainable_layers`.
    """
    if config.text.trainable_layers == 0:
        return None
    if texts is None or not reads_texts:
        raise UsageError(
            f"`text.trainable_layers` should be 0 where no tower reads texts. Received: {config.text.trainable_layers}"
        )
    return FineTuning(config, items, texts)


def encode_batch_texts(compute_loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Decorates a model's `compute_loss(inputs, training)`: the texts in the batch are encoded with current weights.

    Batches without `TEXT_ROWS` are passed on unchanged.
    """

    @functools.wraps(compute_loss)
    def compute_loss_on_current_texts(model: Any, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        if TEXT_ROWS not in inputs:
            return compute_loss(model, inputs, training)
        features = dict(inputs)
        rows, tokens = features.pop(TEXT_ROWS), features.pop(TEXT_TOKENS)
        with model.fine_tuning.text_vectors.override(rows, model.fine_tuning.embed_tokens(tokens)):
            return compute_loss(model, features, training)

    return compute_loss_on_current_texts
