"""Runs steps of a compiled pipeline as Kubeflow's launcher does, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.command_line import ROOT

Artifact = dict[str, Any]


class KubeflowSteps:
    """Stands in for driver and launcher: gives a step its ExecutorInput, and takes its ExecutorOutput.

    A bucket gs://BUCKET is the directory `place`/gcs/BUCKET, as it is /gcs/BUCKET in a container.

    Args:
      spec: the compiled pipeline.
      place: an empty directory.
    """

    def __init__(self, spec: dict[str, Any], place: Path):
        self.place = place
        self._spec = spec
        self._produced: dict[tuple[str, str], Artifact] = {}

    @property
    def tasks(self) -> dict[str, Any]:
        return self._spec["root"]["dag"]["tasks"]

    def component(self, step: str) -> dict[str, Any]:
        return self._spec["components"][self.tasks[step]["componentRef"]["name"]]

    def container(self, step: str) -> dict[str, Any]:
        return self._spec["deploymentSpec"]["executors"][self.component(step)["executorLabel"]]["container"]

    def directory(self, step: str, key: str) -> Path:
        """Where the launcher puts an output of a step that was run."""
        return self._local(self._produced[step, key]["uri"])

    def adopt(self, step: str, key: str, directory: str) -> None:
        """Takes another run's output for that of a step which is not run. It has no metadata."""
        artifact = self._new_artifact(step, key)
        shutil.copytree(directory, self._local(artifact["uri"]))
        self._produced[step, key] = artifact

    def run(self, *steps: str) -> None:
        """Runs steps side by side; each finds its inputs among the outputs of those that ran before."""
        running = [(step, *self._start(step)) for step in steps]
        finished = [(step, process.communicate(), process.returncode, given) for step, process, given in running]
        for step, (_, log), code, given in finished:
            assert code == 0, f"{step}: exit code {code}\n{log[-4000:]}"
            written_outputs = json.loads(Path(given["outputs"]["outputFile"]).read_text(encoding="utf-8"))["artifacts"]
            for key, listed in given["outputs"]["artifacts"].items():
                (artifact,) = listed["artifacts"]
                (written,) = written_outputs[key]["artifacts"]
                artifact["uri"] = written["uri"]
                artifact["metadata"].update(written.get("metadata", {}))
                self._produced[step, key] = artifact

    def _start(self, step: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        given = self._executor_input(step)
        container = self.container(step)
        python, *command = container["command"]
        assert python == "python"
        words = [word.replace("{{$}}", json.dumps(given)) for word in [*command, *container["args"]]]
        assert any("executor_class_path" in word for word in words)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        del environment["TF_USE_LEGACY_KERAS"]  # the command itself has to see to it
        process = subprocess.Popen(
            [sys.executable, *words, "--stores", str(self.place)],
            cwd=self.place,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, given

    def _executor_input(self, step: str) -> dict[str, Any]:
        inputs = self.tasks[step].get("inputs", {})
        artifacts = {}
        for key, source in inputs.get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            artifacts[key] = {"artifacts": [self._produced[output["producerTask"], output["outputArtifactKey"]]]}
        parameters = {key: value["runtimeValue"]["constant"] for key, value in inputs.get("parameters", {}).items()}
        outputs = {}
        for key in self.component(step)["outputDefinitions"]["artifacts"]:
            artifact = self._new_artifact(step, key)
            self._local(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)  # the launcher makes no more
            outputs[key] = {"artifacts": [artifact]}
        return {
            "inputs": {"parameterValues": parameters, "artifacts": artifacts},
            "outputs": {
                "artifacts": outputs,
                "outputFile": str(self.place / "kfp_outputs" / step / "output_metadata.json"),
            },
        }

    def _new_artifact(self, step: str, key: str) -> Artifact:
        definition = self.component(step)["outputDefinitions"]["artifacts"][key]
        return {
            "name": f"{step}-{key}",
            "type": definition["artifactType"],
            "uri": f"gs://bucket/{self._spec['pipelineInfo']['name']}/run/{step}/{key}",
            "metadata": {},
        }

    def _local(self, address: str) -> Path:
        assert address.startswith("gs://"), address
        return self.place / "gcs" / address.removeprefix("gs://")
