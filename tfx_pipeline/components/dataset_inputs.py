"""The five artifacts that make a transformed dataset, as inputs of every component that trains or evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from tfx import types
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline.artifacts import TextEmbeddings
from trainer.loading import DatasetPaths

DATASET_INPUTS = {
    "sequences": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "sequence_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "item_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "texts": component_spec.ChannelParameter(type=TextEmbeddings),
}


@dataclass(frozen=True)
class DatasetChannels:
    """What a component is given; `vars(channels)` fits `DATASET_INPUTS`."""

    sequences: types.BaseChannel
    items: types.BaseChannel
    sequence_transform: types.BaseChannel
    item_transform: types.BaseChannel
    texts: types.BaseChannel


def dataset_paths(input_dict: dict[str, list[types.Artifact]]) -> DatasetPaths:
    return DatasetPaths(**{name: artifact_utils.get_single_uri(input_dict[name]) for name in DATASET_INPUTS})
