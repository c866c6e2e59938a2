"""Training the text encoder together with the towers: BERT's top layers, or all of it.

A step encodes the distinct texts of its batch (what users wrote and asked, and the texts of the batch's items) once,
with gradient, up to `text.tokens_per_step` tokens; where the batch has more, a random part of them. Every other text
is read as it was last encoded (`current_vectors.py`): in a step before, or when all of them were, which happens
before each validation and at the end. So the loss still covers the whole catalogue, or whichever negatives are drawn,
and a step's cost depends on neither the catalogue nor the number of texts.
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
from trainer.errors import TowersError, UsageError
from trainer.text.fine_tuning.current_vectors import CurrentTexts
from trainer.training.optimizers import TwoRateAdam

ENCODER, VECTORS = "encoder", "text_vectors.npy"  # beside the towers' weights
ROWS, TOKENS = "encoded_row", "encoded_tokens"  # what a batch has on top of the towers' features


class FineTuning:
    """An encoder that is trained, and the vectors of all texts as it makes them.

    Attributes:
      layers: the Keras layers that are trained; those below them stay as they are, and no gradient is computed there.
      texts: the vectors.

    Args:
      config: the configuration; `text.trainable_layers` is not 0.
      items: the catalogue.
      texts: all texts, and the vectors that the untrained encoder gives them.

    Raises:
      UsageError: the encoder has fewer layers than are to be trained.
      TowersError: the encoder cannot be loaded.
    """

    def __init__(self, config: Config, items: ItemTable, texts: TextVectors) -> None:
        if texts.texts is None:
            raise ValueError("`texts.texts` should be given: they are encoded anew in training. Received: None")
        from trainer.text import encoder as text_encoder  # KerasNLP is slow to import, and few runs train an encoder

        self._config, self._seed = config.text, config.seed
        self._encoder = text_encoder.load(config.text.encoder, config.text.max_tokens)
        self._sequences = self._encoder.tokenize(list(texts.texts))
        self._item_rows = np.concatenate([[NO_TEXT], items.text_row]).astype(np.int32)
        self.texts = CurrentTexts(texts.vectors)
        self._split()

    @tf.autograph.experimental.do_not_convert  # see weights.build_backbone
    def _split(self) -> None:
        backbone, wanted = self._encoder.backbone, self._config.trainable_layers
        blocks = backbone.transformer_layers
        self._trains_embeddings = wanted == "all"
        count = len(blocks) if wanted == "all" else int(wanted)
        if count > len(blocks):
            raise UsageError(
                f"`text.trainable_layers` should be at most the {len(blocks)} layers of {self._config.encoder}, or "
                f"all, which trains its embeddings too. Received: {count}"
            )
        below = blocks[-count - 1] if count < len(blocks) else backbone.embeddings_dropout
        self._below = tf.keras.Model(backbone.inputs, below.output)
        self._blocks = blocks[-count:]
        embeddings = [
            backbone.token_embedding,
            backbone.position_embedding,
            backbone.segment_embedding,
            backbone.embeddings_layer_norm,
        ]
        self.layers = [*(embeddings if self._trains_embeddings else []), *self._blocks]

    def adam(self, learning_rate: float, weight_decay: float) -> tf.keras.optimizers.Optimizer:
        """As `trainer.training.optimizers.adam`, with the encoder's own learning rate for its layers."""
        variables = [variable for layer in self.layers for variable in layer.trainable_variables]
        return TwoRateAdam(learning_rate, weight_decay, variables, self._config.learning_rate)

    def batches(self, batches: Iterable[Batch], epoch: int) -> Iterator[Batch]:
        """Adds to each batch which texts its step encodes, and their tokens: `ROWS` int32 [m], `TOKENS` int32 [m, T].

        Which they are follows from seed, epoch and batch alone, so that a resumed run draws what it would have drawn.
        """
        for batch in batches:
            generator = np.random.default_rng([self._seed, epoch, zlib.crc32(batch["item_index"].tobytes())])
            rows = self._drawn(batch, generator)
            # At least one row, so that there is something to gather from; a negative one is never asked for.
            sequences = [self._sequences[row] for row in rows] or [np.zeros(1, np.int32)]
            rows = rows if len(rows) else np.array([NO_TEXT - 1])
            yield batch | {ROWS: rows.astype(np.int32), TOKENS: self._encoder.padded(sequences)}

    def _drawn(self, batch: Batch, generator: np.random.Generator) -> np.ndarray:
        """Distinct rows of the batch's texts, sorted, as many as fit `tokens_per_step` with padding."""
        asked = [self._item_rows[batch["item_index"]]]
        asked += [batch[name] for name in ("text_row", "query_row") if name in batch]
        rows = np.unique(np.concatenate([part.reshape(-1) for part in asked]))
        rows = generator.permutation(rows[rows >= 0])
        lengths = np.array([len(self._sequences[row]) for row in rows], np.int64)
        padded = np.maximum.accumulate(lengths) * np.arange(1, len(rows) + 1)
        fitting = int(np.searchsorted(padded, self._config.tokens_per_step, side="right"))
        return np.sort(rows[: max(1, fitting)])

    @tf.autograph.experimental.do_not_convert
    def embed(self, token_ids: tf.Tensor) -> tf.Tensor:
        """As `TextEncoder.embed_tokens`, with gradients for the trained layers and none below them."""
        inputs = self._encoder.bert_inputs(token_ids)
        mask = inputs["padding_mask"]
        states = self._below(inputs, training=False)  # [m, T, width]
        if not self._trains_embeddings:
            states = tf.stop_gradient(states)
        for block in self._blocks:
            states = block(states, padding_mask=mask, training=False)
        return self._encoder.pool(states, mask)

    def refresh(self) -> None:
        """Encodes all texts with the encoder as it is now."""
        self._encoder.refresh()
        self.texts.stored.assign(
            self._encoder.embed_sequences(self._sequences, self._config.tokens_per_batch).astype(np.float16)
        )

    def before(self, validate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
        """`validate`, on vectors of the encoder as it is when it is called."""

        def refreshed() -> dict[str, float]:
            self.refresh()
            return validate()

        return refreshed

    def save(self, directory: Path) -> None:
        """Encodes all texts a last time, and writes their vectors and the encoder."""
        self.refresh()
        np.save(directory / VECTORS, self.texts.stored.numpy())
        self._encoder.save(directory / ENCODER)


def start(config: Config, items: ItemTable, texts: TextVectors | None, read: bool) -> FineTuning | None:
    """What trains the encoder, or None where it stays as it is (`text.trainable_layers: 0`).

    Args:
      config, items, texts: see `FineTuning`.
      read: whether a tower reads texts.

    Raises:
      UsageError: there is no text to train on, or the encoder has too few layers.
    """
    if config.text.trainable_layers == 0:
        return None
    if texts is None or not read:
        raise UsageError(
            f"`text.trainable_layers` should be 0 where no tower reads texts. Received: {config.text.trainable_layers}"
        )
    return FineTuning(config, items, texts)


def with_encoded_texts(compute_loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Lets a model's `compute_loss` read the texts that its `fine_tuning` encodes in this step, if there are any."""

    @functools.wraps(compute_loss)
    def computed(model: Any, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        if ROWS not in inputs:
            return compute_loss(model, inputs, training)
        features = dict(inputs)
        rows, tokens = features.pop(ROWS), features.pop(TOKENS)
        with model.fine_tuning.texts.encoded(rows, model.fine_tuning.embed(tokens)):
            return compute_loss(model, features, training)

    return computed


def trained_texts(config: Config, directory: Path, texts: TextVectors | None) -> TextVectors | None:
    """The texts' vectors as a model's own encoder makes them: `texts` itself where the encoder was not trained.

    Args:
      config: the model's.
      directory: the model's.
      texts: as the pipeline encoded them.

    Raises:
      TowersError: they cannot be read, or are of other texts.
    """
    if config.text.trainable_layers == 0 or texts is None:
        return texts
    path = directory / VECTORS
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TowersError(f"{path}: cannot be read ({error}). Train again.") from None
    if vectors.shape != texts.vectors.shape:
        raise TowersError(
            f"{path}: holds {len(vectors)} texts, here there are {len(texts.vectors)}. Use the texts of the run that "
            "trained it."
        )
    return TextVectors(vectors=vectors, encoder=str(directory / ENCODER))


def trained_encoder(config: Config, directory: Path) -> str | None:
    """The encoder that was trained with a model, as `trainer.text.encoder.load` takes it; None if there is none."""
    return str(directory / ENCODER) if config.text.trainable_layers else None
