"""One small run, made once through the command line and looked at by many tests."""

from __future__ import annotations

import pytest

from tests.e2e.shop import Shop
from tests.support import tiny_bert
from tests.support.command_line import towers
from tfx_pipeline import bookshop
from tfx_pipeline.runs.run_directory import RunDirectory


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    place = tmp_path_factory.mktemp("shop")
    bookshop.write(place / "data", users=150, items=120, events=2_500)
    encoder = tiny_bert.write(place / "bert", seed=1)
    settings = {
        "text.encoder": encoder,
        "text.precision": "float32",  # as served: what half precision leaves out would show in the scores
        "model.dim": 16,
        "model.layers": 1,
        "retrieval.epochs": 2,
        "ranking.epochs": 1,
        "ranking.candidates": 30,
        "serving.k": 8,
        "serving.category": "category",
        "index.kind": "scann",
    }
    overrides = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    arguments = [
        "--config",
        "configs/demo.yaml",
        "--data",
        str(place / "data"),
        "--out",
        str(place / "run"),
        *overrides,
    ]
    first = towers("run", *arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    return Shop(place / "data", RunDirectory(place / "run"), arguments, first)
