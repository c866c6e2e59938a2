import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from serving.export import exporter, warm_up_records
from serving.export.metadata import read_metadata, summary
from serving.export.op_check import LINKED, SCANN_PREFIX, SERVERS_OF, check_ops, missing_ops, used_ops
from serving.model_files import MAX_WARM_UP_RECORDS
from serving.popular_items import read_popular_items
from serving.server.monitoring.metrics import Registry
from serving.server.runtime import custom_ops
from serving.server.runtime.predict import run
from serving.server.runtime.servable import load
from serving.server.runtime.text_cache import TextCache
from serving.server.runtime.text_reuse import TextReuse
from tests.serving import exported
from tests.serving.exported import CANDIDATES, K, Reloaded, Session, ids_only, make_config, request, retrieval, texts
from tests.support import tiny_bert
from tests.trainer.text import raw_texts
from tfx_pipeline.preprocessing import preprocess_items
from trainer.config import Config
from trainer.errors import TowersError
from trainer.text.store.vectors import as_stored

pytestmark = pytest.mark.slow

SIGNATURES = (
    *("recommend", "recommend_embedded", "retrieve", "rank"),
    *("encode_text", "encode_user", "encode_item", "similar_items"),
)
ITEMS = {"brute_force": 40, "scann": 1100}  # enough for ScaNN to make partitions


def write_export(directory: Path, kind: str, **options) -> Path:
    config = make_config(tiny_bert.write(directory / "bert"), category="colour")
    items = exported.make_items(ITEMS[kind])
    towers = exported.make_towers(config, items)
    exporter.export(
        config,
        towers,
        None,
        index_directory=exported.make_index(config, towers, directory / "index", kind),
        dataset=exported.make_dataset(items),
        sequence_transform=exported.make_transform(config, directory / "transform"),
        item_transform=exported.make_item_transform(config, directory / "item_transform"),
        ingested_items=exported.make_ingested_items(items, directory / "items"),
        directory=directory / "model",
        **options,
    )
    return directory / "model"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {kind: write_export(tmp_path_factory.mktemp(kind), kind) for kind in ITEMS}


@pytest.fixture(scope="module")
def sessions(models):
    return {kind: Session(model) for kind, model in models.items()}


@pytest.fixture(params=list(ITEMS))
def kind(request):
    return request.param


@pytest.fixture
def call(sessions, kind):
    return sessions[kind]


class TestAnswers:
    def test_signatures(self, call):
        signatures = call.definition.signature_def
        assert {"serving_default", *SIGNATURES} == {name for name in signatures if not name.startswith("__")}
        assert set(signatures["recommend"].inputs) == set(request())
        for name, tensor in signatures["recommend"].inputs.items():
            assert [d.size for d in tensor.tensor_shape.dim] == [-1] * request()[name].ndim
        for name, tensor in signatures["recommend"].outputs.items():
            assert [d.size for d in tensor.tensor_shape.dim] == [-1, K], name

    def test_ids_out_best_first_and_distinct(self, call):
        for inputs, signature, columns in (
            (request(3), "recommend", K),
            (retrieval(request(3)), "retrieve", CANDIDATES),
        ):
            answer = call(signature, inputs)
            assert answer["item_id"].shape == answer["score"].shape == (3, columns)
            for row in texts(answer["item_id"]):
                assert len(set(row)) == columns
                assert all(item.startswith("item-") for item in row)
            assert (np.diff(answer["score"], axis=1) <= 0).all()

    def test_serving_default_is_recommend_and_begins_retrieve(self, call):
        default, recommended = (call(signature, request()) for signature in ("serving_default", "recommend"))
        retrieved = call("retrieve", retrieval(request()))
        assert set(default) == {"item_id", "score", "retrieval_score", "reason_history_position"}
        signatures = call.definition.signature_def
        assert signatures["serving_default"] == signatures["recommend"]  # one part of the graph, prepared once
        np.testing.assert_array_equal(default["item_id"], recommended["item_id"])
        np.testing.assert_array_equal(recommended["item_id"], retrieved["item_id"][:, :K])
        np.testing.assert_allclose(recommended["retrieval_score"], retrieved["score"][:, :K], rtol=1e-5)

    @pytest.mark.parametrize(
        "changed",
        [
            {"history_text": [["war"] * 3] * 2},
            {"history_event": [["buy"] * 3] * 2},
            {"history_rating": [[1.0] * 3] * 2},
            {"history_timestamp": [[1, 2, 3]] * 2},
            {"timestamp": [1_800_000_000] * 2},
            {"query_text": ["科幻"] * 2},
            {"context_device": ["web"] * 2},
            {"profile_language": ["en"] * 2},
            {"profile_age": [70.0] * 2},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_every_input_counts(self, call, changed):
        before, after = call("recommend", request()), call("recommend", request(**changed))
        assert not np.allclose(before["score"], after["score"], atol=1e-4)

    def test_rows_do_not_depend_on_each_other(self, call):
        both = request(2)
        together = call("recommend", both)
        for row in range(2):
            alone = call("recommend", {name: value[row : row + 1] for name, value in both.items()})
            np.testing.assert_array_equal(together["item_id"][row], alone["item_id"][0])
            np.testing.assert_allclose(together["score"][row], alone["score"][0], atol=1e-5)

    def test_kept_vectors_of_texts_change_nothing(self, models, call, kind):
        servable = load("recommender", 1, models[kind])
        registry = Registry()
        servable.text_reuse = TextReuse.from_metadata(servable, models[kind], TextCache(2**20, registry))
        for inputs in (request(3), request(3), request(2, 6), request(1, history_text=[["", "new", ""]])):
            expected = call("recommend", inputs)
            for key in ("recommend", "serving_default"):
                signature = servable.signatures[key]
                arrays = [inputs[alias] for alias in signature.inputs]
                answer = dict(
                    zip(signature.outputs, run(servable, signature, arrays, signature.outputs.values()), strict=True)
                )
                np.testing.assert_array_equal(answer["item_id"], expected["item_id"])
                np.testing.assert_allclose(
                    answer["score"], expected["score"], atol=1e-4
                )  # in another batch a vector may round otherwise
        # The titles of the first two requests, the query, and one new text.
        assert ':text_cache:lookups{result="miss"} 6' in registry.text()
        servable.close()

    def test_padding_changes_nothing(self, call):
        plain = call("recommend", request())
        padded = request()
        for name, value in padded.items():
            if name.startswith(("history_", "exclude_")):
                empty = b"" if value.dtype == object else 0
                padded[name] = np.pad(value, [[0, 0], [0, 4]], constant_values=empty)
        answer = call("recommend", padded)
        np.testing.assert_array_equal(plain["item_id"], answer["item_id"])
        np.testing.assert_allclose(plain["score"], answer["score"], atol=1e-5)

    def test_of_a_long_history_the_last_events_count(self, call):
        long = request(2, 30)
        short = {n: v[:, -4:] if n.startswith("history_") else v for n, v in long.items()}
        # What was cut off is still excluded: compare with those exclusions given.
        short["exclude_item_id"] = long["history_item_id"][:, :-4]
        a, b = call("recommend", long), call("recommend", short)
        np.testing.assert_array_equal(a["item_id"], b["item_id"])
        np.testing.assert_allclose(a["score"], b["score"], atol=1e-5)

    def test_batch_of_none(self, call):
        for events in (0, 3):
            assert call("recommend", request(0, events))["item_id"].shape == (0, K)
            assert call("retrieve", retrieval(request(0, events)))["item_id"].shape == (0, CANDIDATES)
        assert call("encode_text", {"text": np.array([], object)})["embedding"].shape == (0, tiny_bert.WIDTH)

    def test_newcomer(self, call):
        answer = call("recommend", request(1, 0, query_text=[""], profile_language=["xx"], profile_age=[np.nan]))
        assert (answer["item_id"] != b"").all()
        assert np.isfinite(answer["score"]).all()

    def test_unknown_items_are_events_all_the_same(self, call):
        unknown = request(1, 2, history_item_id=[["new-1", "new-2"]])
        other_text = {**unknown, "history_text": np.array([[b"war", b"love"]], object)}
        a, b, none = call("recommend", unknown), call("recommend", other_text), call("recommend", request(1, 0))
        assert not np.allclose(a["score"], b["score"], atol=1e-4)
        assert not np.allclose(a["score"], none["score"], atol=1e-4)

    def test_missing_rating_and_age_are_not_numbers(self, call):
        rated, missing, blank, nan = (
            call("recommend", request(1, 1, history_rating=[[value]])) for value in (2.0, -1.0, 0.0, np.nan)
        )
        np.testing.assert_allclose(missing["score"], nan["score"], atol=1e-6)
        np.testing.assert_allclose(blank["score"], nan["score"], atol=1e-6)
        assert not np.allclose(rated["score"], nan["score"], atol=1e-4)

    def test_encode_text(self, call):
        answer = call("encode_text", {"text": np.array([b"a story", b"", b"a story", b"guitar"], object)})["embedding"]
        np.testing.assert_allclose(np.linalg.norm(answer, axis=1), [1, 0, 1, 1], atol=1e-5)
        np.testing.assert_allclose(answer[0], answer[2], atol=1e-6)
        assert not np.allclose(answer[0], answer[3], atol=0.1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(raw_texts.texts, st.binary(max_size=40)), min_size=1, max_size=20))
def test_texts_are_cleaned_as_for_training(cleaning, batch):
    """On the one hand the Transform step's function, on the other what was exported."""
    raw = [text.encode() if isinstance(text, str) else text for text in batch]
    data = {
        "interactions": {"path": "i", "user_id": "u", "item_id": "i", "time": "t", "time_format": "order"},
        "items": {"path": "x", "item_id": "i", "text": ["title"]},
    }
    config = Config.model_validate({"name": "texts", "data": data}).to_json()
    inputs = dict.fromkeys(["item_id", "title", "text", "train_count", "occurs"], tf.constant(raw))
    trained_on = preprocess_items(inputs, {"config": config})["text"].numpy().tolist()
    assert cleaning(raw) == trained_on


@pytest.fixture(scope="module")
def cleaning(models):
    return exported.cleaning_of(models["brute_force"])


class TestExclusions:
    @pytest.mark.parametrize("left", [0, 1, 3, K, K + 1])
    def test_hold_up_to_the_whole_catalogue(self, call, kind, left):
        ids = [f"item-{i:04d}" for i in range(ITEMS[kind])]
        banned = ids[left:]
        answer = call("recommend", request(1, 0, exclude_item_id=[banned]))
        row = texts(answer["item_id"])[0]
        item_ids = [item for item in row if item]
        assert len(item_ids) == min(left, K)
        assert not set(item_ids) & set(banned)
        assert row[len(item_ids) :] == [""] * (K - len(item_ids))
        assert (answer["score"][0, len(item_ids) :] == 0).all()
        assert (answer["retrieval_score"][0, len(item_ids) :] == 0).all()

    def test_the_rest_moves_up(self, call):
        everything = texts(call("retrieve", retrieval(request(1, 0)))["item_id"])[0]
        for banned in (everything[:1], everything[1:4], everything[:2] * 3 + ["no-such-item"]):
            answer = texts(call("retrieve", retrieval(request(1, 0, exclude_item_id=[banned])))["item_id"])[0]
            expected = [item for item in everything if item not in banned]
            assert answer[: len(expected)] == expected
            assert len(set(answer)) == CANDIDATES

    def test_of_one_user_do_not_touch_another(self, call, kind):
        banned = [f"item-{i:04d}" for i in range(ITEMS[kind])]
        alone = texts(call("recommend", request(1, 0))["item_id"])[0]
        both = request(2, 0, exclude_item_id=[banned, [""] * len(banned)])
        answer = texts(call("recommend", both)["item_id"])
        assert answer == [[""] * K, alone]

    def test_only_the_allowed_categories_come_back(self, call, kind):
        """Item i has the colour i % 5: green is the second, yellow the fourth."""
        allowed = request(3, 2, allowed_category=[["green", ""], ["", "yellow"], ["", ""]])
        green, yellow, any_colour = texts(call("recommend", allowed)["item_id"])
        assert [{int(item[-4:]) % 5 for item in row} for row in (green, yellow)] == [{2}, {4}]
        assert any_colour == texts(call("recommend", request(3, 2))["item_id"])[2]
        but_one = [f"item-{i:04d}" for i in range(ITEMS[kind]) if i != 12]
        few = request(1, 0, allowed_category=[["green"]], exclude_item_id=[but_one])
        assert texts(call("recommend", few)["item_id"])[0] == ["item-0012"] + [""] * (K - 1)
        unknown = call("recommend", request(1, 0, allowed_category=[["no such colour"]]))
        assert texts(unknown["item_id"])[0] == [""] * K

    def test_a_category_that_the_towers_do_not_know_is_allowed_by_its_name(self, call, kind):
        late = {item for place, item in enumerate(exported.make_items(ITEMS[kind]).item_id) if place % 10 == 0}
        (item_ids,) = texts(call("recommend", request(1, 0, allowed_category=[[exported.LATE_COLOUR]]))["item_id"])
        assert len(set(item_ids) - {""}) == min(K, len(late))
        assert set(item_ids) - {""} <= late

    def test_history_is_excluded_beyond_what_is_read(self, call):
        everything = texts(call("retrieve", retrieval(request(1, 0)))["item_id"])[0]
        history = [[*everything, "item-0030", "item-0031", "item-0032", "item-0033"]]  # only 4 are read
        answer = texts(call("recommend", request(1, len(history[0]), history_item_id=history))["item_id"])[0]
        assert not set(answer) & set(history[0])


class TestDiversity:
    @pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
    def test_out_of_range_is_named(self, call, value):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"`diversity` should be from 0 to 1"):
            call("recommend", request(2, diversity=[0.0, value]))

    def test_is_each_rows_own(self, call):
        """The same candidates in another order: with some, the first is the best still."""
        rows = {n: np.concatenate([v[:1]] * 3) for n, v in request(1, diversity=[0.0]).items()}
        rows["diversity"] = np.array([0.0, 0.9, 0.0], np.float32)
        plain, diverse, again = texts(call("recommend", rows)["item_id"])
        candidates = texts(call("retrieve", retrieval(request(1)))["item_id"])[0]
        assert plain == again == candidates[:K]
        assert diverse[0] == plain[0]
        assert diverse != plain
        assert set(diverse) <= set(candidates)


class TestForms:
    def test_reloaded_equals_session(self, models, call, kind):
        reloaded = Reloaded(models[kind])
        inputs = request(3, exclude_item_id=[["item-0001"], ["item-0002"], [""]])
        for signature, sent in (("recommend", inputs), ("retrieve", retrieval(inputs))):
            a, b = call(signature, sent), reloaded(signature, sent)
            np.testing.assert_array_equal(a["item_id"], b["item_id"])
            np.testing.assert_allclose(a["score"], b["score"], atol=1e-5)
        text = {"text": np.array([b"guitar", b""], object)}
        np.testing.assert_allclose(
            call("encode_text", text)["embedding"], reloaded("encode_text", text)["embedding"], atol=1e-6
        )

    def test_answers_are_the_towers_own(self, sessions, tmp_path):
        """Eager towers, on features made by hand, give the scores of the exported graph."""
        config = make_config(tiny_bert.write(tmp_path / "bert"))
        items = exported.make_items(ITEMS["brute_force"])
        towers = exported.make_towers(config, items)
        from trainer.text.pretrained import load_encoder

        encode = load_encoder(config.text.encoder, config.text.max_tokens)
        inputs = request(1, 3)
        written = [text.decode() for text in inputs["history_text"][0]]
        features = {
            "item_index": tf.constant([[int(i[-4:]) + 1 for i in inputs["history_item_id"][0]]]),
            "length": tf.constant([3]),
            "text": as_stored(encode(tf.constant(written)))[tf.newaxis],
            "event": tf.constant([[1, 2, 0]]),
            "rating": tf.constant(inputs["history_rating"]),
            "timestamp": tf.constant(inputs["history_timestamp"]),
            "query": as_stored(encode(tf.constant(["guitar music"]))),
            "request_timestamp": tf.constant(inputs["timestamp"]),
            "context_device": tf.constant([1]),
            "profile_language": tf.constant([1]),
            "profile_age": tf.constant([2]),
        }
        vectors = towers.item_vectors()
        scores = tf.matmul(towers.encode(features, vectors), vectors, transpose_b=True).numpy()[0, 1:]
        scores[[int(i[-4:]) for i in inputs["history_item_id"][0]]] = -np.inf
        best = np.argsort(-scores)[:K]
        answer = sessions["brute_force"]("recommend", inputs)
        assert texts(answer["item_id"])[0] == [items.item_id[i] for i in best]
        np.testing.assert_allclose(answer["score"][0], scores[best], atol=1e-4)

    def test_without_our_code(self, models, sessions, tmp_path):
        """In a process that has imported nothing but TensorFlow, tensorflow-text and ScaNN."""
        program = textwrap.dedent("""
            import json, sys
            import numpy as np, scann, tensorflow as tf, tensorflow_text
            answers = []
            for directory in json.loads(sys.argv[1]):
                with tf.compat.v1.Session(graph=tf.Graph()) as session:
                    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory)
                    signature = meta.signature_def["recommend"]
                    inputs = json.loads(sys.argv[2])
                    feeds = {}
                    for name, value in inputs.items():
                        tensor = signature.inputs[name]
                        array = np.array(value, tf.as_dtype(tensor.dtype).as_numpy_dtype)
                        matrix = len(tensor.tensor_shape.dim) == 2
                        feeds[tensor.name] = array.reshape(len(inputs["user_id"]), -1) if matrix else array
                    item_ids = session.run(signature.outputs["item_id"].name, feeds)
                    answers.append([[i.decode() for i in row] for row in item_ids])
            ours = [m for m in sys.modules if m.split(".")[0] in ("trainer", "serving", "tfx_pipeline")]
            print(json.dumps({"answers": answers, "ours": ours}))
        """)
        inputs = request(2)
        raw = {
            n: [x.decode() if isinstance(x, bytes) else x for x in v.reshape(-1).tolist()] for n, v in inputs.items()
        }
        finished = subprocess.run(
            [sys.executable, "-I", "-c", program, json.dumps([str(models[kind]) for kind in ITEMS]), json.dumps(raw)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        printed = json.loads(finished.stdout.splitlines()[-1])
        answers = [texts(sessions[kind]("recommend", inputs)["item_id"]) for kind in ITEMS]
        assert printed == {"answers": answers, "ours": []}


class TestBadRequests:
    @pytest.mark.parametrize(
        ("changed", "name"),
        [
            ({"timestamp": [1, 2, 3]}, "timestamp"),
            ({"query_text": ["one"]}, "query_text"),
            ({"history_text": [["one"]] * 2}, "history_text"),
        ],
    )
    def test_unequal_shapes_are_named(self, call, changed, name):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` should have"):
            call("recommend", request(**changed))


class TestWarmUp:
    def test_covers_every_signature_and_is_answered(self, models, call, kind):
        requests = list(warm_up_records.read(models[kind]))
        names = {r.model_spec.signature_name for r in requests}
        assert names == {"serving_default", *SIGNATURES}
        assert len(requests) <= MAX_WARM_UP_RECORDS
        for r in requests:
            assert r.model_spec.name == "recommender"
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in r.inputs.items()}
            call(r.model_spec.signature_name, inputs)


class TestDirectory:
    def test_metadata(self, models, kind):
        metadata = read_metadata(models[kind])
        assert metadata["items"] == ITEMS[kind]
        assert metadata["index"]["kind"] == metadata["index_report"]["kind"] == kind
        assert metadata["encoder"]["fingerprint"]
        assert metadata["versions"]["tensorflow"] == tf.__version__
        assert metadata["config"]["serving"]["k"] == K
        assert "\n" not in summary(metadata)

    def test_ops_are_those_of_the_target(self, models, kind):
        for server in SERVERS_OF[kind]:
            assert missing_ops(models[kind], server) == []
        scann_ops = {op for op in used_ops(models[kind]) if op.startswith(SCANN_PREFIX)}
        assert bool(scann_ops) == (kind == "scann")

    def test_all_signatures_share_one_searcher(self, models):
        """Without a name of its own, ScaNN builds a searcher for each place in the graph that asks for one."""
        proto = saved_model_pb2.SavedModel.FromString((models["scann"] / "saved_model.pb").read_bytes())
        library = proto.meta_graphs[0].graph_def.library.function
        names = {
            node.attr["shared_name"].s
            for function in library
            for node in function.node_def
            if node.op == "Scann>TensorsToScann"
        }
        assert len(names) == 1
        assert names != {b""}

    def test_missing_ops_are_named(self, models):
        with pytest.raises(TowersError, match="Scann>ScannSearchBatched"):
            check_ops(models["scann"], "brute_force")

    def test_ops_of_other_libraries_are_found_in_function_bodies(self, tmp_path):
        import tensorflow_text as tf_text

        class Trims(tf.Module):
            @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)])
            def trim(self, tokens):
                return tf_text.RoundRobinTrimmer(4).trim([tokens])[0].to_tensor()

            @tf.function(input_signature=[tf.TensorSpec([None])])
            def python(self, values):
                return tf.numpy_function(lambda v: v, [values], tf.float32)

        tf.saved_model.save(Trims(), str(tmp_path))
        assert missing_ops(tmp_path, "stock") == ["PyFunc", "TFText>RoundRobinTrim"]
        assert missing_ops(tmp_path, "tf_serving_scann") == ["PyFunc", "TFText>RoundRobinTrim"]
        assert missing_ops(tmp_path, "embedded") == ["PyFunc"]  # it has the package, but not the function

    def test_the_embedded_server_has_the_ops_it_is_said_to_have(self):
        custom_ops.register()
        registered = {name for name in LINKED["embedded"] if op_def_registry.get(name) is not None}
        assert registered == LINKED["embedded"]
        for server, linked in LINKED.items():
            assert linked <= registered, server
            assert not any(hasattr(tf.raw_ops, name) for name in linked), server

    def test_nothing_is_left_of_a_failed_export(self, tmp_path, monkeypatch):
        def full(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(exporter.warm_up_records, "write", full)
        config = make_config(everything=False)
        items = exported.make_items(12)
        towers = exported.make_towers(config, items, everything=False)
        index = exported.make_index(config, towers, tmp_path / "index", "brute_force")
        with pytest.raises(TowersError, match="No space left"):
            export_ids_only(tmp_path, config, towers, items, index)
        assert not (tmp_path / "model").exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_index_of_other_towers_is_refused(tmp_path):
    config = make_config(everything=False)
    items = exported.make_items(12)
    towers = exported.make_towers(config, items, everything=False)
    index = exported.make_index(config, towers, tmp_path / "index", "brute_force")
    towers.item_tower.weights[0].assign_add(tf.ones_like(towers.item_tower.weights[0]))
    with pytest.raises(TowersError, match="other item vectors"):
        export_ids_only(tmp_path, config, towers, items, index)


@pytest.mark.parametrize("exclude_history", [True, False])
def test_ids_alone_in_a_catalogue_smaller_than_k(tmp_path, exclude_history):
    """No texts, no clock, no categories: none of their inputs is asked for, and BERT is not in the graph."""
    config = make_config(everything=False, exclude_history=exclude_history)
    items = exported.make_items(3)
    towers = exported.make_towers(config, items, everything=False)
    index = exported.make_index(config, towers, tmp_path / "index", "scann")
    call = Session(export_ids_only(tmp_path, config, towers, items, index))
    answer = call("recommend", ids_only(request(1, 1)))
    row = texts(answer["item_id"])[0]
    assert row[:2] != ["", ""]
    assert row[2:] == ["" if exclude_history else row[2], "", ""]
    assert ("item-0000" in row) == (not exclude_history)
    assert "encode_text" not in call.definition.signature_def
    assert read_metadata(tmp_path / "model")["encoder"] is None


def test_brute_force_export_of_a_scann_index(tmp_path):
    config = make_config(everything=False)
    items = exported.make_items(30)
    towers = exported.make_towers(config, items, everything=False)
    index = exported.make_index(config, towers, tmp_path / "index", "scann")
    model = export_ids_only(tmp_path, config, towers, items, index, target="brute_force")
    assert not any(op.startswith(SCANN_PREFIX) for op in used_ops(model))
    assert read_popular_items(model)[0] == items.item_id[np.argmax(items.train_count)]
    other = exported.make_index(config, towers, tmp_path / "other", "brute_force")
    with pytest.raises(TowersError, match=r"index\.kind: scann"):
        export_ids_only(tmp_path / "x", config, towers, items, other, target="scann")


@pytest.mark.parametrize(("k", "candidates"), [(K, CANDIDATES), (9, 6)])
def test_recommend_ranks_what_retrieve_finds(tmp_path, k, candidates):
    """Only the first `candidates` are ranked; the others follow as they were."""
    config = make_config(everything=False, k=k, candidates=candidates)
    items = exported.make_items(30)
    towers, ranker = exported.make_towers(config, items, everything=False), exported.make_ranker(config, items)
    index = exported.make_index(config, towers, tmp_path / "index", "brute_force")
    call = Session(export_ids_only(tmp_path, config, towers, items, index, ranker=ranker))
    inputs = ids_only(request(1, 2))
    answer, retrieved = call("recommend", inputs), call("retrieve", retrieval(inputs))
    order = [list(items.item_id).index(item) + 1 for item in texts(retrieved["item_id"])[0]]

    ranker.attach(towers.item_vectors())
    history = tf.constant([[int(i[-4:]) + 1 for i in inputs["history_item_id"][0]]])
    features = {"item_index": history, "length": tf.constant([2])}
    user = towers.encode(features, towers.item_vectors())
    logits, ranked = ranker.reorder(
        features, user, tf.constant(retrieved["score"]), tf.constant([order]), tf.constant(candidates)
    )
    assert texts(answer["item_id"])[0] == [items.item_id[i - 1] for i in ranked.numpy()[0, :k]]
    np.testing.assert_allclose(answer["score"][0], logits.numpy()[0, :k], atol=1e-4)
    assert texts(answer["item_id"])[0] != texts(retrieved["item_id"])[0][:k]
    by_id = dict(zip(texts(retrieved["item_id"])[0], retrieved["score"][0], strict=True))
    expected = [by_id[item] for item in texts(answer["item_id"])[0]]
    np.testing.assert_allclose(answer["retrieval_score"][0], expected, atol=1e-5)

    everything_but_two = [[item for item in items.item_id if item not in ("item-0010", "item-0020")]]
    few = call("recommend", ids_only(request(1, 0, exclude_item_id=everything_but_two)))
    assert set(texts(few["item_id"])[0]) == {"item-0010", "item-0020", ""}
    assert texts(few["item_id"])[0][2:] == [""] * (k - 2)


def export_ids_only(directory, config, towers, items, index, ranker=None, **options):
    exporter.export(
        config,
        towers,
        ranker,
        index_directory=index,
        dataset=exported.make_dataset(items, texts=False),
        sequence_transform="unused",
        directory=directory / "model",
        **options,
    )
    return directory / "model"
