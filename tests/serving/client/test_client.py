import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format

from serving.client import HistoryEvent, Recommendation, RecommenderClient, ServingError, Tls
from serving.pseudonyms import pseudonym
from serving.wire.protos.ssl_config_pb2 import SSLConfig
from tests.serving.awaited import Awaited
from tests.serving.certificates import Authority


@pytest.fixture(scope="module")
def server(tiny_models, start):
    return start(tiny_models(3).parent)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def client(server, request):
    with request.param(server.address, "tiny", timeout=10) as client:
        yield client


def item_ids(recommendations):
    return [recommendation.item_id for recommendation in recommendations]


# No TensorFlow


def test_imports_little():
    """Only gRPC, protocol buffers, NumPy and the client's own folders, so that the client starts quickly.

    gRPC itself imports the packages of its reflection and health services if they are installed.
    """
    code = "import sys\nbefore = set(sys.modules)\nimport serving.client\nprint(*sorted(set(sys.modules) - before))\n"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = done.stdout.split()
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    grpc_extras = {"grpc_reflection", "grpc_health", "grpc_status"}
    assert {name for name in packages - grpc_extras if "cython" not in name} == {"serving", "grpc", "google", "numpy"}
    parts = {name.split(".")[1] for name in modules if name.startswith("serving.")}
    assert parts == {"client", "wire", "pseudonyms", "popular_items"}


@pytest.mark.slow
def test_lives_beside_tensorflow():
    code = (
        "import sys, serving.client\n"
        "import tensorflow_serving.apis.predict_pb2\n"  # this imports TensorFlow
        "assert 'tensorflow' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Recommendations


def test_recommend_sends_what_is_given(client):
    history = [HistoryEvent("b1", text="very quiet", timestamp=7), "b2"]
    items = client.recommend(
        user_id="u1",
        history=history,
        query="读书",
        timestamp=99,
        exclude=["b8", "b9"],
        features={"device": "phone", "age": 30},
    )
    assert item_ids(items) == ["u1", "b1:very quiet:7", "b2::0", "读书@99", "phone/30", "not b8,b9"]
    assert items[0] == Recommendation("u1", score=8.0, retrieval_score=11.0)


def test_recommend_sends_defaults_for_what_is_left_out(client):
    assert item_ids(client.recommend(user_id="u1")) == ["u1", "@0", "/0", "not "]


def test_k_limits_the_list(client):
    assert item_ids(client.recommend(user_id="u1", history=["a", "b"], k=2)) == ["u1", "a::0"]


def test_an_input_the_model_does_not_have_is_named(client):
    with pytest.raises(ServingError, match=r"no input mood; it has: age, device, .*user_id") as caught:
        client.recommend(user_id="u1", features={"mood": "good"})
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(ServingError, match="no input history_event"):
        client.recommend(history=[HistoryEvent("b1", event="view")])


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 0},
        {"user_id": 5},
        {"history": [5]},
        {"history": [None]},
        {"exclude": "b1"},
        {"features": {"user_id": "u2"}, "user_id": "u1"},
        {"features": {"history_item_id": ["b"]}},
        {"features": {"age": "old"}},
        {"timestamp": "now"},
        {"timestamp": 2**70},
        {"query": "\ud800"},
        {"features": {"device": 1.5}},
        {"features": {"device": ["phone"]}},
        {"history": "b1"},
        {"history": [HistoryEvent(7)]},
        {"allowed_categories": "novel"},
        {"diversity": 1.5},
        {"diversity": float("nan")},
        {"timeout": 0},
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(client, arguments):
    with pytest.raises(ServingError, match="`") as caught:
        client.recommend(**arguments)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_signature_that_recommends_nothing(client):
    with pytest.raises(ServingError, match="should return item_id and score"):
        client.recommend(signature="serving_default")


def test_pseudonyms_go_out_and_known_ids_come_back(server, monkeypatch):
    key = b"0123456789abcdef0123"
    monkeypatch.setenv("TOWERS_KEY", key.decode())
    with RecommenderClient(
        server.address, "tiny", timeout=10, pseudonym_key_env="TOWERS_KEY", known_item_ids=["u1"]
    ) as client:
        items = item_ids(client.recommend(user_id="u1", history=["b1"], exclude=["b2"]))
    assert items == ["u1", f"{pseudonym(key, 'b1')}::0", "@0", "/0", f"not {pseudonym(key, 'b2')}"]


def test_a_key_that_cannot_be_read(monkeypatch):
    monkeypatch.delenv("TOWERS_KEY", raising=False)
    with pytest.raises(ServingError, match="TOWERS_KEY"):
        RecommenderClient("127.0.0.1:1", pseudonym_key_env="TOWERS_KEY")


# Any model


def test_predict_takes_arrays_and_lists(client):
    outputs = client.predict("two", {"a": [1, 2], "b": np.array([[1, 2]], np.int64)}, output_filter=["sum", "twice"])
    assert set(outputs) == {"sum", "twice"}
    assert outputs["sum"] == 3.0
    np.testing.assert_array_equal(outputs["twice"], [[2, 4]])
    texts = client.predict("echo", {"text": [["读", b"\xff"]]})["text"]
    assert texts.tolist() == [["读".encode(), b"\xff"]]


@pytest.mark.parametrize("value", [[[1.0], [2.0, 3.0]], ["a"], [1j], 1.0, [[1.0]]])
def test_predict_refuses_what_is_no_such_array(client, value):
    with pytest.raises(ServingError, match="input `x` should"):
        client.predict("", {"x": value})


def test_predict_tells_what_the_server_refuses(client):
    with pytest.raises(ServingError, match=r"Sent extra: \{z\}") as caught:
        client.predict("", {"x": [1.0], "z": ["a"]})
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(ServingError, match=r'no signature "nope"; it has: .*serving_default'):
        client.predict("nope", {})


def test_deadline(client):
    with pytest.raises(ServingError, match=r"within 0\.2 s") as caught:
        client.predict("slow", {"steps": 10**8}, timeout=0.2)
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_status_and_metadata(client):
    (status,) = client.status()
    assert (status.version, status.state, status.error) == (3, "AVAILABLE", "")
    metadata = client.metadata()
    assert metadata.version == 3
    assert "__saved_model_init_op" not in metadata.signatures
    two = metadata.signatures["two"]
    assert (two.inputs["b"].dtype, two.inputs["b"].shape) == (np.int64, (-1, 2))
    assert set(two.outputs) == {"sum", "twice", "flags"}


def test_unknown_model(server):
    with RecommenderClient(server.address, "other") as client, pytest.raises(ServingError) as caught:
        client.recommend(user_id="u1")
    assert caught.value.code == "NOT_FOUND"


def test_no_server():
    with RecommenderClient("127.0.0.1:1") as client, pytest.raises(ServingError, match=r"127\.0\.0\.1:1") as caught:
        client.recommend(user_id="u1")
    assert caught.value.code == "UNAVAILABLE"


def test_wrong_timeout():
    with pytest.raises(ServingError, match="`timeout=0`"):
        RecommenderClient("127.0.0.1:1", timeout=0)


def test_signatures_are_asked_for_again_after_a_swap(publish, start, tiny_models):
    """A model whose inputs changed between two versions: the call after the swap is built for the new one."""
    import tensorflow as tf

    class Renamed(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="user_id")])
        def recommend(self, user_id):
            return {"item_id": user_id[:, None] + "!", "score": tf.ones([1, 1])}

    base_path = publish(1)
    server = start(base_path)
    with RecommenderClient(server.address, "tiny", timeout=10) as client:
        assert item_ids(client.recommend(user_id="u1"))[0] == "u1"
        renamed = Renamed()
        aside = base_path.parent / "aside"
        tf.saved_model.save(renamed, str(aside), signatures={"recommend": renamed.recommend})
        aside.rename(base_path / "2")
        server.core.models["tiny"].poll()
        assert item_ids(client.recommend(user_id="u1")) == ["u1!"]


def test_labels_and_mutual_tls_of_the_server(publish, start, tmp_path):
    """The clients' settings against the server's own."""
    for version in (1, 2):
        base_path = publish(version)
    models = tmp_path / "models.config"
    models.write_text(
        f"model_config_list {{ config {{ name: 'tiny' base_path: '{base_path}' model_platform: 'tensorflow'"
        " model_version_policy { all {} } version_labels { key: 'stable' value: 1 } } }"
    )
    servers, clients = Authority("servers"), Authority("clients")
    pem = dict(zip(("server_key", "server_cert"), servers.issue("server"), strict=True), custom_ca=clients.certificate)
    tls = tmp_path / "ssl.config"
    tls.write_text(text_format.MessageToString(SSLConfig(client_verify=True, **pem)))
    files = []
    for text in (servers.certificate, *clients.issue("client")):
        files.append(tmp_path / f"{len(files)}.pem")
        files[-1].write_text(text)
    server = start(
        None,
        f"--model_config_file={models}",
        f"--ssl_config_file={tls}",
        "--allow_version_labels_for_unavailable_models",
    )
    for kind in (RecommenderClient, Awaited):
        for choice, version in (({}, 2), ({"version": 1}, 1), ({"version_label": "stable"}, 1)):
            with kind(server.address, "tiny", timeout=10, tls=Tls(*files), **choice) as client:
                assert client.wait_until_available() == version
                items = client.recommend(user_id="u1")
                assert (items.version, items[0].retrieval_score - items[0].score) == (version, version)
        with kind(server.address, "tiny", timeout=10, tls=Tls(*files), version_label="canary") as client:
            with pytest.raises(ServingError, match="Unrecognized servable version label: canary") as caught:
                client.recommend(user_id="u1")
            assert caught.value.code == "INVALID_ARGUMENT"
