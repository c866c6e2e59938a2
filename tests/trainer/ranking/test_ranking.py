from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer.data.tables import SequenceTable
from trainer.errors import TowersError
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.ranking import model as ranking_model
from trainer.ranking import persistence as ranking_persistence
from trainer.ranking import training as ranking_training
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.choices import target_choices, train_choices
from trainer.ranking.examples import CandidateSource, build_examples
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training

pytestmark = pytest.mark.slow

CONFIG = tables.make_config(
    "order",
    model={"dim": 16, "layers": 1, "max_history": 8, "dropout": 0.1},
    retrieval={"learning_rate": 0.01, "epochs": 2, "batch_size": 32},
    ranking={"candidates": 20, "epochs": 6, "batch_size": 64, "learning_rate": 0.005},
)


@pytest.fixture(scope="module")
def data() -> tuple:
    items, train, validation, test = tables.markov()
    rated = [
        tables.sequence_table(
            [list(s.item[a:b]) for a, b in zip(s.offsets[:-1], s.offsets[1:], strict=True)],
            int(s.target_count[0]),
            rating=(s.item % 5 + 1).astype(np.float32),
            rating_mean=3.0,
            rating_std=1.4,
        )
        for s in (train, validation, test)
    ]
    return items, *rated


@pytest.fixture(scope="module")
def trained(data: tuple, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A retrieval model that was stopped early, so that there is something left to put in order."""
    items, train, validation, _ = data
    directory = tmp_path_factory.mktemp("ranking")
    retrieval_training.train(CONFIG, tables.dataset(items, train, validation), directory / "retrieval")
    model = retrieval_persistence.load(directory / "retrieval", items, None)
    result = ranking_training.train(CONFIG, model, tables.dataset(items, train, validation), directory / "ranking")
    reordering = ranking_persistence.load(directory / "ranking")
    reordering.attach(model.item_vectors())
    return model, reordering, result


def test_reordering_improves_an_undertrained_retrieval(data: tuple, trained: tuple) -> None:
    model, reordering, result = trained
    assert result["use_ranking"] is (result["recommend"]["ndcg@10"] > result["retrieve"]["ndcg@10"])
    assert result["use_ranking"]
    values = evaluate(CONFIG, model, data[0], data[3], reordering)["stages"]
    assert values["recommend"]["ndcg@10"] > values["retrieval"]["ndcg@10"]
    assert values["recommend"]["hit_rate@20"] == values["retrieval"]["hit_rate@20"], "the same 20 in another order"


def test_lists_hold_the_same_items_and_fall_in_score(data: tuple, trained: tuple) -> None:
    model, reordering, _ = trained
    items, test = data[0], data[3]
    task = RankingTask(CONFIG, items, test, k=30)
    plain = {u: row for b in rank_with_model(task, model) for u, row in zip(b.users, b.items, strict=True)}
    for batch in rank_with_model(task, model, reordering):
        assert (np.diff(np.where(np.isfinite(batch.scores), batch.scores, -1e30), axis=1) <= 0).all()
        for user, row in zip(batch.users, batch.items, strict=True):
            assert sorted(row[:20]) == sorted(plain[user][:20])
            assert list(row[20:]) == list(plain[user][20:])


ITEMS = 30


def request(batch: int = 3, history: int = 4, candidates: int = 6, dim: int = 16) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "user_vector": generator.normal(size=[batch, dim]).astype(np.float32),
        "item_index": generator.integers(1, ITEMS + 1, [batch, history]).astype(np.int32),
        "length": np.array([4, 2, 0], np.int32),
        "candidate": np.stack([generator.permutation(ITEMS)[:candidates] + 1 for _ in range(batch)]).astype(np.int32),
        "retrieval_score": generator.normal(size=[batch, candidates]).astype(np.float32),
    }


def vectors(dim: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=[ITEMS + 1, dim]).astype(np.float32)


def test_an_untrained_model_keeps_the_order_of_retrieval(data: tuple) -> None:
    items, train, _, _ = data
    features = CandidateFeatures.count(items, train, 3)
    model = ranking_model.RankingModel(CONFIG, 16, features, False, 0.0, 1.0)
    inputs = request()
    logits = model.score(inputs, vectors())["logits"].numpy()
    np.testing.assert_array_equal(np.argsort(logits), np.argsort(inputs["retrieval_score"]))


def test_score_ignores_padding_and_missing_candidates(trained: tuple) -> None:
    _, model, _ = trained
    inputs = request()
    inputs["retrieval_score"][1, 4:] = -np.inf
    before = model.score(inputs, vectors())
    assert set(before) == {"logits", "rating", "liked"}
    assert np.isneginf(before["logits"].numpy()[1, 4:]).all()
    assert ((before["liked"].numpy() > 0) & (before["liked"].numpy() < 1)).all()
    changed = {name: value.copy() for name, value in inputs.items()}
    changed["item_index"][1, 2:] = changed["item_index"][2] = 7
    np.testing.assert_allclose(model.score(changed, vectors())["logits"], before["logits"], atol=1e-5)
    changed["item_index"][1, 1] = changed["item_index"][1, 1] % ITEMS + 1
    assert not np.allclose(model.score(changed, vectors())["logits"][1, :4], before["logits"][1, :4], atol=1e-3)
    empty = {**inputs, "item_index": np.zeros([3, 0], np.int32), "length": np.zeros([3], np.int32)}
    assert np.isfinite(model.score(empty, vectors())["logits"].numpy()[[0, 2]]).all()


def test_over_another_catalogue_known_items_have_the_same_logits(trained: tuple) -> None:
    """Item i of 40 is item 41 - i there, after three new ones."""
    _, model, _ = trained
    rows = np.concatenate([[0, 0, 0], np.arange(40, 0, -1)]).astype(np.int32)
    there = model.for_catalogue(rows)
    inputs, catalogue = request(), np.random.default_rng(1).normal(size=[41, 16]).astype(np.float32)
    moved = {name: np.where(inputs[name] > 0, 44 - inputs[name], 0) for name in ("item_index", "candidate")}
    logits = there.score({**inputs, **moved}, catalogue[np.concatenate([[0], rows])])["logits"]
    np.testing.assert_allclose(logits, model.score(inputs, catalogue)["logits"], atol=1e-4)
    new = {**inputs, **moved, "candidate": np.full([3, 6], 2, np.int32)}
    assert np.isfinite(there.score(new, catalogue[np.concatenate([[0], rows])])["logits"]).all()


def test_graph_and_eager_agree(trained: tuple) -> None:
    _, model, _ = trained
    inputs = {name: tf.constant(value) for name, value in request().items()}
    graph = tf.function(model.score, autograph=False)(inputs, tf.constant(vectors()))
    for name, value in model.score(inputs, tf.constant(vectors())).items():
        np.testing.assert_allclose(graph[name], value, atol=1e-5)


def test_predicted_ratings_are_accurate_and_calibrated(trained: tuple) -> None:
    """An item's rating is its number modulo 5, plus 1: those from 4 on are liked."""
    rating, liked = trained[2]["rating"], trained[2]["liked"]
    assert rating["rmse"] < 0.5 * rating["rmse_of_the_mean"]
    assert liked["log_loss"] < 0.5 * liked["log_loss_of_the_share"]
    assert liked["calibration_error"] < 0.1
    predictions = trained[1].score(request(), vectors())
    wanted = request()["candidate"] % 5 + 1
    assert np.abs(predictions["rating"] - wanted).mean() < 0.7
    assert ((predictions["liked"].numpy() > 0.5) == (wanted >= 4)).mean() > 0.9


def test_rating_biases_depend_on_the_users_ratings(trained: tuple) -> None:
    """One who rates everything higher than others do will do so again; what is not rated, and padding, says nothing."""
    _, model, _ = trained
    usual = (request()["item_index"] % 5 + 1).astype(np.float32)
    biases = {}
    for name, rating in {"higher": usual + 1, "lower": usual - 1, "none": usual * np.nan}.items():
        inputs = request()
        normal = tf.constant((rating - model.rating_mean) / model.rating_std)
        arguments = (inputs["item_index"], normal, inputs["length"], inputs["candidate"])
        biases[name] = model.candidate_features.rating_biases(*arguments)[..., 1].numpy()
    assert (biases["higher"][:2] > biases["lower"][:2] + 0.3).all()
    assert not biases["none"].any()
    assert not np.stack(list(biases.values()))[:, 2].any(), "no history"


def test_without_validation_ranking_is_not_used(data: tuple, trained: tuple, tmp_path: Path) -> None:
    items, train, _, _ = data
    result = ranking_training.train(CONFIG, trained[0], tables.dataset(items, train), tmp_path / "ranking")
    assert (result["retrieve"], result["recommend"], result["use_ranking"]) == (None, None, False)
    assert not ranking_training.is_used(CONFIG.serving, tmp_path / "ranking")


def test_validation_without_a_usable_target_is_none(data: tuple, trained: tuple, tmp_path: Path) -> None:
    """Everybody takes again what they have, which may not be recommended."""
    items, train, validation, _ = data
    item = validation.item.copy()
    item[validation.offsets[1:] - 1] = item[validation.offsets[:-1]]
    again = replace(validation, item=item)
    result = ranking_training.train(CONFIG, trained[0], tables.dataset(items, train, again), tmp_path / "ranking")
    assert (result["retrieve"], result["use_ranking"]) == (None, False)


def test_verdict_is_measured_as_evaluation_measures(data: tuple, trained: tuple) -> None:
    model, _, result = trained
    values = evaluate(CONFIG, model, data[0], data[2])["stages"]["retrieval"]
    assert result["retrieve"] == pytest.approx({name: values[name] for name in ("ndcg@10", "hit_rate@10")}, abs=1e-6)


def test_the_combination_is_fitted_to_held_out_events_only(data: tuple, trained: tuple, tmp_path: Path) -> None:
    """Other validation events, other weights; the network, which they only choose the epoch of, is the same."""
    items, train, validation, _ = data
    one_epoch = CONFIG.model_copy(update={"ranking": CONFIG.ranking.model_copy(update={"epochs": 1})})
    weights = []
    for part in (validation, _with_random_targets(validation, len(items))):
        directory = tmp_path / str(len(weights))
        ranking_training.train(one_epoch, trained[0], tables.dataset(items, train, part), directory)
        weights.append(ranking_persistence.load(directory))
    np.testing.assert_array_equal(weights[0].hidden.kernel, weights[1].hidden.kernel)
    assert not np.allclose(weights[0].combination, weights[1].combination)


def _with_random_targets(split: SequenceTable, items: int) -> SequenceTable:
    item = split.item.copy()
    item[split.offsets[1:] - 1] = np.random.default_rng(3).integers(1, items + 1, len(split))
    return replace(split, item=item)


def test_choices_that_cannot_be_recommended_are_dropped() -> None:
    """Item 1 comes again as a target, which a configuration without repeats never offers."""
    held_out = tables.sequence_table([[1, 2, 1], [2, 3, 1], [4]], 1)
    assert list(target_choices(CONFIG, held_out).user) == [2, 1]
    repeats = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"exclude_history": False})})
    assert sorted(target_choices(repeats, held_out).user) == [0, 1, 2]
    # An event every 1,000 seconds: user 0 had item 1 that long before the last event that a request knows of.
    for seconds, users in ((1000, [0, 1, 2]), (1001, [1, 2])):
        update = {"exclude_history": False, "exclude_recent_seconds": seconds}
        recent = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update=update)})
        assert sorted(target_choices(recent, held_out).user) == users


def test_later_events_are_neither_history_nor_negatives(data: tuple, trained: tuple) -> None:
    items, train, _, _ = data
    model, _, _ = trained
    choices = train_choices(CONFIG, train)
    allowed = np.concatenate([[False], items.train_count > 0])
    source = CandidateSource(model, model.item_vectors(), allowed)
    examples = build_examples(CONFIG, source, train, choices, random_negatives=5)
    drawn = examples.candidates[:, CONFIG.ranking.candidates :]
    assert drawn.shape[1] == 5
    assert 0.2 < (drawn > 0).mean() < 1
    for i in range(0, len(examples), 7):
        user, place = choices.user[i], choices.position[i]
        begin, end = train.offsets[user], train.offsets[user + 1]
        assert begin <= choices.start[i] <= choices.stop[i] == place < end
        offered = set(examples.candidates[i, 1:].tolist()) - {0}
        assert not offered & set(train.item[begin:end].tolist())
        several = examples.candidates[i][examples.candidates[i] > 0]
        assert len(set(several)) == len(several)
        assert examples.candidates[i, 0] == train.item[place]


def test_user_errors_are_one_line(data: tuple, trained: tuple, tmp_path: Path) -> None:
    model, _, _ = trained
    single = tables.sequence_table([[1], [2]])
    with pytest.raises(TowersError, match="two train events"):
        ranking_training.train(CONFIG, model, tables.dataset(data[0], single), tmp_path / "ranking")
    with pytest.raises(TowersError, match="no ranking model"):
        ranking_persistence.load(tmp_path)
