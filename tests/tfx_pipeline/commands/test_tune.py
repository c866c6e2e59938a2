"""`towers tune`: what it writes and prints; the search itself is in tests/trainer/test_tuning.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline import cli
from tfx_pipeline.commands import tune
from trainer.config import loader as config_loader

YAML = """\
# a shop
name: shop
data:
  interactions: {path: events.csv, user_id: u, item_id: i, time: n, time_format: order}
model: {dim: 32}
tuning:
  space: {model.dropout: [0.1, 0.5], retrieval.learning_rate: {min: 1.0e-5, max: 1.0e-2, log: true}}
"""
TRIALS = [
    {"values": {"model.dropout": 0.1, "retrieval.learning_rate": 1e-05}, "score": 0.25, "reason": ""},
    {"values": {"model.dropout": 0.5, "retrieval.learning_rate": 0.01}, "score": 0.125, "reason": ""},
    {"values": {"model.dropout": 0.5, "retrieval.learning_rate": 1e30}, "score": None, "reason": "the loss became nan"},
]


def test_the_result_is_the_configuration_with_the_best_values(tmp_path: Path) -> None:
    path, result = tmp_path / "shop.yaml", tmp_path / "tuned.yaml"
    path.write_text(YAML, encoding="utf-8")
    result.write_text(tune.tuned(str(path), ["retrieval.epochs=7"], TRIALS), encoding="utf-8")
    assert result.read_text(encoding="utf-8").splitlines()[0] == (
        "# shop.yaml, tuned: validation NDCG@10 0.2500, the best of 3 trials."
    )
    before, after = config_loader.load(path), config_loader.load(result)
    assert (after.model.dropout, after.retrieval.learning_rate, after.retrieval.epochs) == (0.1, 1e-05, 7)
    assert after.model.dim == 32
    assert after.data == before.data
    assert len(result.read_text(encoding="utf-8").splitlines()) < 30  # not every default


def test_the_table_fits() -> None:
    lines = tune.table(TRIALS + TRIALS * 10).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert "0.2500    model.dropout 0.1, retrieval.learning_rate 1e-05" in lines
    assert "failed    the loss became nan" in lines
    assert lines[-1].strip() == "and 23 more"


def test_without_a_space_nothing_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(YAML.split("tuning:")[0], encoding="utf-8")
    assert cli.main(["tune", "--config", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "has no `tuning.space`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
