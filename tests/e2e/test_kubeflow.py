"""The compiled Kubeflow spec: what it says, and that its steps run from it and do what the local run did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.e2e.kubeflow_steps import KubeflowSteps
from tests.e2e.shop import Shop
from tests.support.command_line import ROOT
from tfx_pipeline import cli
from tfx_pipeline.runners import kubeflow_step
from tfx_pipeline.runs.run_directory import RunDirectory

pytestmark = pytest.mark.slow

IMAGE = "registry.test/interest-towers:7"
RESOURCES = {
    "default": {"cpu": 2, "memory": "4Gi"},
    "RetrievalTrainer": {"cpu": 8, "memory": "16G", "accelerator": "nvidia.com/gpu", "accelerator_count": 2},
}


def compile_pipeline(output: Path, settings: dict[str, Any], *arguments: str) -> int:
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    config = str(ROOT / "configs/demo.yaml")
    return cli.main(
        ["compile", "--config", config, "--runner", "kubeflow", "--out", str(output), *arguments, *overrides]
    )


@pytest.fixture(scope="module")
def spec_file(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("spec") / "pipeline.yaml"
    options = zip(shop.arguments[::2], shop.arguments[1::2], strict=True)
    overrides = [word for option in options if option[0] == "--set" for word in option]
    settings = {
        "kubeflow.image": IMAGE,
        "kubeflow.pipeline_root": "gs://bucket/towers",
        "kubeflow.data_root": str(shop.data),
        "kubeflow.resources": RESOURCES,
    }
    assert compile_pipeline(output, settings, *overrides) == 0
    assert list(output.parent.iterdir()) == [output]
    return output


@pytest.fixture
def steps(spec_file: Path, tmp_path: Path) -> KubeflowSteps:
    return KubeflowSteps(yaml.safe_load(spec_file.read_text(encoding="utf-8")), tmp_path)


def test_kubeflow_reads_the_spec(spec_file: Path) -> None:
    from kfp import components

    text = spec_file.read_text(encoding="utf-8")
    component = components.load_component_from_text(text)
    assert component.name == "demo"
    spec = yaml.safe_load(text)
    assert spec["schemaVersion"] == "2.1.0"
    assert spec["defaultPipelineRoot"] == "gs://bucket/towers/artifacts"


def test_every_step_has_image_command_and_resources(steps: KubeflowSteps) -> None:
    assert len(steps.tasks) == 22
    for step in steps.tasks:
        container = steps.container(step)
        assert container["image"] == IMAGE
        assert container["command"][:3] == ["python", "-m", kubeflow_step.__name__]
        resources = container["resources"]
        if step == "RetrievalTrainer":
            accelerator = {"type": "nvidia.com/gpu", "count": "2"}
            assert resources == {"cpuLimit": 8.0, "memoryLimit": 16.0, "accelerator": accelerator}
        else:
            assert resources == {"cpuLimit": 2.0, "memoryLimit": pytest.approx(4 * 2**30 / 1e9)}


def test_a_step_waits_for_those_whose_outputs_it_reads(steps: KubeflowSteps) -> None:
    for step, task in steps.tasks.items():
        read = {source["taskOutputArtifact"]["producerTask"] for source in task["inputs"].get("artifacts", {}).values()}
        assert read <= set(task.get("dependentTasks", [])), step
    # No output of validation is read: what waits for it would run on bad data all the same.
    assert "SequencesValidator" in steps.tasks["SequencesTransform"]["dependentTasks"]
    assert "ItemsValidator" in steps.tasks["ItemsTransform"]["dependentTasks"]
    assert steps.tasks["AtomicPusher"]["dependentTasks"] == ["EmbeddedInfraValidator", "Exporter", "ModelBlesser"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kubeflow.resources": {"Trainer": {"cpu": 1}}}, "Received: ['Trainer']"),
        ({"kubeflow.pipeline_root": "s3://bucket/towers"}, "Received: 's3://bucket/towers/serving/recommender'"),
    ],
)
def test_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], named: str) -> None:
    assert compile_pipeline(tmp_path / "pipeline.yaml", settings) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


def test_steps_run_from_the_spec_and_do_what_the_local_run_did(steps: KubeflowSteps, shop: Shop) -> None:
    run = shop.directory
    steps.run("Ingest")
    reports = [steps.directory("Ingest", "quarantine") / "counts.json", run.report / "data.json"]
    actual, expected = (json.loads(path.read_text(encoding="utf-8")) for path in reports)
    assert actual.pop("quarantine") != expected.pop("quarantine")  # each its own place
    assert actual == expected
    same_examples(steps, run, "Ingest", "sequences", ["train", "validation", "test"])
    same_examples(steps, run, "Ingest", "items", ["all"])

    for step in ("SequencesSchema", "ItemsSchema"):
        steps.adopt(step, "schema", run.output(step, "schema"))
    steps.run("SequencesTransform", "ItemsTransform")
    same_examples(steps, run, "SequencesTransform", "transformed_examples", ["train", "validation", "test"])
    same_examples(steps, run, "ItemsTransform", "transformed_examples", ["all"])

    steps.adopt("EmbedTexts", "texts", run.output("EmbedTexts", "texts"))
    steps.run("RetrievalTrainer")
    trained, reference = steps.directory("RetrievalTrainer", "towers"), Path(run.output("RetrievalTrainer", "towers"))
    assert (trained / "item_ids.json").read_bytes() == (reference / "item_ids.json").read_bytes()
    vectors = np.load(trained / "item_vectors.npy")
    assert vectors.shape == (121, 16)
    np.testing.assert_allclose(vectors, np.load(reference / "item_vectors.npy"), rtol=0, atol=1e-6)


def same_examples(steps: KubeflowSteps, run: RunDirectory, step: str, key: str, splits: list[str]) -> None:
    here, there = steps.directory(step, key), Path(run.output(step, key))
    assert sorted(path.name for path in here.iterdir()) == sorted(f"Split-{split}" for split in splits)
    for split in splits:
        actual, expected = (sorted(examples(directory / f"Split-{split}")) for directory in (here, there))
        assert len(expected) >= 100
        assert actual == expected, (step, key, split)


def examples(directory: Path) -> Iterator[bytes]:
    files = [str(path) for path in sorted(directory.glob("*.gz"))]
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record).SerializeToString(deterministic=True)
