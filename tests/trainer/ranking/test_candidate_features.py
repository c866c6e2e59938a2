from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import tables
from trainer.data import cooccurrence
from trainer.data.tables import SequenceTable
from trainer.ranking.candidate_features import DECAYS, LATEST, NAMES, NEXT_DECAY, NEXT_EVENTS, CandidateFeatures

pytestmark = pytest.mark.slow

ITEMS, NEIGHBOURS = 12, 4


def random_tables(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    counts: dict[str, np.ndarray] = {}
    for kind in ("together", "next"):
        rows = [random.permutation(ITEMS)[:NEIGHBOURS] + 1 for _ in range(ITEMS + 1)]
        counts[f"{kind}_item"] = np.stack(rows).astype(np.int32)
        counts[f"{kind}_weight"] = random.random([ITEMS + 1, NEIGHBOURS]).astype(np.float16)
        counts[f"{kind}_item"][0], counts[f"{kind}_weight"][0] = 0, 0
    for name in ("popularity", "recent"):
        counts[name] = random.random(ITEMS + 1).astype(np.float32)
        counts[name][0] = 0
    return counts


def naive(counts: dict[str, np.ndarray], history: list[int], candidate: int) -> list[float]:
    def weight(kind: str, item: int) -> float:
        here = counts[f"{kind}_item"][item] == candidate
        return float(counts[f"{kind}_weight"][item][here].sum(dtype=np.float64))

    back = list(enumerate(reversed(history)))
    together = [sum(decay**i * weight("together", item) for i, item in back[:LATEST]) for decay in DECAYS]
    following = sum(NEXT_DECAY**i * weight("next", item) for i, item in back[:NEXT_EVENTS])
    own = [i for i, item in back if item == candidate]
    return [
        *(np.log1p(10 * value) for value in together),
        np.log1p(20 * following),
        counts["popularity"][candidate],
        counts["recent"][candidate],
        np.log1p(len(own)),
        1 / (1 + own[0]) if own else 0.0,
    ]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_features_equal_their_definitions(data: st.DataObject) -> None:
    counts = random_tables(data.draw(st.integers(0, 3)))
    histories = data.draw(st.lists(st.lists(st.integers(1, ITEMS), max_size=30), min_size=1, max_size=3))
    width = max(len(history) for history in histories) + data.draw(st.integers(0, 2))
    padded = np.array([history + [0] * (width - len(history)) for history in histories], np.int32)
    count = data.draw(st.integers(0, 5))
    item = st.lists(st.integers(1, ITEMS), min_size=count, max_size=count)
    candidates = np.array([data.draw(item) for _ in histories], np.int32).reshape(len(histories), count)
    lengths = np.array([len(history) for history in histories], np.int32)
    got = CandidateFeatures(counts)(
        tf.constant(padded.reshape(len(histories), width)), tf.constant(lengths), tf.constant(candidates)
    )
    expected = [
        [naive(counts, history, c) for c in row] for history, row in zip(histories, candidates.tolist(), strict=True)
    ]
    assert got.shape[2] == len(NAMES)
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), atol=1e-5)


def test_features_of_missing_candidates_and_unknown_items_are_zero() -> None:
    features = CandidateFeatures(random_tables(0))
    got = features(tf.constant([[0, 0]]), tf.constant([2]), tf.constant([[0, 3]])).numpy()[0]
    own = [NAMES.index("own events"), NAMES.index("own recency"), NAMES.index("comes next")]
    assert (got[:, own] == 0).all()


def shop() -> SequenceTable:
    return tables.sequence_table([[1, 2, 3], [1, 2], [2, 1, 4], [5]])


def test_neighbours_are_counted_by_hand() -> None:
    together = cooccurrence.going_together(5, shop(), 3)
    # Items 1 and 2 have three users each, all in common; item 3 has one, item 4 one.
    assert list(together.item[1]) == [2, 3, 4], "the strongest first, of equal ones the lower index"
    assert together.weight[1, 0] == pytest.approx(3 / (3 + cooccurrence.SHRINKAGE))
    assert together.weight[1, 1] == pytest.approx(1 / (np.sqrt(3) + cooccurrence.SHRINKAGE))
    assert (together.item[5] == 0).all(), "nothing goes with item 5"
    assert (together.item[0] == 0).all(), "nor with an unknown item"
    following = cooccurrence.coming_next(5, shop(), 3)
    assert list(following.item[2]) == [3, 1, 4]
    assert following.weight[1, 0] == pytest.approx(2 / (3 + cooccurrence.SHRINKAGE))
    assert following.weight[2, 2] == pytest.approx(0.5 / (np.sqrt(3) + cooccurrence.SHRINKAGE)), "two events later"


def test_only_the_train_split_is_counted(tmp_path: Path) -> None:
    items, train, _, _ = tables.markov()
    features = CandidateFeatures.count(items, train, 5)
    np.testing.assert_allclose(
        features.popularity(tf.range(len(items) + 1)), np.log1p(np.bincount(train.item, minlength=len(items) + 1))
    )
    features.save(tmp_path)
    again = CandidateFeatures.load(tmp_path)
    inputs = (tf.constant([[3, 4, 5]]), tf.constant([3]), tf.constant([[6, 7, 8]]))
    np.testing.assert_array_equal(again(*inputs), features(*inputs))


def test_over_another_catalogue_known_items_keep_their_counts_and_new_ones_have_none() -> None:
    """The other catalogue: a new item, then item 7, a new one, then 3, 2 and 1; 4 to 6 and 8 to 12 are gone."""
    features = CandidateFeatures(random_tables(1))
    rows = np.array([0, 7, 0, 3, 2, 1], np.int32)
    there = features.for_catalogue(rows)
    history, candidates = [3, 2, 7], [1, 2, 3, 7]
    place = {int(row): i + 1 for i, row in enumerate(rows) if row}

    def asked(table: CandidateFeatures, history: list[int], candidates: list[int]) -> np.ndarray:
        return table(tf.constant([history]), tf.constant([len(history)]), tf.constant([candidates])).numpy()[0]

    expected = asked(features, history, candidates)
    np.testing.assert_allclose(
        asked(there, [place[i] for i in history], [place[i] for i in candidates]), expected, atol=1e-6
    )
    assert (asked(there, [place[i] for i in history], [1, 3]) == 0).all()
    # Nor does a new item in the history speak for any.
    np.testing.assert_allclose(asked(there, [1, place[3]], [place[2]])[0, 3], asked(features, [0, 3], [2])[0, 3])
