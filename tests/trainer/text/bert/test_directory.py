import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny_bert
from trainer.errors import TowersError
from trainer.text.pretrained import load_encoder

MAX_TOKENS = 24


def test_a_cased_vocabulary_keeps_case(tmp_path: Path) -> None:
    path = Path(tiny_bert.write(tmp_path))
    texts = tf.constant(["book", "Book", "BOOK"])
    lower = load_encoder(str(path), MAX_TOKENS)(texts).numpy()
    np.testing.assert_array_equal(lower[0], lower[1])
    (path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = load_encoder(str(path), MAX_TOKENS)(texts).numpy()
    np.testing.assert_array_equal(cased[0], lower[0])
    assert np.abs(cased[1] - cased[0]).max() > 0.01


def damage_directory(path: Path, damage: str) -> None:
    config = json.loads((path / "config.json").read_text())
    if damage.startswith("no "):
        (path / damage.removeprefix("no ")).unlink()
    elif damage == "config not JSON":
        (path / "config.json").write_text("{")
    elif damage == "another model":
        (path / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    elif damage == "another activation":
        (path / "config.json").write_text(json.dumps({**config, "hidden_act": "swish"}))
    elif damage == "a key missing":
        del config["num_hidden_layers"]
        (path / "config.json").write_text(json.dumps(config))
    elif damage == "more layers":
        (path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    elif damage == "wider":
        (path / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    elif damage == "truncated weights":
        content = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(content[:-100])
    elif damage == "special token lost":
        (path / "vocab.txt").write_text((path / "vocab.txt").read_text(encoding="utf-8").replace("[CLS]\n", ""))
    elif damage == "token twice":
        (path / "vocab.txt").write_text((path / "vocab.txt").read_text(encoding="utf-8").replace("guitar", "book"))
    elif damage == "larger vocabulary":
        (path / "vocab.txt").write_text((path / "vocab.txt").read_text(encoding="utf-8") + "another\n")
    elif damage == "two poolings":
        (path / "1_Pooling").mkdir()
        (path / "1_Pooling" / "config.json").write_text(
            '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}'
        )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no config.json", r"config\.json is missing\. A BERT directory has"),
        ("no vocab.txt", r"vocab\.txt is missing"),
        ("no model.safetensors", r"model\.safetensors is missing \(convert"),
        ("config not JSON", r"config\.json: cannot be read as JSON"),
        ("another model", "`model_type` should be bert. Received: 'roberta'"),
        ("another activation", "`hidden_act` should be one of gelu, .* Received: 'swish'"),
        ("a key missing", "`num_hidden_layers` is missing"),
        ("more layers", r"has no tensor encoder\.layer\.2\."),
        ("wider", r"intermediate\.dense\.weight has shape \[64, 32\], .* \[32, 128\] in Keras"),
        ("truncated weights", r"model\.safetensors: cannot be read .* Download the file again"),
        ("special token lost", r"vocab\.txt: \[CLS\] is missing"),
        ("token twice", "has the token 'book' more than once"),
        ("larger vocabulary", "config.json has `vocab_size`"),
        ("two poolings", "should set one of"),
    ],
)
def test_a_damaged_directory_is_one_line(tmp_path: Path, damage: str, message: str) -> None:
    tiny_bert.write(tmp_path)
    damage_directory(tmp_path, damage)
    with pytest.raises(TowersError, match=message) as raised:
        load_encoder(str(tmp_path), MAX_TOKENS)
    assert "\n" not in str(raised.value)
