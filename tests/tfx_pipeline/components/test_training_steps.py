"""Where training steps keep the state of a training that is not done."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from tfx_pipeline.components import dataset_step
from tfx_pipeline.components.dataset_step import Step
from tfx_pipeline.runners import kubeflow
from trainer.config import Config

pytestmark = pytest.mark.slow

CONFIG = Config.model_validate(
    {
        "name": "shop",
        "data": {
            "interactions": {"path": "x.csv", "user_id": "u", "item_id": "i", "time": "t", "time_format": "order"}
        },
    }
)
STEP = Step(
    CONFIG, {"sequences": "/run/7", "items": "/run/8"}, {"towers": "/run/9", "model_run": "/run/logs/9"}, "/checkpoints"
)


def test_a_checkpoint_is_found_again_in_another_execution_and_in_no_other_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = STEP.training_options()
    again = dataclasses.replace(STEP, outputs={"towers": "/run/10", "model_run": "/run/logs/10"}).training_options()
    assert str(options["checkpoints"]).startswith("/checkpoints/")
    assert again["checkpoints"] == options["checkpoints"]
    assert (options["logs"], again["logs"]) == ("/run/logs/9", "/run/logs/10")
    others = [
        dataclasses.replace(STEP, config=CONFIG.model_copy(update={"seed": 2})),
        dataclasses.replace(STEP, inputs={"sequences": "/run/11", "items": "/run/8"}),
    ]
    directories = [step.training_options()["checkpoints"] for step in others]
    monkeypatch.setattr(dataset_step, "code_fingerprint", lambda: "other sources")
    directories.append(STEP.training_options()["checkpoints"])
    assert len({options["checkpoints"], *directories}) == 4
    assert dataclasses.replace(STEP, checkpoints="").training_options()["checkpoints"] is None


@pytest.mark.parametrize(
    ("data_root", "pipeline_root", "expected"),
    [
        ("/data", "gs://bucket/towers", "/data/checkpoints/shop"),
        ("gs://bucket/data", "gs://bucket/towers/", "gs://bucket/towers/checkpoints/shop"),
        ("gs://bucket/data", "/shared/towers", "/shared/towers/checkpoints/shop"),
        ("s3://bucket/data", "s3://bucket/towers", ""),
    ],
)
def test_on_kubeflow_they_are_kept_where_the_next_pod_finds_them(
    tmp_path: Path, data_root: str, pipeline_root: str, expected: str
) -> None:
    places = {"data_root": data_root, "pipeline_root": pipeline_root, "serving_directory": "/served"}
    config = Config.model_validate(CONFIG.model_dump() | {"kubeflow": places})
    spec = yaml.safe_load(kubeflow.compile_pipeline(config, tmp_path / "spec.yaml", []).read_text(encoding="utf-8"))
    for step in ("RetrievalTrainer", "RankingTrainer"):
        task = spec["root"]["dag"]["tasks"][step]
        assert task["inputs"]["parameters"]["checkpoints"]["runtimeValue"]["constant"] == expected
        outputs = spec["components"][task["componentRef"]["name"]]["outputDefinitions"]["artifacts"]
        assert "model_run" in outputs
