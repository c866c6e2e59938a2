from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer import tables
from trainer.config import Config
from trainer.errors import TowersError
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training

pytestmark = pytest.mark.slow

MODEL = {"dim": 16, "layers": 1, "max_history": 8, "dropout": 0.1}


def learn(config: Config, directory: Path, data: tuple) -> tuple[dict[str, Any], retrieval_model.RetrievalModel]:
    items, train, validation, _ = data
    records: list[dict] = []
    result = retrieval_training.train(config, tables.dataset(items, train, validation), directory, records.append)
    assert records == result["epochs"]
    return result, retrieval_persistence.load(directory, items, None)


@pytest.fixture(scope="module")
def data() -> tuple:
    return tables.markov()


SETTINGS = {"learning_rate": 0.01, "epochs": 12, "batch_size": 32}


@pytest.fixture(scope="module")
def trained(data: tuple, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    config = tables.make_config("order", model=MODEL, retrieval=SETTINGS)
    directory = tmp_path_factory.mktemp("trained") / "retrieval"
    return config, directory, *learn(config, directory, data)


def test_the_model_is_better_than_popularity(data: tuple, trained: tuple) -> None:
    config, _, result, model = trained
    values = evaluate(config, model, data[0], data[3])
    assert values["stages"]["retrieval"]["ndcg@10"] > values["stages"]["popularity"]["ndcg@10"] + 0.3
    assert result["ndcg@10"] == max(record["ndcg@10"] for record in result["epochs"])


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({}, {"loss": "sampled_softmax", "sampled_negatives": 32}),
        ({}, {"loss": "sampled_softmax", "sampled_negatives": 64, "hard_negatives": 16}),
        ({"similarity": "cosine"}, {"loss": "triplet", "sampled_negatives": 64, "hard_negatives": 2}),
        ({"similarity": "cosine"}, {"temperature": 0.06, "weight_decay": 0.01}),
    ],
)
def test_the_other_losses_learn_too(data: tuple, tmp_path: Path, model: dict, settings: dict) -> None:
    config = tables.make_config("order", model=MODEL | model, retrieval=SETTINGS | settings)
    _, loaded = learn(config, tmp_path / "model", data)
    values = evaluate(config, loaded, data[0], data[3])
    assert values["stages"]["retrieval"]["ndcg@10"] > values["stages"]["popularity"]["ndcg@10"] + 0.25


@pytest.mark.parametrize(("steps", "epochs"), [(10**6, 5), (1, 3)])
def test_patience_is_shorter_where_epochs_are_long(data: tuple, tmp_path: Path, steps: int, epochs: int) -> None:
    settings = SETTINGS | {"learning_rate": 1e-12, "patience": 4, "patience_steps": steps}
    result, _ = learn(tables.make_config("order", model=MODEL, retrieval=settings), tmp_path / "model", data)
    assert result["best_epoch"] == 1, "nothing is learnt"
    assert len(result["epochs"]) == epochs


def test_the_files_of_a_model(data: tuple, trained: tuple) -> None:
    _, directory, result, model = trained
    vectors = np.load(directory / "item_vectors.npy")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, model.item_tower.all_vectors(), atol=1e-6)
    assert json.loads((directory / "item_ids.json").read_text()) == list(data[0].item_id)
    assert json.loads((directory / "history.json").read_text()) == result["epochs"]
    assert not [path for path in directory.parent.iterdir() if path != directory], "nothing is left beside it"


def test_same_seed_same_model_other_seed_another(data: tuple, trained: tuple, tmp_path: Path) -> None:
    config, directory, result, model = trained
    again, _ = learn(config, tmp_path / "again", data)
    assert [record["loss"] for record in again["epochs"]] == [record["loss"] for record in result["epochs"]]
    files = [np.load(path / "item_vectors.npy") for path in (directory, tmp_path / "again")]
    np.testing.assert_array_equal(*files)
    other = retrieval_model.RetrievalModel(
        config.model_copy(update={"seed": 2}), model.item_tower.inputs, model.user_tower.inputs
    )
    same = retrieval_model.RetrievalModel(config, model.item_tower.inputs, model.user_tower.inputs)
    assert np.abs(other.item_tower.id_embedding - same.item_tower.id_embedding).max() > 0.01


def test_every_input_trains_saves_and_loads(tmp_path: Path) -> None:
    items, sequences, texts = tables.everything(users=30)
    validation = tables.everything(users=30)[1]
    validation.target_count[:] = 1
    config = tables.make_config(model=MODEL, retrieval={"epochs": 2}, evaluation={"with_query": True})
    retrieval_training.train(config, tables.dataset(items, sequences, validation, texts), tmp_path / "model")
    one = retrieval_persistence.load(tmp_path / "model", items, texts)
    lists = list(rank_with_model(RankingTask(config, items, validation, k=5), one))
    assert sorted(np.concatenate([batch.users for batch in lists])) == list(range(30))
    np.testing.assert_allclose(np.load(tmp_path / "model" / "item_vectors.npy"), one.item_vectors(), atol=1e-6)


def test_a_catalogue_of_five_items(tmp_path: Path) -> None:
    items = tables.item_table(5, np.array([3, 3, 3, 3, 0]))
    train = tables.sequence_table([[1, 2, 3, 4]] * 3 + [[2]])
    validation = tables.sequence_table([[1, 2, 3, 4], [5, 1, 2]], targets=1)
    config = tables.make_config("order", model=MODEL, retrieval={"epochs": 2})
    result, model = learn(config, tmp_path / "model", (items, train, None, None))
    assert [record["epoch"] for record in result["epochs"]] == [1, 2], "without validation every epoch is run"
    assert "ndcg@10" not in result
    for batch in rank_with_model(RankingTask(config, items, validation, k=100), model):
        for user, row in zip(batch.users, batch.items, strict=True):
            start, stop = validation.offsets[user], validation.offsets[user + 1] - 1
            own = set(validation.item[start:stop])
            assert [item for item in row if item] == [item for item in row if item not in own and item]
            assert {int(item) for item in row if item} == set(range(1, 6)) - own


def test_nothing_half_written_when_training_fails(data: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, train, validation, _ = data
    config = tables.make_config("order", model=MODEL, retrieval=SETTINGS)
    monkeypatch.setattr(retrieval_training, "fit", lambda *_, **__: ([], {}))

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(TowersError, match="No space left"):
        retrieval_training.train(config, tables.dataset(items, train, validation), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_user_errors_are_one_line(data: tuple, trained: tuple, tmp_path: Path) -> None:
    config, directory, _, _ = trained
    items, train, validation, _ = data
    with pytest.raises(TowersError, match="not empty"):
        retrieval_training.train(config, tables.dataset(items, train, validation), directory)
    with pytest.raises(TowersError, match="no retrieval model"):
        retrieval_persistence.load(tmp_path, items, None)
    with pytest.raises(TowersError, match="another catalogue"):
        retrieval_persistence.load(directory, tables.item_table(3), None)
    with pytest.raises(TowersError, match="no events"):
        retrieval_training.train(config, tables.dataset(items, tables.sequence_table([])), tmp_path / "empty")
