from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables, trainings
from trainer.training import progress
from trainer.training.tensorboard import EventLog

pytestmark = pytest.mark.slow


def scalars(directory: Path) -> dict[tuple[str, int], float]:
    """(tag, step) -> value, from all event files."""
    values = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                values[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return values


def test_tensorboard_shows_what_the_records_say(tmp_path: Path) -> None:
    records: list[dict] = []
    result, _ = trainings.train(trainings.config(epochs=2), tmp_path, logs=tmp_path / "logs", on_epoch=records.append)
    logged = scalars(tmp_path / "logs")
    for record in result["epochs"]:
        assert logged["train/loss", record["epoch"]] == pytest.approx(record["loss"], rel=1e-6)
        for metric in ("ndcg@10", "hit_rate@10"):
            assert logged[f"validation/{metric}", record["epoch"]] == pytest.approx(record[metric], rel=1e-6)
        # Each of the 300 users' train events is predicted once an epoch.
        events = record["examples_per_second"] * record["seconds"]
        assert events == pytest.approx(len(tables.markov()[1].item), rel=1e-6)
    assert {step for _, step in logged} == {1, 2}
    assert records == result["epochs"]


def test_a_log_can_be_continued(tmp_path: Path) -> None:
    for epoch in (1, 2):
        log = EventLog(tmp_path)
        log.write({"epoch": epoch, "loss": 0.5 * epoch})
        log.close()
    assert scalars(tmp_path) == {("train/loss", 1): 0.5, ("train/loss", 2): 1.0}


def test_lines_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0.0)
    lines: list[str] = []
    batches = [np.zeros(4), np.zeros(2)]
    epoch = progress.EpochProgress("retrieval 1/9", total=7, done=3, count_examples=len, on_update=lines.append)
    assert len(list(epoch.track(batches))) == 2
    assert [re.sub(r"[\d,]+ examples", "N examples", line) for line in lines] == [
        "retrieval 1/9, step 4/7, N examples/s, 0:00:00 left",
        "retrieval 1/9, step 5/7, N examples/s, 0:00:00 left",
    ]


def test_an_epochs_line() -> None:
    record = {"epoch": 3, "loss": 4.56789, "examples_per_second": 12345.6}
    assert progress.format_record(record) == "epoch 3, loss 4.568, examples_per_second 12,346"
