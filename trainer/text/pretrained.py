"""Loads pretrained text encoders: the one that is installed with this package, BERT directories, KerasNLP presets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import tensorflow as tf

from trainer.errors import TowersError, UsageError
from trainer.text.bert import directory as bert_directory
from trainer.text.bert.backbone import build_backbone
from trainer.text.bert.tokenizer import make_tokenizer
from trainer.text.cleaning import CLEANING_VERSION
from trainer.text.encoder import TextEncoder
from trainer.text.quiet_keras_nlp import keras_nlp
from trainer.training.precision import FLOAT32

ENCODING_VERSION = "1"  # part of every fingerprint: raise it when packing, pooling or normalisation changes
TOKENS_PER_PASS = 64  # measured with a small BERT on a processor with few cores


def load_encoder(
    name: str, max_tokens: int, products: tf.DType = FLOAT32, tokens_per_pass: int = TOKENS_PER_PASS
) -> TextEncoder:
    """Loads a pretrained encoder.

    Args:
      name: `all-MiniLM-L6-v2`, a BERT directory (see `trainer.text.bert.directory`), or a KerasNLP preset of a BERT
        (`bert_base_zh`, `bert_base_multi`, ...), which is downloaded on first use.
      max_tokens: longest sequence, [CLS] and [SEP] included; longer texts lose their end.
      products: type of the matrix products; see `trainer.training.precision`.
      tokens_per_pass: see `TextEncoder`.

    Raises:
      UsageError: there is no such encoder, or it has fewer positions than `max_tokens`.
      TowersError: its files are missing or damaged, or the preset cannot be downloaded.
    """
    if _is_preset(name):
        return _load_preset(name, max_tokens, products, tokens_per_pass)
    files = bert_directory.read(name)
    _check_max_tokens(max_tokens, files.max_positions, name)
    return TextEncoder(
        name,
        build_backbone(files),
        make_tokenizer(files),
        pooling=files.pooling,
        max_tokens=max_tokens,
        fingerprint=_fingerprint(files.identity(), max_tokens, products),
        products=products,
        tokens_per_pass=tokens_per_pass,
    )


def describe_encoder(name: str, max_tokens: int, products: tf.DType = FLOAT32) -> tuple[int, str]:
    """Width and fingerprint of an encoder. Weights of a BERT directory are not loaded, only hashed.

    Raises: as `load_encoder`.
    """
    if _is_preset(name):
        encoder = load_encoder(name, max_tokens, products)
        return encoder.width, encoder.fingerprint
    files = bert_directory.read(name)
    _check_max_tokens(max_tokens, files.max_positions, name)
    return files.width, _fingerprint(files.identity(), max_tokens, products)


def _is_preset(name: str) -> bool:
    return bert_directory.locate(name) is None and name in keras_nlp.models.BertBackbone.presets


def _load_preset(name: str, max_tokens: int, products: tf.DType, tokens_per_pass: int) -> TextEncoder:
    try:
        backbone = keras_nlp.models.BertBackbone.from_preset(name)
        tokenizer = keras_nlp.models.BertTokenizer.from_preset(name)
    except Exception as error:  # any type: the download library does not document its exceptions
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TowersError(
            f"encoder {name}: KerasNLP could not fetch the preset ({reason}). Go online once, or set text.encoder to "
            f"{bert_directory.MINILM} or a BERT directory."
        ) from None
    _check_max_tokens(max_tokens, backbone.max_sequence_length, name)
    return TextEncoder(
        name,
        backbone,
        tokenizer,
        pooling="mean",
        max_tokens=max_tokens,
        fingerprint=_fingerprint(_preset_identity(name, backbone, tokenizer), max_tokens, products),
        products=products,
        tokens_per_pass=tokens_per_pass,
    )


def _preset_identity(
    name: str, backbone: keras_nlp.models.BertBackbone, tokenizer: keras_nlp.models.BertTokenizer
) -> dict[str, Any]:
    """As `BertFiles.identity`: everything that decides which vector a text gets."""
    weights = hashlib.sha256()
    pooler = {variable.ref() for variable in backbone.pooled_dense.weights}  # not used by the encoder
    for variable in backbone.weights:
        if variable.ref() not in pooler:
            weights.update(variable.numpy().tobytes())
    return {
        "preset": name,
        "weights": weights.hexdigest(),
        "vocabulary": hashlib.sha256("\n".join(tokenizer.get_vocabulary()).encode()).hexdigest(),
        "pooling": "mean",
    }


def _check_max_tokens(max_tokens: int, positions: int, name: str) -> None:
    if not 3 <= max_tokens <= positions:
        raise UsageError(
            f"`text.max_tokens` should be from 3 to the {positions} positions of {name}. "
            f"Received: max_tokens={max_tokens}"
        )


def _fingerprint(identity: dict[str, Any], max_tokens: int, products: tf.DType) -> str:
    document = {
        **identity,
        "max_tokens": max_tokens,
        "cleaning": CLEANING_VERSION,
        "encoding": ENCODING_VERSION,
        "products": products.name,
    }
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()
