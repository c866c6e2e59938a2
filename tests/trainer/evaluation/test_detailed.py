from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.trainer import tables
from trainer import retrieval
from trainer.errors import TowersError
from trainer.evaluation import describe, detailed, per_user
from trainer.evaluation.detailed import BETTER, UNDECIDED, WORSE, evaluate_in_detail
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.stages import Stages
from trainer.loading import Dataset

CONFIG = tables.make_config(
    "order",
    model={"dim": 16, "layers": 1, "max_history": 8, "dropout": 0.1},
    retrieval={"learning_rate": 0.01, "epochs": 3, "batch_size": 32},
)
SCHEMA = Path(detailed.__file__).with_name("evaluation.schema.json")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    items, train, validation, test = tables.markov()
    return Dataset(items, {"train": train, "validation": validation, "test": test}, None)


@pytest.fixture(scope="module")
def model(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> retrieval.RetrievalModel:
    directory = tmp_path_factory.mktemp("towers") / "towers"
    retrieval.train(CONFIG, dataset.items, dataset.train, dataset.splits["validation"], None, directory)
    return retrieval.load(directory, dataset.items, None)


@pytest.fixture(scope="module")
def evaluated(dataset: Dataset, model: retrieval.RetrievalModel) -> tuple[dict[str, Any], Stages]:
    result, stages = evaluate_in_detail(CONFIG, model, dataset, "test", None)
    return {"split": "test", "ranking_is_served": False, **result}, stages


def test_it_is_what_the_schema_describes(evaluated: tuple) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(evaluated[0])), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**evaluated[0], "users": -1}, schema)


def test_means_are_those_of_the_plain_evaluation(dataset: Dataset, model: Any, evaluated: tuple) -> None:
    plain = evaluate(CONFIG, model, dataset.items, dataset.splits["test"])
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


def test_order_tells_the_next_item_which_popularity_does_not_know(evaluated: tuple) -> None:
    comparisons = evaluated[0]["comparisons"]
    assert len(comparisons) == 2 * 3
    with_popularity = [found for found in comparisons if found["with"] == "popularity"]
    assert [found["verdict"] for found in with_popularity] == [BETTER, BETTER]
    for found in comparisons:
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
        assert (found["verdict"] == UNDECIDED) == (found["p_value"] >= 0.05)


def test_a_verdict_needs_more_than_a_difference() -> None:
    assert detailed.verdict(0.1, 0.04) == BETTER
    assert detailed.verdict(-0.1, 0.04) == WORSE
    assert detailed.verdict(0.1, 0.05) == UNDECIDED


def test_a_seed_repeats(dataset: Dataset, model: Any, evaluated: tuple) -> None:
    again, _ = evaluate_in_detail(CONFIG, model, dataset, "test", None)
    assert again == {name: value for name, value in evaluated[0].items() if name in again}


def test_figures_of_each_user_are_kept(dataset: Dataset, evaluated: tuple, tmp_path: Path) -> None:
    result, stages = evaluated
    per_user.write(tmp_path, CONFIG, stages, dataset.splits["test"])
    found = per_user.read(tmp_path)
    assert list(found.figures) == ["retrieval"]
    assert len(found.user_id) == len(found.targets) == result["users"]
    assert found.targets.sum() == result["targets"]
    for metric, values in found.figures["retrieval"].items():
        assert values.mean() == pytest.approx(result["stages"]["retrieval"][metric], abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [per_user.FILE]
    with pytest.raises(TowersError, match="Evaluate the run again"):
        per_user.read(tmp_path / "nowhere")


def test_headline_of_other_cutoffs() -> None:
    assert per_user.headline([1, 10, 100]) == ("ndcg@10", "hit_rate@10", "recall@100")
    assert per_user.headline([5, 20]) == ("ndcg@20", "hit_rate@20", "recall@20")


def test_tables_fit_a_terminal(evaluated: tuple) -> None:
    lines = describe.table(evaluated[0]).splitlines()
    assert max(map(len, lines)) <= 100
    assert "matrix factorisation" in describe.line(evaluated[0])


def test_validation_alone(dataset: Dataset, model: Any) -> None:
    """Where nothing but validation is held out, and only to few users."""
    few = Dataset(dataset.items, {name: _some(split) for name, split in dataset.splits.items()}, None)
    result, _ = evaluate_in_detail(CONFIG, model, few, "validation", None)
    assert result["users"] == 5
    assert all(value is None for value in result["intervals"]["retrieval"].values())


def _some(split: Any) -> Any:
    from trainer.data import take_users

    return take_users(split, np.arange(5))
