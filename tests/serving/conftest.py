"""SavedModels, tiny ones and a recommender, and servers around them."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import serving  # noqa: F401 - before TensorFlow
from tests.support.shared import shared_directory


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """`tiny_models(2)`: a SavedModel whose `half_plus` adds 2 and whose `recommend` names that version."""
    import tensorflow as tf

    class Tiny(tf.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = tf.Variable(float(number))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def half_plus(self, x):
            return {"y": x * 0.5 + self.number}

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.float32, name="a"), tf.TensorSpec([None, 2], tf.int64, name="b")]
        )
        def two(self, a, b):
            return {"sum": tf.reduce_sum(a), "twice": 2 * b, "flags": a > 0}

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="text")])
        def echo(self, text):
            return {"text": text, "bytes": tf.strings.length(text)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="steps")])
        def slow(self, steps):
            matrix = tf.eye(200)
            for _ in tf.range(steps):
                matrix = tf.matmul(matrix, matrix)
            return {"trace": tf.linalg.trace(matrix)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="message")])
        def refuse(self, message):
            bad = tf.boolean_mask(message, message != "")
            first = tf.concat([bad, [""]], 0)[0]
            with tf.control_dependencies([tf.debugging.assert_less(tf.size(bad), 1, message=first)]):
                return {"message": tf.identity(message)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="steps")])
        def slow_rows(self, steps):
            return {"trace": tf.fill(tf.shape(steps), self.slow(tf.reduce_max(steps))["trace"])}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name="user_id"),
                tf.TensorSpec([None, None], tf.string, name="history_item_id"),
                tf.TensorSpec([None, None], tf.string, name="history_text"),
                tf.TensorSpec([None, None], tf.int64, name="history_timestamp"),
                tf.TensorSpec([None], tf.string, name="query_text"),
                tf.TensorSpec([None], tf.int64, name="timestamp"),
                tf.TensorSpec([None, None], tf.string, name="exclude_item_id"),
                tf.TensorSpec([None], tf.string, name="device"),
                tf.TensorSpec([None], tf.float32, name="age"),
            ]
        )
        def recommend(
            self,
            user_id,
            history_item_id,
            history_text,
            history_timestamp,
            query_text,
            timestamp,
            exclude_item_id,
            device,
            age,
        ):
            """Returns its inputs as item ids: the user, the items of the history, the query, the device."""
            parts = [
                user_id[:, None],
                history_item_id + ":" + history_text + ":" + tf.strings.as_string(history_timestamp),
                query_text[:, None] + "@" + tf.strings.as_string(timestamp)[:, None],
                device[:, None] + "/" + tf.strings.as_string(tf.cast(age, tf.int32))[:, None],
                "not " + tf.strings.reduce_join(exclude_item_id, -1, keepdims=True, separator=","),
                tf.fill([tf.shape(user_id)[0], 2], ""),  # padding
            ]
            item_id = tf.concat(parts, 1)
            score = tf.cast(tf.range(tf.shape(item_id)[1], 0, -1), tf.float32)[None, :]
            return {"item_id": item_id, "score": score, "retrieval_score": score + self.number}

    directory = tmp_path_factory.mktemp("tiny_models")

    def build(number: int) -> Path:
        path = directory / str(number)
        if not path.exists():
            tiny = Tiny(number)
            signatures = {
                "serving_default": tiny.half_plus,
                **{name: getattr(tiny, name) for name in ("two", "echo", "slow", "slow_rows", "refuse", "recommend")},
            }
            tf.saved_model.save(tiny, str(path), signatures=signatures)
        return path

    return build


@pytest.fixture(scope="session")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of a small but complete recommender with every kind of input, exported as version 1."""
    return shared_directory(tmp_path_factory, "recommender", _export_recommender) / "models"


def _export_recommender(directory: Path) -> None:
    from serving.export import exporter
    from tests.serving import exported
    from tests.support import tiny_bert

    config = exported.make_config(tiny_bert.write(directory / "bert"), category="colour")
    items = exported.make_items(40)
    towers = exported.make_towers(config, items)
    exporter.export(
        config,
        towers,
        exported.make_ranker(config, items),
        index_directory=exported.make_index(config, towers, directory / "index", "brute_force"),
        dataset=exported.make_dataset(items),
        sequence_transform=exported.make_transform(config, directory / "transform"),
        item_transform=exported.make_item_transform(config, directory / "item_transform"),
        ingested_items=exported.make_ingested_items(items, directory / "items"),
        directory=directory / "models" / "1",
    )


@pytest.fixture
def publish(tmp_path: Path, tiny_models: Callable[[int], Path]) -> Callable[..., Path]:
    """`publish(2)` puts a tiny model into the base path as version 2, at once and whole; returns the base path.

    `model` is the base path's name, where a test has several.
    """

    def put(version: int, number: int | None = None, model: str = "models") -> Path:
        base_path = tmp_path / model
        aside = tmp_path / f"aside-{model}-{version}"
        shutil.copytree(tiny_models(version if number is None else number), aside)
        base_path.mkdir(exist_ok=True)
        os.replace(aside, base_path / str(version))
        return base_path

    return put


class BlockedCalls:
    """Calls that wait until the test releases them, one at a time.

    Attributes:
        begun: released by each call when it begins.
        permits: acquired by each call before it goes on.
    """

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)

    def wait_for_begin(self) -> None:
        assert self.begun.acquire(timeout=20), "no call began"

    def release(self, count: int = 1) -> None:
        self.permits.release(count)

    def around(self, function: Callable) -> Callable:
        def blocked(*arguments: object, **named: object) -> object:
            self.begun.release()
            assert self.permits.acquire(timeout=60), "the test did not release the call"
            return function(*arguments, **named)

        return blocked


@pytest.fixture
def blocked_loads(monkeypatch: pytest.MonkeyPatch) -> BlockedCalls:
    """Blocks the loads of models by servers in this process."""
    from serving.server.runtime import servable

    calls = BlockedCalls()
    monkeypatch.setattr(servable, "load", calls.around(servable.load))
    return calls


@pytest.fixture
def blocked_runs(monkeypatch: pytest.MonkeyPatch) -> BlockedCalls:
    """Blocks the runs of graphs by servers in this process."""
    from serving.server.runtime.servable import Servable

    calls = BlockedCalls()
    monkeypatch.setattr(Servable, "run", calls.around(Servable.run))
    return calls


@pytest.fixture(scope="module")
def start() -> Iterator[Callable]:
    """`start(base_path, *flags)`: a server in this process, on a free port, polling each second.

    The model is called `tiny`. Without a base path (None) the flags say what is served.
    """
    from serving.server.flags import parse_flags
    from serving.server.lifecycle import RunningServer, start_server

    servers: list[RunningServer] = []

    def run(base_path: Path | None, *flags: str) -> RunningServer:
        model = [] if base_path is None else [f"--model_base_path={base_path}", "--model_name=tiny"]
        servers.append(start_server(parse_flags([*model, "--port=0", *flags])))
        return servers[-1]

    yield run
    for server in servers:
        server.stop(0)
