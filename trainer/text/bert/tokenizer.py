"""WordPiece tokenization into BERT's input: [CLS] tokens [SEP], as ragged ids."""

from __future__ import annotations

import tensorflow as tf

from trainer.text.bert.directory import BertFiles
from trainer.text.quiet_keras_nlp import keras_nlp


def make_tokenizer(files: BertFiles) -> keras_nlp.models.BertTokenizer:
    """The tokenizer of a BERT directory."""
    return keras_nlp.models.BertTokenizer(
        vocabulary=list(files.vocabulary),
        lowercase=files.lowercase,
        strip_accents=files.strip_accents,
        split_on_cjk=files.split_on_cjk,
    )


class Packer:
    """Turns cleaned texts into packed sequences of token ids: [CLS] tokens [SEP].

    Packs with slicing and concatenation only. KerasNLP's own packers may trim with `RoundRobinTrim`, which stock
    TensorFlow Serving lacks.

    Args:
      tokenizer: KerasNLP's BERT tokenizer.
      max_tokens: longest sequence, [CLS] and [SEP] included; longer texts lose their end.
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
