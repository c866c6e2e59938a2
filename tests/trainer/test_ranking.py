from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer import ranking, retrieval
from trainer.errors import TowersError
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.full_ranking import rank_all
from trainer.ranking_examples import RankingExamples

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
    retrieval.train(CONFIG, items, train, validation, None, directory / "retrieval")
    model = retrieval.load(directory / "retrieval", items, None)
    result = ranking.train(CONFIG, model, items, train, validation, None, directory / "ranking")
    reordering = ranking.load(directory / "ranking")
    reordering.attach(model.item_vectors(), ranking.popularity(items))
    return model, reordering, result


def test_reordering_wins_where_there_is_something_to_win(data: tuple, trained: tuple) -> None:
    model, reordering, result = trained
    assert result["use_ranking"] is (result["recommend"]["ndcg@10"] > result["retrieve"]["ndcg@10"])
    assert result["use_ranking"]
    values = evaluate(CONFIG, model, data[0], data[3], reordering)
    assert values["recommend"]["ndcg@10"] > values["retrieval"]["ndcg@10"]
    assert values["recommend"]["hit_rate@20"] == values["retrieval"]["hit_rate@20"], "the same 20 in another order"


def test_lists_hold_the_same_items_and_fall_in_score(data: tuple, trained: tuple) -> None:
    model, reordering, _ = trained
    items, test = data[0], data[3]
    plain = {
        u: row for b in rank_all(CONFIG, model, items, test, k=30) for u, row in zip(b.users, b.items, strict=True)
    }
    for batch in rank_all(CONFIG, model, items, test, k=30, ranking=reordering):
        assert (np.diff(np.where(np.isfinite(batch.scores), batch.scores, -1e30), axis=1) <= 0).all()
        for user, row in zip(batch.users, batch.items, strict=True):
            assert sorted(row[:20]) == sorted(plain[user][:20])
            assert list(row[20:]) == list(plain[user][20:])


def request(batch: int = 3, history: int = 4, candidates: int = 6, dim: int = 16) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    return {
        "user_vector": normal(batch, dim),
        "history_vector": normal(batch, history, dim),
        "length": np.array([4, 2, 0], np.int32),
        "candidate_vector": normal(batch, candidates, dim),
        "retrieval_score": normal(batch, candidates),
        "popularity": normal(batch, candidates),
    }


def test_an_untrained_model_keeps_the_order_of_retrieval() -> None:
    features = request()
    logits = ranking.RankingModel(CONFIG, 16, False, 0.0, 1.0).score(features)["logits"].numpy()
    np.testing.assert_array_equal(np.argsort(logits), np.argsort(features["retrieval_score"]))


def test_score_reads_no_padding_and_gives_missing_candidates_no_chance(trained: tuple) -> None:
    _, model, _ = trained
    features = request()
    features["retrieval_score"][1, 4:] = -np.inf
    before = model.score(features)
    assert set(before) == {"logits", "rating"}
    assert np.isneginf(before["logits"].numpy()[1, 4:]).all()
    changed = {name: value.copy() for name, value in features.items()}
    changed["history_vector"][1, 2:] = 99.0
    changed["history_vector"][2] = 99.0
    np.testing.assert_allclose(model.score(changed)["logits"], before["logits"], atol=1e-5)
    changed["history_vector"][1, 1] = 99.0
    assert not np.allclose(model.score(changed)["logits"][1, :4], before["logits"][1, :4], atol=1e-3)
    empty = {**features, "history_vector": np.zeros([3, 0, 16], np.float32), "length": np.zeros([3], np.int32)}
    assert np.isfinite(model.score(empty)["logits"].numpy()[[0, 2]]).all()


def test_graph_and_eager_agree(trained: tuple) -> None:
    _, model, _ = trained
    features = {name: tf.constant(value) for name, value in request().items()}
    graph = tf.function(model.score, autograph=False)(features)
    for name, value in model.score(features).items():
        np.testing.assert_allclose(graph[name], value, atol=1e-5)


def test_later_events_are_neither_seen_nor_held_against_anyone(data: tuple, trained: tuple) -> None:
    items, train, _, _ = data
    model, _, _ = trained
    examples = RankingExamples(CONFIG, model, items, train, model.item_vectors())
    for i in range(0, len(examples), 7):
        user, place = examples.user[i], examples.place[i]
        begin, end = train.offsets[user], train.offsets[user + 1]
        assert begin <= examples.start[i] <= place < end
        offered = set(examples._candidates[i, 1:].tolist()) - {0}
        assert not offered & set(train.item[begin:end].tolist())
        assert examples._candidates[i, 0] == train.item[place]


def test_user_errors_are_one_line(data: tuple, trained: tuple, tmp_path: Path) -> None:
    model, _, _ = trained
    single = tables.sequence_table([[1], [2]])
    with pytest.raises(TowersError, match="two train events"):
        ranking.train(CONFIG, model, data[0], single, None, None, tmp_path / "ranking")
    with pytest.raises(TowersError, match="no ranking model"):
        ranking.load(tmp_path)
