"""The preprocessing_fns of the two Transform steps: text cleaning, vocabularies and quantile buckets.

Ids start at 1; 0 stands for a missing or unknown value. Vocabularies and buckets are computed from the train split
only; those of items from the whole catalogue, which is known beforehand.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer.config import Config
from trainer.data.features import NUM_BUCKETS, TEXT_FEATURES, item_features, sequence_features
from trainer.text.cleaning import clean


def preprocess_sequences(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transforms users' sequences. Lists are ragged, one value an event."""
    data = Config.from_json(custom_config["config"]).data
    outputs = {}
    for feature in sequence_features(data):
        name, value = feature.name, inputs[feature.name]
        if name in TEXT_FEATURES:
            outputs[name] = value.with_flat_values(clean(value.flat_values))
        elif name == "event" or name.startswith("context_"):
            outputs[name] = value.with_flat_values(_vocabulary_ids(value.flat_values, name))
        elif name.startswith("profile_"):
            outputs[name] = _vocabulary_ids(value, name) if feature.kind == "bytes" else _bucket(value, name)
        else:
            outputs[name] = value
    return outputs


def preprocess_items(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transforms the catalogue, one item an example."""
    data = Config.from_json(custom_config["config"]).data
    outputs = {}
    for feature in item_features(data):
        name, value = feature.name, inputs[feature.name]
        if name in ("text", "title"):
            outputs[name] = clean(value)
        elif name.startswith("categorical_"):
            outputs[name] = _vocabulary_ids(value, name)
        elif name.startswith("multi_valued_"):
            outputs[name] = value.with_flat_values(_vocabulary_ids(value.flat_values, name))
        elif name.startswith("numeric_"):
            outputs[name] = _bucket(value, name)
        else:
            outputs[name] = value
    return outputs


def _vocabulary_ids(values: tf.Tensor, name: str) -> tf.Tensor:
    """int64 ids of strings, from 1, the most frequent first; 0 = empty or not in the vocabulary."""
    present = tf.boolean_mask(values, tf.not_equal(values, ""))
    vocabulary = tft.vocabulary(present, vocab_filename=name)
    return tft.apply_vocabulary(values, vocabulary, default_value=-1) + 1


def _bucket(values: tf.RaggedTensor, name: str) -> tf.Tensor:
    """int64 [B, 1], the quantile bucket, from 1, of a list of at most one number; 0 = missing."""
    buckets = tft.bucketize(values.flat_values, NUM_BUCKETS, name=name)
    return tf.RaggedTensor.from_row_splits(buckets + 1, values.row_splits).to_tensor(0, shape=[None, 1])
