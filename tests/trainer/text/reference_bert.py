"""BERT in NumPy, written from the paper (Devlin et al., 2019) and the file formats, to check the encoder against.

It shares no code with `trainer.text`: neither tokenizer nor layers nor reading of weights.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


def wordpiece(text: str, vocabulary: Sequence[str]) -> list[int]:
    """[CLS] pieces [SEP] of a text of ASCII words, ASCII punctuation and Chinese characters."""
    ids = {token: index for index, token in enumerate(vocabulary)}
    pieces = ["[CLS]"]
    for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
        start, word_pieces = 0, []
        while start < len(word):
            ends = (end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in ids)
            end = next(ends, None)
            if end is None:
                word_pieces = ["[UNK]"]
                break
            word_pieces.append(("##" if start else "") + word[start:end])
            start = end
        pieces += word_pieces
    return [ids[piece] for piece in [*pieces, "[SEP]"]]


def embed(directory: Path, token_ids: Sequence[int], pooling: str = "mean") -> np.ndarray:
    """Unit vector of one sequence: float64 [width]."""
    config = json.loads((directory / "config.json").read_text())
    tensors = _read_safetensors(directory / "model.safetensors")
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def activation(x: np.ndarray) -> np.ndarray:
        if config["hidden_act"] == "gelu":
            return x * 0.5 * (1 + _erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))  # gelu_new

    x = tensors["embeddings.word_embeddings.weight"][list(token_ids)]  # [tokens, width]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(token_ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            dense(x, f"{name}.attention.self.{part}").reshape(len(x), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )  # [heads, tokens, width / heads]
        logits = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = (shares @ value).transpose(1, 0, 2).reshape(len(x), -1)
        x = norm(x + dense(context, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = activation(dense(x, f"{name}.intermediate.dense"))
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    pooled = {"mean": x.mean(0), "max": x.max(0), "cls": x[0]}[pooling]
    return pooled / np.linalg.norm(pooled)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Reads the format: 8 bytes with the length of the header, a JSON header, then the tensors."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(content[start:end], "<f4").reshape(entry["shape"]).astype(np.float64)
    return tensors
