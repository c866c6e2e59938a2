from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfx_pipeline.runners import kubeflow_step


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("gs://bucket/a/b", "/gcs/bucket/a/b"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("minio://mlpipeline/v2/a", "/minio/mlpipeline/v2/a"),
        ("/mnt/a", "/mnt/a"),
    ],
)
def test_local_path(address: str, path: str) -> None:
    assert kubeflow_step.local_path(address) == path


def test_a_store_that_kubeflow_does_not_know() -> None:
    with pytest.raises(ValueError, match="Received: 'hdfs://name/a'"):
        kubeflow_step.local_path("hdfs://name/a")


def test_addresses_become_paths_and_come_back(tmp_path: Path) -> None:
    def artifacts(uri: str) -> dict:
        return {"artifacts": [{"name": "x", "uri": uri, "metadata": {"span": 0}}]}

    executor_input = {
        "inputs": {"parameterValues": {"config": "{}"}, "artifacts": {"items": artifacts("gs://bucket/in")}},
        "outputs": {"artifacts": {"towers": artifacts("gs://bucket/out")}, "outputFile": str(tmp_path / "out.json")},
    }
    addresses = kubeflow_step.localise(executor_input, str(tmp_path))
    local = str(tmp_path / "gcs/bucket/out")
    assert executor_input["outputs"]["artifacts"]["towers"] == artifacts(local)
    assert executor_input["inputs"]["artifacts"]["items"] == artifacts(str(tmp_path / "gcs/bucket/in"))
    assert Path(local).is_dir()
    assert not (tmp_path / "gcs/bucket/in").exists()

    output_file = tmp_path / "out.json"
    output_file.write_text(json.dumps({"artifacts": {"towers": artifacts(local)}}), encoding="utf-8")
    kubeflow_step.restore(str(output_file), addresses)
    assert json.loads(output_file.read_text(encoding="utf-8")) == {
        "artifacts": {"towers": artifacts("gs://bucket/out")}
    }


def test_a_step_without_inputs(tmp_path: Path) -> None:
    executor_input = {"inputs": {}, "outputs": {"artifacts": {}, "outputFile": "x"}}
    assert kubeflow_step.localise(executor_input, str(tmp_path)) == {}
