"""BERT's weights: copies them between a safetensors file and the layers of a KerasNLP BERT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from trainer.errors import TowersError
from trainer.text.quiet_keras_nlp import keras_nlp


def load_weights(path: Path, backbone: keras_nlp.models.BertBackbone) -> None:
    """Assigns the tensors of a safetensors file to the backbone's variables.

    Raises:
      TowersError: the file is damaged, a tensor is missing, or one has another shape than its variable.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            for variable, name in named_variables(backbone):
                value = file.get_tensor(_name_in_file(name, names, path)).astype(np.float32)
                if value.size != np.prod(variable.shape):
                    raise TowersError(
                        f"{path}: {name} has shape {list(value.shape)}, but the sizes in config.json make "
                        f"{variable.shape.as_list()} in Keras. The two files are of different models."
                    )
                if _is_linear_weight(name):
                    value = value.T  # [out, in] -> [in, out]
                variable.assign(value.reshape(variable.shape))  # splits kernels of attention into heads
    except (safetensors.SafetensorError, OSError) as error:
        raise TowersError(f"{path}: cannot be read ({error}). Download the file again.") from None


def save_weights(path: Path, backbone: keras_nlp.models.BertBackbone) -> None:
    """Writes the backbone's current weights as a safetensors file that `load_weights` reads."""
    tensors = {}
    for variable, name in named_variables(backbone):
        value = variable.numpy()
        if _is_linear_weight(name):
            # Kernels of attention are split into heads: [width, heads, size], the output's [heads, size, width].
            value = value.reshape(-1, backbone.hidden_dim) if "attention.output" in name else value
            value = value.reshape(len(value), -1).T
        elif name.endswith(".bias"):
            value = value.reshape(-1)
        tensors[name] = np.ascontiguousarray(value, np.float32)
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})


def named_variables(backbone: keras_nlp.models.BertBackbone) -> list[tuple[tf.Variable, str]]:
    """Every variable that the encoder uses, with the name of its tensor in a file. The pooler is not used."""

    def norm(layer: tf.keras.layers.LayerNormalization, name: str) -> list[tuple[tf.Variable, str]]:
        return [(layer.gamma, f"{name}.weight"), (layer.beta, f"{name}.bias")]

    def dense(layer: tf.keras.layers.Layer, name: str) -> list[tuple[tf.Variable, str]]:
        return [(layer.kernel, f"{name}.weight"), (layer.bias, f"{name}.bias")]

    pairs = [
        (backbone.token_embedding.embeddings, "embeddings.word_embeddings.weight"),
        (backbone.position_embedding.position_embeddings, "embeddings.position_embeddings.weight"),
        (backbone.segment_embedding.embeddings, "embeddings.token_type_embeddings.weight"),
        *norm(backbone.embeddings_layer_norm, "embeddings.LayerNorm"),
    ]
    for index, layer in enumerate(backbone.transformer_layers):
        name = f"encoder.layer.{index}"
        attention = layer._self_attention_layer
        pairs += [
            *dense(attention._query_dense, f"{name}.attention.self.query"),
            *dense(attention._key_dense, f"{name}.attention.self.key"),
            *dense(attention._value_dense, f"{name}.attention.self.value"),
            *dense(attention._output_dense, f"{name}.attention.output.dense"),
            *norm(layer._self_attention_layer_norm, f"{name}.attention.output.LayerNorm"),
            *dense(layer._feedforward_intermediate_dense, f"{name}.intermediate.dense"),
            *dense(layer._feedforward_output_dense, f"{name}.output.dense"),
            *norm(layer._feedforward_layer_norm, f"{name}.output.LayerNorm"),
        ]
    return pairs


def _is_linear_weight(name: str) -> bool:
    """Whether a tensor is the weight of a linear layer: [out, in] in the file, [in, out] in Keras."""
    return name.endswith(".weight") and "LayerNorm" not in name and "embeddings" not in name


def _name_in_file(name: str, names: set[str], path: Path) -> str:
    """The tensor's name in this file: pretraining checkpoints add the prefix `bert.`, old ones use gamma and beta."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    for candidate in (name, f"bert.{name}", old, f"bert.{old}"):
        if candidate in names:
            return candidate
    raise TowersError(f"{path}: has no tensor {name}. It should be a BERT model with the layers of config.json.")
