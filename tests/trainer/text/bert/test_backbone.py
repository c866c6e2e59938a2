import json
from pathlib import Path

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny_bert
from trainer.text.bert import directory as bert_directory
from trainer.text.bert.backbone import build_backbone, write_directory
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import describe_encoder, load_encoder

pytestmark = pytest.mark.slow

MAX_TOKENS = 24
TEXTS = ["the old book", "", "我爱读书", " <br> ", "Good STRINGS for a guitar!", "Café", "x" * 5000]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tiny(directory: str) -> TextEncoder:
    return load_encoder(directory, MAX_TOKENS)


def test_prefixed_old_and_half_precision_tensors_are_read(directory: str, tiny: TextEncoder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    old = Path(tiny_bert.write(tmp_path))
    tensors = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in load_file(old / "model.safetensors").items()
    }
    save_file(tensors, old / "model.safetensors")
    texts = tf.constant(["the old book"])
    np.testing.assert_array_equal(load_encoder(str(old), MAX_TOKENS)(texts), tiny(texts))
    save_file({name: value.astype(np.float16) for name, value in tensors.items()}, old / "model.safetensors")
    np.testing.assert_allclose(load_encoder(str(old), MAX_TOKENS)(texts), tiny(texts), atol=2e-3)


@pytest.mark.parametrize(("pooling", "activation"), [("cls", "gelu_new"), ("max", "relu"), ("mean", "gelu")])
def test_a_saved_encoder_gives_the_same_vectors(tmp_path: Path, pooling: str, activation: str) -> None:
    directory = Path(tiny_bert.write(tmp_path / "bert", seed=5))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.01, "hidden_act": activation}))
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    (directory / "1_Pooling").mkdir()
    modes = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{modes[pooling]}": True}))
    model = load_encoder(str(directory), MAX_TOKENS)
    model.save(tmp_path / "again")
    again = load_encoder(str(tmp_path / "again"), MAX_TOKENS)
    assert again.fingerprint == describe_encoder(str(tmp_path / "again"), MAX_TOKENS)[1]
    np.testing.assert_array_equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))
    before, after = (bert_directory.read(str(path)).identity() for path in (directory, tmp_path / "again"))
    assert after | {"weights": ""} == before | {"weights": ""}


@tf.autograph.experimental.do_not_convert  # see bert.backbone.build_backbone
def test_a_preset_can_be_written(tmp_path: Path, tiny: TextEncoder) -> None:
    """As a preset brings them: KerasNLP's own activation, and more embeddings than the vocabulary has words."""
    tokens = tiny_bert.vocabulary()
    tf.random.set_seed(1)
    backbone = keras_nlp.models.BertBackbone(len(tokens) + 3, 2, 4, 16, 24, max_sequence_length=30)
    tokenizer = keras_nlp.models.BertTokenizer(tokens, lowercase=True)
    write_directory(tmp_path, backbone, tokenizer, "mean")
    again = build_backbone(bert_directory.read(str(tmp_path)))
    inputs = tiny.bert_inputs(tf.constant([[2, 9, 30, 41, 3], [2, 7, 3, 0, 0]]))
    np.testing.assert_allclose(again(inputs)["sequence_output"], backbone(inputs)["sequence_output"], atol=1e-6)
