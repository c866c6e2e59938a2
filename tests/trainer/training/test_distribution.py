"""The same training on several devices and in several processes."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tables, trainings
from trainer.config import Config
from trainer.errors import TowersError, UsageError
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training
from trainer.training.distribution import strategy_for

pytestmark = pytest.mark.slow

Result = tuple[list[dict], list[np.ndarray]]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Result:
    result, weights = trainings.train(trainings.distributed_config("none"), tmp_path_factory.mktemp("single"))
    return result["epochs"], weights


def check_close(result: Result, expected_result: Result) -> None:
    for record, expected in zip(result[0], expected_result[0], strict=True):
        assert record["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert record["ndcg@10"] == pytest.approx(expected["ndcg@10"], abs=2e-3)
    for weights, expected_weights in zip(result[1], expected_result[1], strict=True):
        np.testing.assert_allclose(weights, expected_weights, atol=2e-3)


@pytest.mark.slow
def test_two_devices_train_the_same_model_as_one(single: tuple, tmp_path: Path) -> None:
    trainings.finish(trainings.start("mirrored", tmp_path))
    check_close(trainings.read_result(tmp_path), single)
    items, *_ = tables.markov()
    assert retrieval_persistence.load(tmp_path / "model", items, None).item_vectors().shape == (41, 16)


@pytest.mark.slow
def test_two_workers_train_the_same_model_as_one_device_and_the_first_writes_it(single: tuple, tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{bound.getsockname()[1]}" for bound in (one, other)]
    places = [tmp_path / "first", tmp_path / "second"]
    processes = []
    for index, place in enumerate(places):
        place.mkdir()
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(trainings.start("worker", place, TF_CONFIG=json.dumps(task)))
    for process in processes:
        trainings.finish(process)
    first, second = (trainings.read_result(place) for place in places)
    check_close(first, single)
    for weights, first_weights in zip(second[1], first[1], strict=True):
        np.testing.assert_array_equal(weights, first_weights)
    assert sorted(path.name for path in places[0].iterdir()) == ["logs", "model", "result"]
    assert sorted(path.name for path in places[1].iterdir()) == ["result"]


def test_workers_without_tf_config_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "no JSON", "[]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(TowersError, match="TF_CONFIG should name the workers") as error:
            strategy_for("multi_worker")
        assert "\n" not in str(error.value)


def test_a_trained_encoder_is_not_distributed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Two:
        num_replicas_in_sync = 2

    monkeypatch.setattr(retrieval_training.distribution, "strategy_for", lambda _: Two())
    items, train, validation, _ = tables.markov()
    config = Config.model_validate(trainings.config().model_dump() | {"text": {"trainable_layers": 1}})
    with pytest.raises(UsageError, match="should be none where the text encoder is trained"):
        retrieval_training.train(config, tables.dataset(items, train, validation), tmp_path / "model")
