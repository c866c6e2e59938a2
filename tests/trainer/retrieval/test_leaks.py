"""The prediction of event t uses nothing of event t or of later events, in training and in evaluation.

The tests cover the whole path: table of sequences, batches, vectors. The query, context and time of the request before
event t are known when it is made: the prediction of t may use them, but not those of later requests.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.trainer import tables
from trainer.data.batches import training_batches, training_windows
from trainer.data.tables import NO_TEXT, SequenceTable
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.graphs import AnyShapeFunction
from trainer.retrieval.model import RetrievalModel
from trainer.towers.inputs import item_inputs, user_inputs

pytestmark = pytest.mark.slow

MAX_HISTORY = 4  # shorter than most sequences, so that they are cut into windows
ITEMS, SEQUENCES, TEXTS = tables.everything(users=6)
OF_THE_EVENT = ("item", "text_row", "rating", "event")
OF_THE_REQUEST = ("timestamp", "query_row", "device")
FIELDS = OF_THE_EVENT + OF_THE_REQUEST
EVENTS = len(SEQUENCES.item)
USER = np.repeat(np.arange(len(SEQUENCES)), np.diff(SEQUENCES.offsets))


def column(sequences: SequenceTable, field: str) -> np.ndarray:
    return sequences.context["device"] if field == "device" else getattr(sequences, field)


def with_column(sequences: SequenceTable, field: str, values: np.ndarray) -> SequenceTable:
    if field == "device":
        return dataclasses.replace(sequences, context={"device": values})
    return dataclasses.replace(sequences, **{field: values})


def other_values(field: str, old: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """New values, each different from the old one."""
    size = len(old)
    if field == "timestamp":
        return old + generator.choice([-1, 1], size) * generator.integers(1, 10**8, size)
    if field == "rating":
        new = generator.integers(1, 6, size).astype(np.float32)
        return np.where(new == old, np.float32(np.nan), new)
    first, count = {"item": (0, 10), "text_row": (-1, 21), "query_row": (-1, 21), "event": (0, 3), "device": (0, 4)}[
        field
    ]
    return (first + (old - first + generator.integers(1, count, size)) % count).astype(old.dtype)


def changed_at(place: int, fields: tuple[str, ...], later: tuple[str, ...], seed: int) -> SequenceTable:
    """The table with other values: in `fields` of the event at a flat position, in `later` of all after it."""
    generator = np.random.default_rng(seed)
    sequences = SEQUENCES
    end = int(SEQUENCES.offsets[USER[place] + 1])
    for names, rows in ((fields, slice(place, place + 1)), (later, slice(place + 1, end))):
        for field in names:
            values = column(sequences, field).copy()
            values[rows] = other_values(field, values[rows], generator)
            sequences = with_column(sequences, field, values)
    return sequences


class Model:
    """A model that has every input, and its vectors at every event of a table."""

    def __init__(self) -> None:
        # No dropout of inputs: a dropped input could not leak.
        self.config = tables.make_config(model={"dim": 16, "max_history": MAX_HISTORY, "side_dropout": 0.0})
        self.model = RetrievalModel(
            self.config,
            item_inputs(self.config.model, ITEMS, TEXTS),
            dataclasses.replace(
                user_inputs(self.config.model, SEQUENCES, TEXTS, True),
                periods=tuple(int(time) for time in np.quantile(SEQUENCES.timestamp, [0, 0.3, 0.6, 1])),
            ),
        )
        self.model.attach(ITEMS, TEXTS)
        generator = np.random.default_rng(0)
        for variable in self.model.trainable_variables:  # so that no part is zero or too small to show
            variable.assign_add(generator.normal(size=variable.shape).astype(np.float32) * 0.2)
        self.vectors = self.model.item_vectors()
        self._positions = AnyShapeFunction(self._logits)

    def _logits(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """As training makes them, its dropout included (which draws the same numbers each time): [B, P, n + 1]."""
        vectors = self.model.item_tower.all_vectors(True)
        users = self.model.user_tower(self.model.features(batch), vectors, training=True)
        return tf.einsum("bpd,nd->bpn", users, vectors)

    def training_logits(self, sequences: SequenceTable, overlap: float, known: bool = True) -> np.ndarray:
        """Row i: the logits that the event at flat position i is to be predicted from, float32 [events, n + 1].

        `known`: whether the queries and times of the requests are known.
        """
        logits = np.full([EVENTS, len(ITEMS) + 1], np.nan, np.float32)
        # The order of batches depends on seed and lengths only: with positions as items, batches show their positions.
        numbered = dataclasses.replace(sequences, item=np.arange(1, EVENTS + 1, dtype=np.int32))
        for batch, number in zip(self.batches(sequences, overlap), self.batches(numbered, overlap), strict=True):
            if not known:
                batch |= {
                    "query_row": np.full_like(batch["query_row"], NO_TEXT),
                    "request_timestamp": np.zeros_like(batch["request_timestamp"]),
                }
            learn = number["target"] > 0
            np.testing.assert_array_equal(batch["target"][learn], sequences.item[number["target"][learn] - 1])
            logits[number["target"][learn] - 1] = self._positions(batch).numpy()[learn]
        assert np.isfinite(logits).all(), "every event should be predicted once"
        return logits

    def batches(self, sequences: SequenceTable, overlap: float) -> list[dict[str, np.ndarray]]:
        windows = training_windows(sequences, MAX_HISTORY, overlap)
        return list(training_batches(sequences, self.model.columns, windows, 4, 1, 1))

    def recommend(self, sequences: SequenceTable, place: int, known: bool) -> tuple[np.ndarray, np.ndarray]:
        """All items, best first, for a request just before an event: int32 [n] items, float32 [n] scores.

        `known`: whether the query and the time of the request are known.
        """
        user = USER[place]
        evaluation = self.config.evaluation.model_copy(update={"with_query": known, "with_timestamp": known})
        config = self.config.model_copy(update={"evaluation": evaluation})
        targets = np.zeros(len(sequences), np.int32)
        targets[user] = sequences.offsets[user + 1] - place
        requests = dataclasses.replace(sequences, target_count=targets)
        task = RankingTask(config, ITEMS, requests, k=len(ITEMS), users=np.array([user]))
        (batch,) = rank_with_model(task, self.model, item_vectors=self.vectors)
        return batch.items[0], batch.scores[0]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


places = st.integers(0, EVENTS - 1)
of_the_event = st.lists(st.sampled_from(OF_THE_EVENT), unique=True, min_size=1).map(tuple)
of_later_ones = st.lists(st.sampled_from(FIELDS), unique=True).map(tuple)
seeds = st.integers(0, 2**32 - 1)
checked = settings(max_examples=60, deadline=None, phases=(Phase.reuse, Phase.generate))  # shrinking takes minutes


@checked
@given(
    place=places,
    fields=of_the_event,
    later=of_later_ones,
    seed=seeds,
    overlap=st.sampled_from([0.0, 0.5, 0.9]),
    known=st.booleans(),
)
def test_training_logits(
    model: Model,
    place: int,
    fields: tuple[str, ...],
    later: tuple[str, ...],
    seed: int,
    overlap: float,
    known: bool,
) -> None:
    if not known:
        fields += ("timestamp", "query_row")
    before = model.training_logits(SEQUENCES, overlap, known)
    after = model.training_logits(changed_at(place, fields, later, seed), overlap, known)
    may_differ = (np.arange(EVENTS) > place) & (USER[place] == USER)
    np.testing.assert_allclose(after[~may_differ], before[~may_differ], atol=1e-5)


@checked
@given(place=places, fields=of_the_event, later=of_later_ones, seed=seeds, known=st.booleans())
def test_answers_to_a_request_just_before(
    model: Model, place: int, fields: tuple[str, ...], later: tuple[str, ...], seed: int, known: bool
) -> None:
    if not known:
        fields += ("timestamp", "query_row")
    items, scores = model.recommend(SEQUENCES, place, known)
    items_after, scores_after = model.recommend(changed_at(place, fields, later, seed), place, known)
    np.testing.assert_allclose(scores_after, scores, atol=1e-5)
    np.testing.assert_array_equal(items_after, items)


def test_every_field_counts_later(model: Model) -> None:
    """A field that no prediction read would pass the tests above."""
    place = int(SEQUENCES.offsets[np.diff(SEQUENCES.offsets).argmax()]) + 1
    before = model.training_logits(SEQUENCES, 0.5)
    for field in FIELDS:
        seen_from = place if field in OF_THE_REQUEST else place + 1
        after = model.training_logits(changed_at(place, (field,), (), 0), 0.5)
        assert np.abs(after[seen_from] - before[seen_from]).max() > 1e-3, field
