"""The pipeline. It takes a configuration and paths, never code; the runners build the arguments and call it."""

from __future__ import annotations

from dataclasses import dataclass

from tfx.components import StatisticsGen, Transform
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base import base_component
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, transform_pb2

from tfx_pipeline.components.dataset_step import DatasetChannels
from tfx_pipeline.components.evaluator import Evaluator
from tfx_pipeline.components.example_validator import StrictExampleValidator
from tfx_pipeline.components.exporter import Exporter
from tfx_pipeline.components.index_builder import IndexBuilder
from tfx_pipeline.components.infra_validator import EmbeddedInfraValidator
from tfx_pipeline.components.ingest import Ingest, sequence_splits
from tfx_pipeline.components.pusher import AtomicPusher
from tfx_pipeline.components.ranking_trainer import RankingTrainer
from tfx_pipeline.components.retrieval_trainer import RetrievalTrainer
from tfx_pipeline.components.schema import DatasetSchema
from tfx_pipeline.components.text_embedding import EmbedTexts
from tfx_pipeline.fingerprint import code_fingerprint
from trainer.config import Config


@dataclass(frozen=True)
class PipelinePaths:
    """Where a pipeline reads and writes.

    Attributes:
      pipeline_root: artifacts.
      data_root: what relative paths in the configuration are relative to.
      text_store: embeddings kept from run to run.
      checkpoints: states of trainings that are not done, on any file system that TensorFlow knows; "" for none.
      serving_directory: pushed versions, `<serving_directory>/<version>/`.
    """

    pipeline_root: str
    data_root: str
    text_store: str
    checkpoints: str
    serving_directory: str


@dataclass(frozen=True)
class _Table:
    """The TFX-standard part of the pipeline for one table."""

    components: list[base_component.BaseComponent]
    transform: Transform


def create_pipeline(
    config: Config,
    paths: PipelinePaths,
    *,
    fingerprint: str,
    schema_fingerprint: str = "",
    metadata_path: str | None = None,
    beam_pipeline_args: list[str] | None = None,
) -> Pipeline:
    """The whole path from raw tables to a pushed model.

    Args:
      config: dataset and model.
      paths: where to read and write.
      fingerprint: of the input files; a change makes ingestion run again.
      schema_fingerprint: of the frozen schema's files; a change makes them be read again.
      metadata_path: SQLite file for ML Metadata; None where the runner brings its own.
      beam_pipeline_args: options for every step that runs on Beam.

    Returns:
      A TFX pipeline.
    """
    ingest = Ingest(config, paths.data_root, fingerprint, f"{paths.pipeline_root}/quarantine")
    sequences = _prepare(ingest, config, "sequences", ["train"], sequence_splits(config))
    items = _prepare(ingest, config, "items", ["all"], ["all"])
    embed = EmbedTexts(
        sequences.transform.outputs["transformed_examples"],
        items.transform.outputs["transformed_examples"],
        config,
        config.text.store or paths.text_store,
    )
    dataset = DatasetChannels(
        sequences=sequences.transform.outputs["transformed_examples"],
        items=items.transform.outputs["transformed_examples"],
        sequence_transform=sequences.transform.outputs["transform_graph"],
        item_transform=items.transform.outputs["transform_graph"],
        texts=embed.outputs["texts"],
    )
    retrieval = RetrievalTrainer(dataset, config, paths.checkpoints)
    towers = retrieval.outputs["towers"]
    index = IndexBuilder(dataset, towers, config)
    ranking = [RankingTrainer(dataset, towers, config, paths.checkpoints)] if config.ranking.enabled else []
    ranker = ranking[0].outputs["ranker"] if ranking else None
    evaluator = Evaluator(dataset, towers, ranker, config)
    exporter = Exporter(dataset, towers, index.outputs["index"], ranker, config)
    infra_validator = EmbeddedInfraValidator(exporter.outputs["model"])
    pusher = AtomicPusher(
        model=exporter.outputs["model"],
        infra_blessing=infra_validator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=paths.serving_directory)
        ),
    )
    components = [
        ingest,
        *sequences.components,
        *items.components,
        embed,
        retrieval,
        index,
        *ranking,
        evaluator,
        exporter,
        infra_validator,
        pusher,
    ]
    for component in components:
        # Part of what a cached result is found by. TFX looks at inputs and settings alone, not at the code between,
        # and of an imported schema at its path.
        flags = [f"--code={code_fingerprint()}"]
        if isinstance(component, ImportSchemaGen):
            flags.append(f"--schema={schema_fingerprint}")
        component.executor_spec.add_extra_flags(flags)
    return Pipeline(
        pipeline_name=config.name.replace("_", "-"),
        pipeline_root=paths.pipeline_root,
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(metadata_path) if metadata_path else None,
        beam_pipeline_args=beam_pipeline_args or [],
    )


def _prepare(ingest: Ingest, config: Config, table: str, analyze: list[str], splits: list[str]) -> _Table:
    """Statistics, schema, validation and Transform of one of ingestion's outputs."""
    name = table.capitalize()
    examples = ingest.outputs[table]
    statistics = StatisticsGen(examples=examples).with_id(f"{name}Statistics")
    if config.data.frozen_schema:
        schema = ImportSchemaGen(schema_file=f"{config.data.frozen_schema}/{table}.pbtxt")
    else:
        schema = DatasetSchema(statistics.outputs["statistics"], config, table)
    schema = schema.with_id(f"{name}Schema")
    validator = StrictExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    ).with_id(f"{name}Validator")
    transform = Transform(
        examples=examples,
        schema=schema.outputs["schema"],
        preprocessing_fn=f"tfx_pipeline.preprocessing.preprocess_{table}",
        splits_config=transform_pb2.SplitsConfig(analyze=analyze, transform=splits),
        custom_config={"config": config.restricted().to_json()},
        disable_statistics=True,  # of what is validated already; they would double the step's time
    ).with_id(f"{name}Transform")
    transform.add_upstream_node(validator)
    return _Table([statistics, schema, validator, transform], transform)
