"""The program of a step's container on Kubeflow: TFX's entry point with local paths and Keras 2.

Kubeflow's launcher copies a step's inputs from the object store to local directories before the step, and copies its
outputs back afterwards; Vertex AI mounts the store at the same directories. TFX's entry point gives executors the
addresses in the store, which only TensorFlow can open. Here every address is replaced with its local directory, because
other libraries also read and write models, indexes and vectors.

Python imports the package `tfx_pipeline` before this module, so the package's settings for TensorFlow apply. They would
not apply if the container ran TFX's module directly.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# Scheme -> local directory, as in backend/src/v2/component/launcher_v2.go of kubeflow/pipelines.
_DIRECTORIES = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}


def local_path(address: str, root: str = "/") -> str:
    """The local directory of an address in an object store; a path is returned unchanged.

    Raises:
      ValueError: Kubeflow has no directory for this kind of store.
    """
    for scheme, directory in _DIRECTORIES.items():
        if address.startswith(scheme):
            return os.path.join(root, directory, address[len(scheme) :])
    if "://" in address:
        raise ValueError(f"an artifact's address should begin with {', '.join(_DIRECTORIES)}. Received: {address!r}")
    return address


def localise(executor_input: dict[str, Any], root: str = "/") -> dict[str, str]:
    """Replaces addresses in an ExecutorInput with local paths, and makes the directories of the outputs.

    Args:
      executor_input: the message as JSON; it is changed.
      root: directory that holds the stores' directories.

    Returns:
      Local path of each artifact -> its address.
    """
    addresses = {}
    for side in ("inputs", "outputs"):
        for artifacts in executor_input.get(side, {}).get("artifacts", {}).values():
            for artifact in artifacts["artifacts"]:
                path = local_path(artifact["uri"], root)
                addresses[path] = artifact["uri"]
                artifact["uri"] = path
                if side == "outputs":
                    os.makedirs(path, exist_ok=True)  # Kubeflow's launcher makes only the parent
    return addresses


def restore(output_file: str, addresses: dict[str, str]) -> None:
    """Replaces local paths in the ExecutorOutput of a step with addresses, because the launcher expects addresses."""
    path = Path(output_file)
    executor_output = json.loads(path.read_text(encoding="utf-8"))
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            artifact["uri"] = addresses[artifact["uri"]]
    path.write_text(json.dumps(executor_output), encoding="utf-8")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--code", help="fingerprint of the code, which becomes part of the key of Kubeflow's cache")
    parser.add_argument("--stores", default="/", help="directory that holds the stores' directories")
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    arguments, beam_arguments = parser.parse_known_args(argv)
    executor_input = json.loads(arguments.json_serialized_invocation_args)
    addresses = localise(executor_input, arguments.stores)
    arguments.json_serialized_invocation_args = json.dumps(executor_input)

    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    kubeflow_v2_run_executor.main((arguments, beam_arguments))
    restore(executor_input["outputs"]["outputFile"], addresses)


if __name__ == "__main__":
    main(sys.argv[1:])
