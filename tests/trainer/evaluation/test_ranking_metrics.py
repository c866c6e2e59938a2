from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.names import METRICS
from trainer.evaluation import metrics

pytestmark = pytest.mark.slow


def naive(ranked: list[int], wanted: set[int], k: int) -> dict[str, float]:
    """Each metric from a list of items and a set of targets, by its textbook definition."""
    top = ranked[:k]
    gains = [1.0 if item in wanted else 0.0 for item in top]
    ideal = sorted([1.0] * len(wanted) + [0.0] * k, reverse=True)[:k]
    dcg = sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))
    best = sum(gain / math.log2(place + 2) for place, gain in enumerate(ideal))
    precisions = [sum(gains[: place + 1]) / (place + 1) for place in range(len(top)) if gains[place]]
    places = [place for place, gain in enumerate(gains) if gain]
    return {
        "hit_rate": float(any(gains)),
        "recall": sum(gains) / len(wanted),
        "ndcg": dcg / best,
        "mrr": 1 / (places[0] + 1) if places else 0.0,
        "map": sum(precisions) / min(len(wanted), k),
    }


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_metrics_equal_their_definitions(data: st.DataObject) -> None:
    cutoffs = (1, 3, 10)
    users = data.draw(st.integers(1, 6))
    ranks, offsets, expected = [], [0], []
    for _ in range(users):
        ranked = data.draw(st.permutations(range(12)))
        listed = ranked[: data.draw(st.integers(1, 12))]
        wanted = data.draw(st.sets(st.integers(0, 14), min_size=1, max_size=6))
        ranks += [listed.index(item) + 1 if item in listed else 0 for item in wanted]
        offsets.append(len(ranks))
        expected.append({k: naive(listed, wanted, k) for k in cutoffs})
    result = metrics.from_ranks(np.array(ranks), np.array(offsets), cutoffs)
    for k in cutoffs:
        for name in METRICS:
            assert result[f"{name}@{k}"] == pytest.approx(np.mean([user[k][name] for user in expected])), (name, k)


def test_users_without_targets_do_not_count() -> None:
    result = metrics.from_ranks(np.array([1]), np.array([0, 0, 1, 1]), [10])
    assert result["ndcg@10"] == 1.0
    assert metrics.from_ranks(np.zeros(0, int), np.array([0, 0]), [10])["ndcg@10"] == 0.0


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_metrics_equal_trec_evals(data: st.DataObject) -> None:
    """Over full rankings of scores with ties, which go to the lower index, and lists that end early."""
    k, users = 5, data.draw(st.integers(1, 4))
    qrels, run, ranks, offsets = {}, {}, [], [0]
    for user in range(users):
        scores = np.array(data.draw(st.lists(st.integers(0, 4), min_size=12, max_size=12)), np.float32)
        allowed = data.draw(st.integers(0, 12))
        order = np.argsort(-scores, kind="stable")[:allowed]
        wanted = data.draw(st.sets(st.integers(0, 13), min_size=1, max_size=k))  # of more, trec_eval's MAP is another
        place = {int(item): rank + 1 for rank, item in enumerate(order)}
        ranks += [place.get(item, 0) for item in sorted(wanted)]
        offsets.append(len(ranks))
        qrels[str(user)] = {str(item): 1 for item in wanted}
        run[str(user)] = {str(item): float(-rank) for item, rank in place.items()}
    result = metrics.per_user(np.array(ranks), np.array(offsets), [k])
    wanted_measures = {f"ndcg_cut.{k}", f"recall.{k}", f"success.{k}", f"map_cut.{k}", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, wanted_measures).evaluate(run)
    for user in range(users):
        expected = theirs.get(str(user), {})  # a user with an empty list is left out
        first = expected.get("recip_rank", 0.0)
        for ours, value in (
            ("ndcg", expected.get(f"ndcg_cut_{k}", 0.0)),
            ("recall", expected.get(f"recall_{k}", 0.0)),
            ("hit_rate", expected.get(f"success_{k}", 0.0)),
            ("map", expected.get(f"map_cut_{k}", 0.0)),
            ("mrr", first if first >= 1 / k - 1e-9 else 0.0),
        ):
            assert abs(result[f"{ours}@{k}"][user] - value) < 1e-9, (ours, user)
