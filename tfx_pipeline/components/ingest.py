"""The custom ExampleGen: reads raw tables, writes sequences, items and a quarantine."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils

from tfx_pipeline.artifacts import Quarantine
from tfx_pipeline.ingest import dataset
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.errors import TowersError


def sequence_splits(config: Config) -> list[str]:
    return ["train", "validation", "test"] if config.data.split.test else ["train", "validation"]


class IngestExecutor(base_beam_executor.BaseBeamExecutor):
    """Runs `tfx_pipeline.ingest.dataset.ingest` on the executor's Beam runner."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        sequences, items, quarantine = (
            artifact_utils.get_single_instance(output_dict[key]) for key in ("sequences", "items", "quarantine")
        )
        try:
            report = dataset.ingest(
                config,
                exec_properties["data_root"],
                dataset.OutputPaths(sequences=sequences.uri, items=items.uri, quarantine=quarantine.uri),
                make_pipeline=self._make_beam_pipeline,
            )
        except TowersError as error:
            # TFX removes the outputs of a failed step. The quarantine, which the message refers to, is copied first.
            copy = exec_properties["kept_quarantine"]
            if not fileio.exists(os.path.join(quarantine.uri, dataset.COUNTS_FILE)):
                raise
            io_utils.copy_dir(quarantine.uri, copy)
            raise TowersError(str(error).replace(quarantine.uri, copy)) from error
        for examples, splits in ((sequences, sequence_splits(config)), (items, ["all"])):
            examples.split_names = artifact_utils.encode_split_names(splits)
            examples.span = 0
            examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
            examples_utils.set_file_format(examples, "tfrecords_gzip")
        broken = sum(sum(table.broken.values()) for table in report.tables.values())
        progress.summary(
            f"{report.events['all']:,} events, {report.users:,} users, {report.items:,} items; "
            f"{broken:,} rows quarantined"
        )


class IngestSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "data_root": component_spec.ExecutionParameter(type=str),
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "kept_quarantine": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {
        "sequences": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": component_spec.ChannelParameter(type=Quarantine),
    }


class Ingest(base_beam_component.BaseBeamComponent):
    """Reads, validates and splits a dataset.

    Args:
      config: the run's configuration.
      data_root: directory that relative paths in the configuration start from.
      fingerprint: of the input files (`tfx_pipeline.fingerprint`); if it changes, the cached result is not used.
      kept_quarantine: directory to which the quarantine is copied if the step fails.
    """

    SPEC_CLASS = IngestSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(IngestExecutor)

    def __init__(self, config: Config, data_root: str, fingerprint: str, kept_quarantine: str):
        super().__init__(
            IngestSpec(
                config=config.restricted().to_json(),
                data_root=data_root,
                fingerprint=fingerprint,
                kept_quarantine=kept_quarantine,
                sequences=types.Channel(type=standard_artifacts.Examples),
                items=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=Quarantine),
            )
        )
