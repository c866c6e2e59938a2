"""Makes the schema of a table from the configuration and from the statistics of the train split."""

from __future__ import annotations

import os
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline.components.tables import TABLES
from trainer.config import Config
from trainer.data.features import Feature

_TYPES = {"bytes": schema_pb2.BYTES, "int": schema_pb2.INT, "float": schema_pb2.FLOAT}


def reconcile(inferred: schema_pb2.Schema, features: list[Feature]) -> schema_pb2.Schema:
    """A schema with the features, types and shapes of the configuration, and the presence that was inferred from data.

    Lists become ragged tensors. Inferred string domains are left out: a device or category that first occurs after
    training is no anomaly. A frozen schema may have such domains.

    Args:
      inferred: TFDV's schema of the data.
      features: of the configuration.
    """
    presence = {feature.name: feature.presence for feature in inferred.feature}
    schema = schema_pb2.Schema(represent_variable_length_as_ragged=True)
    for feature in features:
        entry = schema.feature.add(name=feature.name, type=_TYPES[feature.kind])
        if feature.scalar:
            entry.presence.min_fraction = 1.0
            entry.presence.min_count = 1
            entry.shape.dim.add(size=1)
        else:
            entry.value_count.min = 0
            if feature.name in presence:
                entry.presence.CopyFrom(presence[feature.name])
    return schema


class DatasetSchemaExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        table = TABLES[exec_properties["table"]]
        data = Config.from_json(exec_properties["config"]).data
        inferred = tfdv.infer_schema(table.load_statistics(input_dict["statistics"]))
        schema = reconcile(inferred, table.features(data))
        directory = artifact_utils.get_single_uri(output_dict["schema"])
        tfdv.write_schema_text(schema, os.path.join(directory, "schema.pbtxt"))


class DatasetSchemaSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "table": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)}
    OUTPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class DatasetSchema(base_component.BaseComponent):
    """A SchemaGen that takes features and types from the configuration.

    Args:
      statistics: of the table's splits.
      config: the run's configuration.
      table: `sequences` or `items`.
    """

    SPEC_CLASS = DatasetSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DatasetSchemaExecutor)

    def __init__(self, statistics: types.BaseChannel, config: Config, table: str):
        super().__init__(
            DatasetSchemaSpec(
                statistics=statistics,
                config=config.restricted().to_json(),
                table=table,
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
