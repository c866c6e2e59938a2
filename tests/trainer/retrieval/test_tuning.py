"""The search of hyperparameters: its trials, resuming, and invalid search spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer import tables, trainings
from trainer.config import Config
from trainer.config import loader as config_loader
from trainer.data.dataset import Dataset
from trainer.errors import TowersError, UsageError
from trainer.retrieval import training as retrieval_training
from trainer.retrieval import tuning

pytestmark = pytest.mark.slow

RATES = {"retrieval.learning_rate": [1e-6, 0.01]}


def config(space: dict[str, Any], trials: int = 3, method: str = "random", **settings: Any) -> Config:
    tuned = {"space": space, "trials": trials, "method": method}
    small = trainings.config(epochs=2, **settings)
    return Config.model_validate(small.model_dump(mode="json") | {"tuning": tuned})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    items, train, validation, _ = tables.markov()
    return tables.dataset(items, train, validation)


def test_the_best_setting_comes_first_with_the_score_that_it_has(dataset: Dataset, tmp_path: Path) -> None:
    searched = config(RATES, trials=2)
    lines: list[str] = []
    trials = tuning.search(searched, dataset, tmp_path / "search", lines.append)
    scores = [trial.score for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert [trial.values["retrieval.learning_rate"] for trial in trials] == [0.01, 1e-6]
    again = retrieval_training.train(
        config_loader.with_values(searched, trials[0].values),
        dataset,
        tmp_path / "again",
        on_epoch=lambda record: None,
    )
    assert again["ndcg@10"] == trials[0].score
    assert any(line.startswith("trial 1/2 (retrieval.learning_rate") for line in lines)


def test_a_stopped_search_resumes_to_the_same_result(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"retrieval.learning_rate": {"min": 1e-4, "max": 0.05, "log": True}, "model.dropout": [0.0, 0.3]}
    undisturbed = tuning.search(config(space, 2), dataset, tmp_path / "undisturbed")
    train, calls = retrieval_training.train, []

    def interrupted(*arguments: Any, **named: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **named)

    monkeypatch.setattr(retrieval_training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuning.search(config(space, 2), dataset, tmp_path / "stopped")
    resumed = tuning.search(config(space, 2), dataset, tmp_path / "stopped")
    assert len(calls) == 3  # the first trial is not repeated, the second one is resumed
    assert resumed == undisturbed
    assert tuning.search(config(space, 2), dataset, tmp_path / "stopped") == resumed
    assert len(calls) == 3
    more = tuning.search(config(space, 3), dataset, tmp_path / "stopped")
    assert len(calls) == 4
    assert [trial for trial in more if trial in resumed] == resumed


def test_bayesian_search_stays_in_its_ranges(dataset: Dataset, tmp_path: Path) -> None:
    space = {"model.dim": {"min": 4, "max": 16}, "model.dropout": {"min": 0.1, "max": 0.4}}
    trials = tuning.search(config(space, trials=3, method="bayesian"), dataset, tmp_path)
    assert len({trial.values["model.dim"] for trial in trials}) > 1
    for trial in trials:
        assert isinstance(trial.values["model.dim"], int)
        assert 4 <= trial.values["model.dim"] <= 16
        assert 0.1 <= trial.values["model.dropout"] <= 0.4


def test_the_search_continues_after_a_failed_trial(dataset: Dataset, tmp_path: Path) -> None:
    trials = tuning.search(config({"retrieval.learning_rate": [1e30, 0.01]}, trials=2), dataset, tmp_path)
    assert trials[0].score is not None
    assert trials[1].score is None
    assert "the loss became" in trials[1].reason
    with pytest.raises(TowersError, match=r"no trial succeeded.*the loss became"):
        tuning.search(config({"retrieval.learning_rate": [1e30, 1e31]}, trials=2), dataset, tmp_path / "all")


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({}, "`tuning.space` is empty"),
        ({"model.dmi": [8]}, "'model.dmi'"),
        ({"data.repeats": ["all"]}, "'data.repeats'"),
        ({"model": [8]}, "'model'"),
        ({"model.dim": [8, -1]}, "model.dim"),
        ({"model.dropout": {"min": 0.5, "max": 1.5}}, "model.dropout"),
    ],
)
def test_an_invalid_space_is_an_error_before_training(
    dataset: Dataset, tmp_path: Path, space: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        tuning.search(config(space), dataset, tmp_path / "search")
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("limits", [{"min": 2, "max": 1}, {"min": 0, "max": 1, "log": True}, {"min": 1}])
def test_an_invalid_range(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"min|max"):
        config({"model.dim": limits})


def test_a_search_needs_validation_users(dataset: Dataset, tmp_path: Path) -> None:
    train = dataset.splits["train"]
    nobody = Dataset(dataset.items, {"train": train, "validation": train}, None)
    assert not np.any(train.target_count)
    with pytest.raises(TowersError, match="needs validation users"):
        tuning.search(config(RATES), nobody, tmp_path)
