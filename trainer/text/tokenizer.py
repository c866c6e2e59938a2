"""WordPiece tokenization into BERT's input: [CLS] tokens [SEP], as ragged ids."""

from __future__ import annotations

import tensorflow as tf

from trainer.text.quiet_keras_nlp import keras_nlp


class Packer:
    """Turns cleaned texts into token ids.

    Only slicing and concatenation pack the segments: KerasNLP's own packers may trim with `RoundRobinTrim`, which stock
    TensorFlow Serving lacks.

    Args:
      tokenizer: KerasNLP's BERT tokenizer.
      max_tokens: longest sequence, [CLS] and [SEP] included; what is longer loses its end.
    """

    def __init__(self, tokenizer: keras_nlp.models.BertTokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    @property
    def padding_id(self) -> int:
        return self._tokenizer.pad_token_id

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Cleaned texts, string [B] -> int32 [B, (tokens)]."""
        tokens = self._tokenizer.tokenize(texts)[:, : self._max_tokens - 2]
        ones = tf.ones([tf.shape(texts)[0], 1], tokens.dtype)
        return tf.concat([ones * self._tokenizer.cls_token_id, tokens, ones * self._tokenizer.sep_token_id], axis=1)
