"""What a step's container runs on Kubeflow: TFX's entry point, on local paths and with Keras 2.

Kubeflow's launcher copies a step's inputs from the object store to local directories before the step and its outputs
back to the store after it; Vertex AI mounts the store at those same directories. TFX's entry point hands the store's
addresses to the executors instead, for TensorFlow to open. Models, indexes and vectors are files that others than
TensorFlow write, so here every address becomes the directory that it stands for.

Being in this package, it also sets what the package sets before TensorFlow is imported, which TFX's own module cannot.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# The launcher's rule: backend/src/v2/component/launcher_v2.go of kubeflow/pipelines.
_DIRECTORIES = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}


def local_path(address: str, root: str = "/") -> str:
    """The directory that stands for an address in an object store; a path stays as it is.

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
    """Puts local paths in place of addresses in an ExecutorInput, and makes the outputs' directories.

    Args:
      executor_input: the message as JSON; changed.
      root: what the stores' directories lie in.

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
                    os.makedirs(path, exist_ok=True)  # as TFX does elsewhere; the launcher makes only its parent
    return addresses


def restore(output_file: str, addresses: dict[str, str]) -> None:
    """Puts the addresses back in the ExecutorOutput that a step left, which is where the launcher looks for them."""
    path = Path(output_file)
    executor_output = json.loads(path.read_text(encoding="utf-8"))
    for artifacts in executor_output.get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            artifact["uri"] = addresses[artifact["uri"]]
    path.write_text(json.dumps(executor_output), encoding="utf-8")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--code", help="fingerprint of the sources: part of what Kubeflow finds cached results by")
    parser.add_argument("--stores", default="/", help="directory that the stores' directories lie in")
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
