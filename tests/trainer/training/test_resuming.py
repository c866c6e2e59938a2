"""A killed training resumes and reaches the result of an uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables, trainings
from trainer.config import Config
from trainer.data.batches import Batch, training_batches, training_windows
from trainer.data.tables import SequenceTable
from trainer.errors import TowersError
from trainer.ranking.choices import train_choices
from trainer.ranking.examples import CandidateSource, build_examples
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import training as retrieval_training
from trainer.towers.inputs import user_inputs
from trainer.training.checkpoints import Checkpoints, key_of
from trainer.training.loop import Monitoring, Schedule, TrainingData, fit
from trainer.training.optimizers import Adam
from trainer.training.randomness import RandomStream

pytestmark = pytest.mark.slow

TIMES = ("seconds", "examples_per_second", "validation_seconds")


def without_times(epochs: list[dict]) -> list[dict]:
    """The records without the keys that depend on the clock."""
    return [{key: value for key, value in record.items() if key not in TIMES} for record in epochs]


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = trainings.start("killed", tmp_path)
    trainings.finish(process, code=-9)
    state = json.loads((tmp_path / "checkpoints" / "state.json").read_text())
    epoch, step = trainings.KILLED_AT
    assert (state["epoch"], state["step"] > 0, state["step"] < step) == (epoch, True, True)
    settings = trainings.config(dropout=0.2)
    result, weights = trainings.train(settings, tmp_path, checkpoints=tmp_path / "checkpoints")
    assert f"resuming epoch {epoch} at step {state['step']}\n" in capfd.readouterr().err
    (tmp_path / "undisturbed").mkdir()
    expected, expected_weights = trainings.train(settings, tmp_path / "undisturbed")
    assert without_times(result["epochs"]) == without_times(expected["epochs"])
    assert result["ndcg@10"] == expected["ndcg@10"]
    for weight, expected_weight in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected_weight)
    vectors = [np.load(path / "model" / "item_vectors.npy") for path in (tmp_path, tmp_path / "undisturbed")]
    np.testing.assert_array_equal(*vectors)
    assert not (tmp_path / "checkpoints").exists(), "a finished training leaves no checkpoint"


class Line(tf.keras.Model):
    """Learns a slope, with noise from the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = RandomStream(1)
        self.slope = tf.Variable([0.0], name="slope")
        self.place = self.stream.place()

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        noise = tf.random.stateless_uniform(tf.shape(inputs["x"]), self.stream.seed(self.place))
        return tf.reduce_mean((self.slope * (inputs["x"] + 0.1 * noise) - inputs["y"]) ** 2)


def line_batches(epoch: int, first: int) -> Iterator[Batch]:
    for number in range(first, 5):
        x = np.random.default_rng([epoch, number]).normal(size=8).astype(np.float32)
        yield {"x": x, "y": 3 * x}


def fit_line(
    ndcg: Callable[[], float], batches: Callable[[int, int], Iterator[Batch]] = line_batches, **options: Any
) -> tuple[Line, list[dict], dict]:
    model = Line()
    model.compile(optimizer=Adam(0.05))
    history, best = fit(
        model,
        TrainingData(batches, count_examples=lambda batch: len(batch["x"]), examples_per_epoch=40, steps_per_epoch=5),
        Schedule(epochs=9, patience=3),
        Monitoring("line", on_epoch=lambda _: None),
        validate=lambda: {"ndcg@10": ndcg()},
        **options,
    )
    return model, history, best


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("epoch", "number"), [(1, 2), (2, 0), (4, 3)])
def test_best_weights_and_patience_are_resumed(tmp_path: Path, epoch: int, number: int) -> None:
    values = {1: 0.1, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.4}  # the second is the best, and the fifth the last
    seen: list[int] = []

    def score() -> float:
        seen.append(max(seen, default=0) + 1)
        return values[seen[-1]]

    def cut_off(at: int, first: int) -> Iterator[Batch]:
        for i, batch in enumerate(line_batches(at, first), first):
            if (at, i) == (epoch, number):
                raise Killed
            yield batch

    expected = fit_line(score)
    seen.clear()
    with pytest.raises(Killed):
        fit_line(score, cut_off, checkpoints=Checkpoints(tmp_path, 0.0, "key"))
    model, history, best = fit_line(score, checkpoints=Checkpoints(tmp_path, 0.0, "key"))
    assert len(history) == 5
    assert best == expected[2] == {"best_epoch": 2, "ndcg@10": 0.5}
    assert without_times(history) == without_times(expected[1])
    assert model.slope.numpy() == expected[0].slope.numpy()
    assert model.stream.step.numpy() == expected[0].stream.step.numpy() == 25


def test_old_and_incomplete_states_are_removed(tmp_path: Path) -> None:
    def cut_off(epoch: int, first: int) -> Iterator[Batch]:
        yield from line_batches(epoch, first)
        raise Killed

    with pytest.raises(Killed):
        fit_line(lambda: 0.0, cut_off, checkpoints=Checkpoints(tmp_path, 0.0, "key"))
    names = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert len(names) == 2, names  # the state, and the variables it names
    (tmp_path / "variables-17.index").write_bytes(b"half")
    (tmp_path / ".state.json.partial").write_text("{")
    assert len(fit_line(lambda: 0.0, checkpoints=Checkpoints(tmp_path, 0.0, "key"))[1]) == 4
    assert not (tmp_path / "variables-17.index").exists()
    assert not (tmp_path / ".state.json.partial").exists()


def test_the_state_of_another_training_is_an_error(tmp_path: Path) -> None:
    def cut_off(epoch: int, first: int) -> Iterator[Batch]:
        yield next(line_batches(epoch, first))
        raise Killed

    with pytest.raises(Killed):
        fit_line(lambda: 0.0, cut_off, checkpoints=Checkpoints(tmp_path, 0.0, "key"))
    with pytest.raises(TowersError, match="another configuration or other data") as error:
        fit_line(lambda: 0.0, checkpoints=Checkpoints(tmp_path, 0.0, "another key"))
    assert "\n" not in str(error.value)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(TowersError, match="cannot be read"):
        fit_line(lambda: 0.0, checkpoints=Checkpoints(tmp_path, 0.0, "key"))


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TowersError, match="checkpoint cannot be written") as error:
        fit_line(lambda: 0.0, checkpoints=Checkpoints(tmp_path / "file" / "inside", 0.0, "key"))
    assert "\n" not in str(error.value)


def test_the_key_changes_with_configuration_and_data() -> None:
    items, train, validation, _ = tables.markov()
    config = trainings.config()

    def key(
        config: Config = config, train: SequenceTable = train, validation: SequenceTable | None = validation
    ) -> str:
        return retrieval_training._checkpoint_key(config, tables.dataset(items, train, validation), tf.float32)

    other_items = dataclasses.replace(train, item=np.roll(train.item, 1))
    other_seed = config.model_copy(update={"seed": 2})
    assert len({key(), key(train=other_items), key(validation=None), key(config=other_seed)}) == 4
    assert key() == key()
    assert key_of("ab", "c") != key_of("a", "bc")


def test_training_batches_can_be_skipped() -> None:
    _, train, _, _ = tables.markov()
    columns = user_inputs(trainings.config().model, train, None, False).columns
    windows = training_windows(train, 8, 0.5)

    def batches(first: int) -> list[Batch]:
        return list(training_batches(train, columns, windows, 32, 1, 2, first))

    for batch, expected in zip(batches(7), batches(0)[7:], strict=True):
        assert all(np.array_equal(batch[name], expected[name]) for name in expected)
    assert batches(1000) == []


def test_ranking_batches_can_be_skipped() -> None:
    items, train, _, _ = tables.markov(users=40)
    config = Config.model_validate(trainings.config().model_dump() | {"ranking": {"batch_size": 16, "candidates": 10}})
    model = retrieval_model.RetrievalModel(
        config,
        retrieval_training.item_inputs(config.model, items, None),
        retrieval_training.user_inputs(config.model, train, None, False),
    )
    model.attach(items, None)
    choices = train_choices(config, train)
    allowed = np.concatenate([[False], items.train_count > 0])
    source = CandidateSource(model, model.item_vectors(), allowed)
    examples = build_examples(config, source, train, choices, random_negatives=5)
    all_batches = list(examples.batches(3))
    assert sum(len(batch["candidate"]) for batch in all_batches) == len(examples)
    for batch, expected in zip(examples.batches(3, 2), all_batches[2:], strict=True):
        assert all(np.array_equal(batch[name], expected[name], equal_nan=True) for name in expected)
