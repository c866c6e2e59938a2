"""What a run's model answers when it is served: the same whoever is asked (the batch command, the exported graph, the
server by gRPC and by REST), and with reasons that hold.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.client import RecommenderClient, UserRequest
from serving.client.input_batches import batch_inputs, user_row
from serving.client.prediction_client import PredictionClient
from serving.export.metadata import read_metadata
from serving.server.process import ServerProcess
from serving.server.runtime import custom_ops
from tests.e2e.shop import Shop
from tests.support.command_line import towers_here
from tests.support.ports import free_port
from tfx_pipeline.runs import users

pytestmark = pytest.mark.slow

USERS = 40
Lists = dict[str, tuple[list[str], list[float]]]  # user -> ids and scores


@pytest.fixture(scope="module")
def version(shop: Shop) -> Path:
    """The newest exported version."""
    directories = shop.directory.serving("recommender").iterdir()
    return max((path for path in directories if path.name.isdigit()), key=lambda path: int(path.name))


@pytest.fixture(scope="module")
def predicted(shop: Shop, version: Path, tmp_path_factory: pytest.TempPathFactory) -> Lists:
    output = tmp_path_factory.mktemp("predicted") / "next.jsonl"
    k = str(read_metadata(version)["config"]["serving"]["k"])
    done = towers_here(
        *("predict", "--run", str(shop.directory.path), "--split", "next", "--stage", "recommend"),
        *("--k", k, "--out", str(output)),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    chosen = [lines[place] for place in np.linspace(0, len(lines) - 1, USERS).astype(int)]  # by length of the history
    return {line["user_id"]: (line["item_ids"], line["scores"]) for line in chosen}


@pytest.fixture(scope="module")
def requests(shop: Shop, predicted: Lists) -> list[UserRequest]:
    known = [users.find_user(shop.directory, user_id) for user_id in predicted]
    assert any(event.text for user in known for event in user.history)
    assert any(event.rating > 0 for user in known for event in user.history)
    return [UserRequest(user.user_id, history=user.history, features=user.features) for user in known]


@pytest.fixture(scope="module")
def server(shop: Shop) -> Iterator[ServerProcess]:
    arguments = [f"--rest_api_port={free_port()}", "--text_cache_mib=0"]  # a request is one run, as in the graph
    with ServerProcess(shop.directory.serving("recommender"), "recommender", arguments=arguments) as server:
        yield server


@pytest.fixture(scope="module")
def inputs(server: ServerProcess, requests: list[UserRequest]) -> dict[str, np.ndarray]:
    """All requests as one batch of the signature's inputs."""
    with PredictionClient(server.address, "recommender", timeout=30) as client:
        spec = client.metadata().signatures["recommend"]
    return batch_inputs([user_row(request, str) for request in requests], spec)


def check(expected: Lists, lists: Lists, within: float) -> None:
    assert list(lists) == list(expected)
    for user_id, (item_ids, scores) in lists.items():
        assert item_ids == expected[user_id][0], user_id
        np.testing.assert_allclose(scores, expected[user_id][1], rtol=0, atol=within)


def named(predicted: Lists, item_ids: list[list[str]], scores: list[list[float]]) -> Lists:
    return dict(zip(predicted, zip(item_ids, scores, strict=True), strict=True))


@pytest.fixture(scope="module")
def served(predicted: Lists, requests: list[UserRequest], server: ServerProcess) -> Lists:
    """By gRPC, all users in one call."""
    with RecommenderClient(server.address, timeout=30) as client:
        return lists_of(predicted, client.recommend_many(requests))


def lists_of(predicted: Lists, answers: list) -> Lists:
    item_ids = [[item.item_id for item in answer] for answer in answers]
    return named(predicted, item_ids, [[item.score for item in answer] for answer in answers])


# The batch command and the graph round the vectors of texts to float16, and what differed by a hair before, because it
# was computed in another batch, may differ by a unit after.
ROUNDED = 1e-4


def test_by_the_batch_command(predicted: Lists, served: Lists) -> None:
    check(predicted, served, ROUNDED)
    differences = [np.subtract(served[user_id][1], predicted[user_id][1]) for user_id in predicted]
    assert np.mean([np.abs(difference).max() <= 1e-5 for difference in differences]) > 0.8


def test_one_call_a_user(predicted: Lists, requests: list[UserRequest], server: ServerProcess, served: Lists) -> None:
    with RecommenderClient(server.address, timeout=30) as client:
        answers = [client.recommend_many([request])[0] for request in requests]
    check(served, lists_of(predicted, answers), ROUNDED)


def test_by_rest(predicted: Lists, inputs: dict[str, np.ndarray], server: ServerProcess, served: Lists) -> None:
    def plain(array: np.ndarray) -> list:
        if array.dtype != object:
            return np.nan_to_num(array).tolist()  # JSON knows no NaN; a rating of 0 is none, too
        return np.char.decode(array.astype(bytes)).tolist() if array.size else array.tolist()

    body = {"signature_name": "recommend", "inputs": {name: plain(array) for name, array in inputs.items()}}
    address = server.readiness.split(" and ")[1].split()[0]
    url = f"http://{address}/v1/models/recommender:predict"
    with urllib.request.urlopen(url, json.dumps(body).encode()) as reply:
        outputs = json.loads(reply.read())["outputs"]
    check(served, named(predicted, outputs["item_id"], outputs["score"]), 1e-5)


def test_in_the_reloaded_model(predicted: Lists, inputs: dict[str, np.ndarray], version: Path, served: Lists) -> None:
    custom_ops.register()
    recommend = tf.saved_model.load(str(version)).signatures["recommend"]
    types = {name: spec.dtype for name, spec in recommend.structured_input_signature[1].items()}
    answer = recommend(
        **{name: tf.constant(value.tolist(), types[name], value.shape) for name, value in inputs.items()}
    )
    item_ids = np.char.decode(answer["item_id"].numpy().astype(bytes)).tolist()
    check(served, named(predicted, item_ids, answer["score"].numpy().tolist()), 1e-5)


def test_without_the_event_that_is_the_reason_an_item_scores_less_than_without_another(
    requests: list[UserRequest], server: ServerProcess
) -> None:
    random = np.random.default_rng(1)
    of_reason, of_another = [], []
    with RecommenderClient(server.address, timeout=30) as client:
        explained = client.recommend_many([replace(request, explain=True) for request in requests])
        for request, answer in zip(requests, explained, strict=True):
            others = np.setdiff1d(range(len(request.events)), answer[0].reason_history_position)
            if answer[0].reason_history_position == -1 or not len(others):
                continue
            for place, lost in ((answer[0].reason_history_position, of_reason), (random.choice(others), of_another)):
                history = [event for column, event in enumerate(request.events) if column != place]
                (item,) = client.rank(replace(request, history=history), [answer[0].item_id])
                lost.append(answer[0].retrieval_score - item.retrieval_score)
    assert len(of_reason) > len(requests) / 2
    assert min(of_reason) > 0
    assert (np.array(of_reason) >= np.array(of_another) - ROUNDED).all()
    assert np.mean(of_reason) > 1.5 * np.mean(np.abs(of_another))
