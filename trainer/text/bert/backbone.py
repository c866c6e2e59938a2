"""Builds a KerasNLP BERT from a BERT directory and writes one back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError
from trainer.text.bert.directory import ACTIVATIONS, POOLINGS, WEIGHTS_FILE, BertFiles
from trainer.text.bert.weights import load_weights, save_weights
from trainer.text.quiet_keras_nlp import keras_nlp


@tf.autograph.experimental.do_not_convert  # AutoGraph would convert all of tf-keras: 9 seconds a process, no benefit
def build_backbone(files: BertFiles) -> keras_nlp.models.BertBackbone:
    """A KerasNLP BERT with the weights of the directory and the activation and epsilon of its `config.json`.

    Raises:
      TowersError: the weights file is damaged, a tensor is missing, or one has another shape than in `config.json`.
    """
    config = files.config
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"],
        num_segments=config["type_vocab_size"],
        dropout=0.0,
    )
    epsilon = config["layer_norm_eps"]
    activation = ACTIVATIONS[config["hidden_act"]]
    backbone.embeddings_layer_norm.epsilon = epsilon
    for layer in backbone.transformer_layers:
        layer._self_attention_layer_norm.epsilon = epsilon
        layer._feedforward_layer_norm.epsilon = epsilon
        layer._feedforward_intermediate_dense.activation = activation
    load_weights(files.directory / WEIGHTS_FILE, backbone)
    return backbone


def write_directory(
    directory: Path, backbone: keras_nlp.models.BertBackbone, tokenizer: keras_nlp.models.BertTokenizer, pooling: str
) -> None:
    """Writes a BERT directory, which `trainer.text.bert.directory.read` and `build_backbone` read.

    Args:
      directory: should exist and be empty.
      backbone: its current weights are written.
      tokenizer: the one that the backbone was built for.
      pooling: "mean", "cls" or "max".
    """
    first = backbone.transformer_layers[0]
    config = {
        "model_type": "bert",
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": backbone.num_segments,
        "hidden_act": _activation_name(first._feedforward_intermediate_dense.activation),
        "layer_norm_eps": backbone.embeddings_layer_norm.epsilon,
    }
    options = {
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_on_cjk,
    }
    modes = {mode: name == pooling for mode, name in POOLINGS.items()}
    (directory / "1_Pooling").mkdir()
    for path, document in (
        ("config.json", config),
        ("tokenizer_config.json", options),
        ("1_Pooling/config.json", modes),
    ):
        (directory / path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    vocabulary = "".join(f"{token}\n" for token in tokenizer.get_vocabulary())
    (directory / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    save_weights(directory / WEIGHTS_FILE, backbone)


def _activation_name(activation: Any) -> str:
    """The name of an activation in `config.json`. KerasNLP has functions of its own, so their values are compared."""
    x = tf.linspace(-4.0, 4.0, 81)
    for name, function in ACTIVATIONS.items():
        if np.allclose(function(x), activation(x), atol=1e-6):
            return name
    raise TowersError(f"the encoder's activation should be one of {', '.join(ACTIVATIONS)}. Received: {activation}")
