"""An ExampleValidator that fails, and so stops the run, if the data has anomalies."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components import ExampleValidator
from tfx.components.example_validator import executor as example_validator_executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from trainer.errors import TowersError


class StrictExampleValidatorExecutor(example_validator_executor.Executor):
    """TFX's executor only writes anomalies to its output; this one also raises them, as one error."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        result = super().Do(input_dict, output_dict, exec_properties)
        anomalies = artifact_utils.get_single_instance(output_dict["anomalies"])
        descriptions = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            directory = artifact_utils.get_split_uri([anomalies], split)
            with fileio.open(os.path.join(directory, example_validator_executor.DEFAULT_FILE_NAME), "rb") as file:
                report = anomalies_pb2.Anomalies.FromString(file.read())
            descriptions += [
                f"{split}: {name}: {info.description}" for name, info in sorted(report.anomaly_info.items())
            ]
            if report.HasField("dataset_anomaly_info"):
                descriptions.append(f"{split}: {report.dataset_anomaly_info.description}")
        if descriptions:
            raise TowersError(
                f"the data does not match its schema: {'; '.join(descriptions)}. Correct the data, or the schema if "
                "you gave one (`data.frozen_schema`)."
            )
        return result


class StrictExampleValidator(ExampleValidator):
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(StrictExampleValidatorExecutor)
