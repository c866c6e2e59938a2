"""Encodes every distinct text of the run with BERT, in Beam."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline import text_embedding
from tfx_pipeline.artifacts import TextEmbeddings
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data.features import TEXT_FEATURES, item_features, sequence_features
from trainer.training.precision import product_type


class EmbedTextsExecutor(base_beam_executor.BaseBeamExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        sources = []
        for key, features in (("sequences", sequence_features), ("items", item_features)):
            names = [feature.transformed_key for feature in features(config.data) if feature.name in TEXT_FEATURES]
            sources.append((f"{artifact_utils.get_single_uri(input_dict[key])}/Split-*/*.gz", names))
        encoding = text_embedding.TextEncoding(
            config.text.encoder,
            config.text.max_tokens,
            product_type(config.text.precision),
            config.text.tokens_per_batch,
            store_directory=exec_properties["store"],
        )
        directory = artifact_utils.get_single_uri(output_dict["texts"])
        metadata = text_embedding.embed_examples(
            sources, encoding, directory, self._make_beam_pipeline, progress.update
        )
        progress.summary(text_embedding.describe(metadata))


class EmbedTextsSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "store": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "sequences": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"texts": component_spec.ChannelParameter(type=TextEmbeddings)}


class EmbedTexts(base_beam_component.BaseBeamComponent):
    """Encodes the texts of transformed sequences and items.

    Args:
      sequences: transformed sequences.
      items: transformed items.
      config: the run's configuration.
      store: directory of the store, which keeps vectors for later runs.
    """

    SPEC_CLASS = EmbedTextsSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EmbedTextsExecutor)

    def __init__(self, sequences: types.BaseChannel, items: types.BaseChannel, config: Config, store: str):
        super().__init__(
            EmbedTextsSpec(
                config=config.restricted("text").to_json(),
                store=store,
                sequences=sequences,
                items=items,
                texts=types.Channel(type=TextEmbeddings),
            )
        )
