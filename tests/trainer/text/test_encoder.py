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
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import load_encoder

pytestmark = pytest.mark.slow

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


def test_encode_texts_reports_progress(tiny: TextEncoder) -> None:
    calls: list[tuple[int, int]] = []
    vectors = tiny.encode_texts(TEXTS, 30, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (4, 4)  # distinct and not empty
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    np.testing.assert_allclose(vectors, tiny(tf.constant(TEXTS)).numpy(), atol=1e-5)
    assert tiny.encode_texts([]).shape == (0, tiny.width)


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
def test_short_texts_have_a_pass_of_their_own_where_that_costs_less(
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
def test_a_vector_depends_neither_on_its_batch_nor_on_the_method(
    tiny: TextEncoder, compiled: Callable, texts: list[str]
) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    vectors = compiled(tf.constant(texts)).numpy()
    alone = np.concatenate([compiled(tf.constant([text])).numpy() for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    np.testing.assert_allclose(tiny.encode_texts(texts, tokens_per_batch=40), alone, atol=1e-5)
