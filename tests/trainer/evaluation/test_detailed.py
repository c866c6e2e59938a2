from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sk

from tests.trainer import tables
from trainer.data.dataset import Dataset
from trainer.errors import TowersError
from trainer.evaluation import describe, detailed, per_user
from trainer.evaluation.detailed import evaluate_in_detail
from trainer.evaluation.document import BETTER, UNDECIDED, WORSE
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.examples import MAX_EVENTS, example_users
from trainer.evaluation.report.page import Report, render
from trainer.evaluation.stages import Stages
from trainer.evaluation.target_ratings import predict_target_ratings
from trainer.evaluation.uncertainty import verdict
from trainer.ranking import model as ranking_model
from trainer.ranking import persistence as ranking_persistence
from trainer.ranking import training as ranking_training
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training

pytestmark = pytest.mark.slow

CONFIG = tables.make_config(
    "order",
    model={"dim": 16, "layers": 1, "max_history": 8, "dropout": 0.1},
    retrieval={"learning_rate": 0.01, "epochs": 3, "batch_size": 32},
    ranking={"candidates": 20, "epochs": 2, "batch_size": 64, "learning_rate": 0.005},
)
SCHEMA = Path(detailed.__file__).with_name("evaluation.schema.json")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Everybody rates item i as i modulo 5, plus 1, now and then one more or less."""
    items, *splits = tables.markov()
    rated = []
    for split in splits:
        noise = np.random.default_rng(1).integers(-1, 2, len(split.item))
        rating = np.clip(split.item % 5 + 1 + noise, 1, 5).astype(np.float32)
        rated.append(dataclasses.replace(split, rating=rating, rating_mean=3.0, rating_std=1.4))
    return Dataset(items, dict(zip(("train", "validation", "test"), rated, strict=True)), None)


@pytest.fixture(scope="module")
def model(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> retrieval_model.RetrievalModel:
    directory = tmp_path_factory.mktemp("towers") / "towers"
    retrieval_training.train(CONFIG, dataset, directory)
    return retrieval_persistence.load(directory, dataset.items, None)


@pytest.fixture(scope="module")
def ranker(
    dataset: Dataset, model: retrieval_model.RetrievalModel, tmp_path_factory: pytest.TempPathFactory
) -> ranking_model.RankingModel:
    directory = tmp_path_factory.mktemp("ranking") / "ranking"
    ranking_training.train(CONFIG, model, dataset, directory)
    actual = ranking_persistence.load(directory)
    actual.attach(model.item_vectors())
    return actual


@pytest.fixture(scope="module")
def evaluated(dataset: Dataset, model: Any, ranker: ranking_model.RankingModel) -> tuple[dict[str, Any], Stages]:
    actual = evaluate_in_detail(CONFIG, model, dataset, "test", ranker)
    result, stages = actual.document, actual.stages
    return {"split": "test", "ranking_is_served": False, "use_ranking": "auto", **result}, stages


def test_document_matches_the_schema(evaluated: tuple) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(evaluated[0])), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**evaluated[0], "users": -1}, schema)


def test_means_are_those_of_the_plain_evaluation(dataset: Dataset, model: Any, evaluated: tuple) -> None:
    plain = evaluate(CONFIG, model, dataset.items, dataset.splits["test"])
    assert evaluated[0]["stages"].keys() == {*plain["stages"], "recommend", "item-kNN", "matrix factorisation"}
    for stage, values in plain["stages"].items():
        for metric, value in values.items():
            assert evaluated[0]["stages"][stage][metric] == value
    assert evaluated[0]["cold"]["users"] == plain["cold"]["users"]


def test_every_figure_lies_in_its_interval(evaluated: tuple) -> None:
    result = evaluated[0]
    for part in (result, *result["slices"]):
        for stage, values in part["stages"].items():
            assert values.keys() == part["intervals"][stage].keys()
            for metric, value in values.items():
                interval = part["intervals"][stage][metric]
                assert (interval is None) == (part["users"] < result["few_users"])
                if interval is not None:
                    assert interval[0] - 1e-6 <= value <= interval[1] + 1e-6


def test_slices_add_up(evaluated: tuple) -> None:
    result = evaluated[0]
    for kind in {part["by"] for part in result["slices"]}:
        parts = [part for part in result["slices"] if part["by"] == kind]
        assert sum(part["users"] for part in parts) == result["users"]  # one target a user
        whole = sum(part["users"] * part["stages"]["retrieval"]["ndcg@10"] for part in parts)
        assert whole / result["users"] == pytest.approx(result["stages"]["retrieval"]["ndcg@10"])


def test_models_that_know_the_order_beat_popularity(evaluated: tuple) -> None:
    comparisons = evaluated[0]["comparisons"]
    assert len(comparisons) == 2 * (2 * 3 + 1)  # two metrics; two models, three baselines; one model with the other
    with_popularity = [actual for actual in comparisons if actual["with"] == "popularity"]
    assert {actual["verdict"] for actual in with_popularity} == {BETTER}
    for actual in comparisons:
        assert actual["interval"][0] <= actual["difference"] <= actual["interval"][1]
        assert (actual["verdict"] == UNDECIDED) == (actual["p_value"] >= 0.05)


def test_a_verdict_needs_a_significant_difference() -> None:
    assert verdict(0.1, 0.04) == BETTER
    assert verdict(-0.1, 0.04) == WORSE
    assert verdict(0.1, 0.05) == UNDECIDED


def test_a_seed_repeats(dataset: Dataset, model: Any, ranker: ranking_model.RankingModel, evaluated: tuple) -> None:
    again = evaluate_in_detail(CONFIG, model, dataset, "test", ranker).document
    assert again == {name: value for name, value in evaluated[0].items() if name in again}


def test_figures_of_each_user_are_stored(dataset: Dataset, evaluated: tuple, tmp_path: Path) -> None:
    result, stages = evaluated
    per_user.write(tmp_path, CONFIG, stages, dataset.items, dataset.splits["test"])
    actual = per_user.read(tmp_path)
    assert list(actual.figures) == ["retrieval", "recommend"]
    assert list(actual.user_id) == list(dataset.splits["test"].user_id)
    last = dataset.splits["test"].item[dataset.splits["test"].offsets[1:] - 1]
    assert len(actual.case) == result["users"]
    assert len(set(zip(last, actual.case, strict=True))) == len(set(last)) == len(set(actual.case))
    for metric, values in actual.figures["retrieval"].items():
        assert values.mean() == pytest.approx(result["stages"]["retrieval"][metric], abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [per_user.FILE]
    whole = (tmp_path / per_user.FILE).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"{}"):
        (tmp_path / per_user.FILE).write_bytes(damaged)
        with pytest.raises(TowersError, match="Evaluate the run again"):
            per_user.read(tmp_path)
    np.savez(tmp_path / per_user.FILE, other=np.zeros(3))
    with pytest.raises(TowersError, match="Evaluate the run again"):
        per_user.read(tmp_path)
    with pytest.raises(TowersError, match="Evaluate the run again"):
        per_user.read(tmp_path / "nowhere")


def test_shares_of_exposure_add_up(dataset: Dataset, evaluated: tuple) -> None:
    parts = evaluated[0]["exposure"]
    assert sum(part["items"] for part in parts) == len(dataset.items)
    assert sum(part["events"] for part in parts) == pytest.approx(1)
    for stage in evaluated[0]["stages"]:
        assert sum(part["shown"][stage] for part in parts) == pytest.approx(1)
    assert all(before["to"] < after["from"] for before, after in itertools.pairwise(parts))
    assert parts[-1]["shown"]["popularity"] > parts[-1]["shown"]["retrieval"]


def test_ratings_as_defined(dataset: Dataset, model: Any, ranker: ranking_model.RankingModel, evaluated: tuple) -> None:
    """Each held-out rating on its own, out of what came before it."""
    test, vectors, given = dataset.splits["test"], model.item_vectors(), []
    predictions: dict[str, list[float]] = {"rating": [], "liked": []}
    for user in range(len(test)):
        first, last = test.offsets[user], test.offsets[user + 1] - 1
        start = max(first, last - CONFIG.model.max_history)
        request = {
            "item_index": tf.constant(test.item[np.newaxis, start:last]),
            "rating": tf.constant(test.rating[np.newaxis, start:last]),
            "length": tf.constant([last - start], tf.int32),
        }
        inputs = {
            **request,
            "user_vector": model.encode(request, vectors),
            "candidate": tf.constant(test.item[np.newaxis, last : last + 1]),
        }
        inputs["retrieval_score"] = inputs["user_vector"] @ tf.transpose(tf.gather(vectors, inputs["candidate"][0]))
        scored = ranker.score(inputs, vectors)
        given.append(float(test.rating[last]))
        for name in predictions:
            predictions[name].append(float(scored[name][0, 0]))
    actual, liked = evaluated[0]["ratings"], np.array(given) >= 4
    probability = np.array(predictions["liked"])
    assert actual["ratings"] == actual["users"] == len(test)
    values = actual["values"]
    assert values["rmse"] == pytest.approx(np.sqrt(np.mean((np.array(predictions["rating"]) - given) ** 2)), rel=1e-3)
    assert values["mae"] == pytest.approx(np.mean(np.abs(np.array(predictions["rating"]) - given)), rel=1e-3)
    assert values["log_loss"] == pytest.approx(-np.log(np.where(liked, probability, 1 - probability)).mean(), rel=1e-3)
    pairs = [(a, b) for a in probability[liked] for b in probability[~liked]]
    assert values["auc"] == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]), abs=1e-3)
    assert values["accuracy"] == pytest.approx(((probability >= 0.5) == liked).mean(), abs=1e-2)
    predicted = probability >= 0.5
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert values[name] == pytest.approx(score(liked, predicted), abs=1e-2)
    assert values["rmse"] < actual["of_one_for_all"]["rmse"]
    assert values["log_loss"] < actual["of_one_for_all"]["log_loss"]
    assert actual["intervals"].keys() == values.keys()
    for name, interval in actual["intervals"].items():
        assert interval[0] < values[name] < interval[1]
    assert sum(part["ratings"] for part in actual["reliability"]) == actual["ratings"]


def test_examples_name_the_influential_event(dataset: Dataset, model: Any, ranker: ranking_model.RankingModel) -> None:
    actual = example_users(CONFIG, model, dataset, "test", ranker, None, lambda rows: {})
    assert len(actual) == CONFIG.evaluation.example_users
    assert actual == example_users(CONFIG, model, dataset, "test", ranker, None, lambda rows: {})
    reasons = []
    test = dataset.splits["test"]
    for user in actual:
        row = list(test.user_id).index(user["user_id"])
        items = [dataset.items.item_id[i - 1] for i in test.item[test.offsets[row] : test.offsets[row + 1]]]
        assert [event["item_id"] for event in user["history"]] == items[:-1][-MAX_EVENTS:]
        assert [item["item_id"] for item in user["took"]] == items[-1:]
        assert user["events"] == len(items) - 1
        assert len(user["recommended"]) == CONFIG.evaluation.list_length
        for item in user["recommended"]:
            assert item["hit"] == (item["item_id"] == items[-1])
            reasons.append((item["because"], len(user["history"]) - 1))
    latest = [because == last for because, last in reasons if because is not None]
    assert np.mean(latest) > 0.5, "the next item follows from the last"


def test_examples_in_turn_by_language(dataset: Dataset, model: Any) -> None:
    test = dataset.splits["test"]
    text_row = np.full(len(test.item), -1, np.int32)
    text_row[test.offsets[:20]] = 0  # twenty users write Chinese, two English, all others nothing
    text_row[test.offsets[20:22]] = 1
    written = dataclasses.replace(test, text_row=text_row)
    parts = dataclasses.replace(dataset, splits={**dataset.splits, "test": written})
    languages = np.array(["Chinese", "English"], object)
    actual = example_users(CONFIG, model, parts, "test", None, languages, lambda rows: {int(r): f"<{r}>" for r in rows})
    rows = [list(test.user_id).index(user["user_id"]) for user in actual]
    assert len(set(rows)) == 6
    assert sum(row < 20 for row in rows) == 4
    assert sum(20 <= row < 22 for row in rows) == 2
    texts = {event["text"] for user in actual for event in user["history"] if "text" in event}
    assert texts <= {"<0>", "<1>"}


def test_headline_of_other_cutoffs() -> None:
    assert per_user.headline([1, 10, 100]) == ("ndcg@10", "hit_rate@10", "recall@100")
    assert per_user.headline([5, 20]) == ("ndcg@20", "hit_rate@20", "recall@20")


def test_tables_fit_a_terminal(evaluated: tuple) -> None:
    lines = describe.table(evaluated[0]).splitlines()
    assert max(map(len, lines)) <= 100
    assert "matrix factorisation" in "".join(lines)
    assert re.fullmatch(
        r"NDCG@10 retrieval 0\.\d{4}, recommend 0\.\d{4}; best baseline [\w -]+ 0\.\d{4}", describe.line(evaluated[0])
    )


def test_other_cutoffs(dataset: Dataset, model: Any) -> None:
    config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"cutoffs": (5, 20)})})
    result = evaluate_in_detail(config, model, dataset, "test", None).document
    result |= {"split": "test", "ranking_is_served": False, "use_ranking": "auto"}
    assert describe.line(result).startswith("NDCG@20 retrieval")
    assert "recall@20" in describe.table(result)
    assert "ndcg@20" in render(Report(name="x", evaluation=result))


def test_many_targets_of_one_user_are_rated_like_one(model: Any, ranker: Any) -> None:
    whole = tables.sequence_table([[1, 2, *range(3, 30)], [4, 5]], rating=np.full(31, 4, np.float32))
    whole = dataclasses.replace(whole, target_count=np.array([27, 1], np.int32), rating_mean=3.0, rating_std=1.4)
    together = predict_target_ratings(CONFIG, model, ranker, whole)
    assert np.bincount(together.user).tolist() == [27, 1]
    for i in (0, 11, 26):
        one = dataclasses.replace(
            tables.sequence_table([[1, 2, 3 + i]], rating=np.full(3, 4, np.float32)),
            target_count=np.array([1], np.int32),
        )
        alone = predict_target_ratings(CONFIG, model, ranker, one)
        assert np.isclose(together.liked_probability, alone.liked_probability[0], atol=1e-4).any()


def test_validation_alone(dataset: Dataset, model: Any) -> None:
    """Where nothing but validation is held out, and only to few users."""
    few = Dataset(dataset.items, {name: _some(split) for name, split in dataset.splits.items()}, None)
    result = evaluate_in_detail(CONFIG, model, few, "validation", None).document
    assert result["users"] == 5
    assert all(value is None for value in result["intervals"]["retrieval"].values())


def _some(split: Any) -> Any:
    from trainer.data.tables import take_users

    return take_users(split, np.arange(5))
