"""The search of hyperparameters, as a user types it, over what a run has prepared."""

from __future__ import annotations

import re

import pytest

from tests.e2e.shop import Shop
from tests.support.command_line import towers_here
from trainer.config import loader as config_loader

pytestmark = pytest.mark.slow


def test_the_best_of_two_becomes_a_configuration(shop: Shop) -> None:
    space = ("--set", "tuning.space={model.dropout: [0.0, 0.6]}", "--set", "tuning.method=random")
    finished = shop.directory.finished_config()
    done = towers_here("tune", *shop.arguments, *space, "--set", "tuning.trials=2")
    assert done.returncode == 0, done.stderr
    for step in ("Ingest", "SequencesTransform", "EmbedTexts"):
        assert re.search(rf"{step} .*from the cache", done.stderr), step
    assert re.search(
        r"\[11/11\] RetrievalTuner .* 2 trials, validation NDCG@10 0\.\d{4} with model\.dropout 0", done.stderr
    )
    heading, *rows, path = done.stdout.splitlines()
    assert heading == "NDCG@10   on validation, with"
    assert [float(row.split()[0]) for row in rows] == sorted((float(row.split()[0]) for row in rows), reverse=True)
    tuned = config_loader.load(path.split(maxsplit=1)[1])
    assert f"model.dropout {tuned.model.dropout:g}" in rows[0].replace("0.0", "0")
    assert tuned.model.dim == finished.model.dim
    assert shop.directory.finished_config() == finished  # of the run, which goes on to be the last one finished
    again = towers_here("tune", *shop.arguments, *space, "--set", "tuning.trials=2")
    assert again.stderr.count("from the cache") == 11
    assert again.stdout == done.stdout
