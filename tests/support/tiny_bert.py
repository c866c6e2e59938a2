"""Writes a tiny BERT directory with random weights, which tests load in place of a pretrained one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH = 32
LAYERS = 2
HEADS = 2
INTERMEDIATE = 64
POSITIONS = 512

WORDS = """
    the a of and in to is it for with book books read story love war history space guitar string music sound good
    great bad price cheap new old song play cat dog tea house night day city girl boy life world time url email
""".split()  # noqa: SIM905 - words without quotes are easier to read

CHINESE = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会"
    "可主发年动同工也能下过子说小书好爱读故事历史太空科幻音乐"
)


def vocabulary() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~。、",
        *letters,
        *(f"##{letter}" for letter in letters),
        *WORDS,
        *("##ing", "##ed", "##er", "##s"),
        *CHINESE,
    ]
    return list(dict.fromkeys(tokens))


def write(directory: str | Path, seed: int = 0) -> str:
    """Writes `config.json`, `vocab.txt`, `tokenizer_config.json` and `model.safetensors`; returns the directory.

    The same seed gives the same bytes. There is no pooling configuration, which means mean pooling.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary()
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": INTERMEDIATE,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "type_vocab_size": 2,
        "vocab_size": len(tokens),
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")

    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def matrix(name: str, *shape: int, scale: float = 0.2) -> None:
        tensors[name] = rng.normal(0, scale, shape).astype(np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = rng.normal(1, 0.1, WIDTH).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.1, WIDTH).astype(np.float32)

    def dense(name: str, inputs: int, outputs: int) -> None:
        matrix(f"{name}.weight", outputs, inputs)
        matrix(f"{name}.bias", outputs)

    # Words outweigh positions, so that texts with common words have similar vectors, as with a trained encoder.
    matrix("embeddings.word_embeddings.weight", len(tokens), WIDTH, scale=1.0)
    matrix("embeddings.position_embeddings.weight", POSITIONS, WIDTH, scale=0.1)
    matrix("embeddings.token_type_embeddings.weight", 2, WIDTH, scale=0.1)
    norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{name}.attention.self.{part}", WIDTH, WIDTH)
        dense(f"{name}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{name}.attention.output.LayerNorm")
        dense(f"{name}.intermediate.dense", WIDTH, INTERMEDIATE)
        dense(f"{name}.output.dense", INTERMEDIATE, WIDTH)
        norm(f"{name}.output.LayerNorm")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return str(directory)
