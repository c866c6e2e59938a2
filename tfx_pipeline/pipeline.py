"""The pipeline. It takes a configuration and paths, never code; the runners build the arguments and call it."""

from __future__ import annotations

from dataclasses import dataclass

from tfx import types
from tfx.components import StatisticsGen, Transform
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base import base_component, base_node
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, transform_pb2

from tfx_pipeline.components.dataset_step import DatasetChannels
from tfx_pipeline.components.evaluator import Evaluator
from tfx_pipeline.components.example_validator import StrictExampleValidator
from tfx_pipeline.components.exporter import Exporter
from tfx_pipeline.components.index_builder import IndexBuilder
from tfx_pipeline.components.ingest import Ingest, sequence_splits
from tfx_pipeline.components.pusher import AtomicPusher
from tfx_pipeline.components.ranking_trainer import RankingTrainer
from tfx_pipeline.components.retrieval_trainer import RetrievalTrainer
from tfx_pipeline.components.retrieval_tuner import RetrievalTuner
from tfx_pipeline.components.schema import DatasetSchema
from tfx_pipeline.components.text_embedding import EmbedTexts
from tfx_pipeline.fingerprint import code_fingerprint
from tfx_pipeline.gates.drift.component import DriftGate
from tfx_pipeline.gates.index.component import IndexGate
from tfx_pipeline.gates.infrastructure.component import EmbeddedInfraValidator
from tfx_pipeline.gates.last_blessed import last_blessed_model
from tfx_pipeline.gates.model_blesser import ModelBlesser
from tfx_pipeline.gates.quality.component import QualityGate
from tfx_pipeline.gates.skew.component import SkewGate
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
    statistics: types.BaseChannel
    transform: Transform


def create_pipeline(
    config: Config,
    paths: PipelinePaths,
    *,
    fingerprint: str,
    schema_fingerprint: str = "",
    metadata_path: str | None = None,
    beam_pipeline_args: list[str] | None = None,
    finds_artifacts: bool = True,
) -> Pipeline:
    """The whole path from raw tables to a pushed model.

    Args:
      config: dataset and model.
      paths: where to read and write.
      fingerprint: of the input files; a change makes ingestion run again.
      schema_fingerprint: of the frozen schema's files; a change makes them be read again.
      metadata_path: SQLite file for ML Metadata; None where the runner brings its own.
      beam_pipeline_args: options for every step that runs on Beam.
      finds_artifacts: whether the runner can ask ML Metadata for what earlier runs made. If not, the newest version in
        the serving directory stands for the model that was blessed last, and drift is not looked at.

    Returns:
      A TFX pipeline.
    """
    prepared = _prepare_dataset(config, paths, fingerprint)
    dataset, ingested = prepared.dataset, prepared.ingest.outputs["sequences"]
    retrieval = RetrievalTrainer(dataset, config, paths.checkpoints)
    towers = retrieval.outputs["towers"]
    index = IndexBuilder(dataset, towers, config)
    ranking = [RankingTrainer(dataset, towers, config, paths.checkpoints)] if config.ranking.enabled else []
    ranker = ranking[0].outputs["ranker"] if ranking else None
    evaluator = Evaluator(dataset, towers, ranker, config)
    exporter = Exporter(dataset, prepared.ingest.outputs["items"], towers, index.outputs["index"], ranker, config)
    model = exporter.outputs["model"]
    infra_validator = EmbeddedInfraValidator(model)
    last = last_blessed_model(model) if finds_artifacts else None
    statistics = prepared.statistics
    gates: dict[str, base_component.BaseComponent] = {
        "quality": QualityGate(
            dataset,
            ingested,
            evaluator.outputs["evaluation"],
            model,
            last.outputs["model"] if last else None,
            paths.serving_directory,
            config,
        ),
        "index": IndexGate(index.outputs["index"], config),
        "skew": SkewGate(dataset, ingested, towers, ranker, model, config),
        "drift": DriftGate(statistics, last.outputs["model_blessing"] if last else None, config),
    }
    blesser = ModelBlesser(
        model,
        {name: gate.outputs["verdict"] for name, gate in gates.items()},
        infra_validator.outputs["blessing"],
        statistics,
    )
    pusher = AtomicPusher(
        model=model,
        model_blessing=blesser.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=paths.serving_directory)
        ),
    )
    components = [
        *prepared.components,
        retrieval,
        index,
        *ranking,
        evaluator,
        exporter,
        infra_validator,
        *([last] if last else []),
        *gates.values(),
        blesser,
        pusher,
    ]
    return _pipeline(config, paths, components, schema_fingerprint, metadata_path, beam_pipeline_args)


def create_tuning_pipeline(
    config: Config,
    paths: PipelinePaths,
    *,
    trials_directory: str,
    fingerprint: str,
    schema_fingerprint: str = "",
    metadata_path: str | None = None,
    beam_pipeline_args: list[str] | None = None,
) -> Pipeline:
    """From raw tables to the best hyperparameters: the first steps are those of `create_pipeline`, and its cache's.

    Args:
      config: dataset, model, and what to search.
      paths: where to read and write.
      trials_directory: where searches keep their state.
      fingerprint, schema_fingerprint, metadata_path, beam_pipeline_args: see `create_pipeline`.
    """
    prepared = _prepare_dataset(config, paths, fingerprint)
    components = [*prepared.components, RetrievalTuner(prepared.dataset, config, trials_directory)]
    return _pipeline(config, paths, components, schema_fingerprint, metadata_path, beam_pipeline_args)


@dataclass(frozen=True)
class _Prepared:
    """Everything before the first model."""

    components: list[base_component.BaseComponent]
    ingest: Ingest
    statistics: dict[str, types.BaseChannel]  # by table
    dataset: DatasetChannels


def _prepare_dataset(config: Config, paths: PipelinePaths, fingerprint: str) -> _Prepared:
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
    statistics = {"sequences": sequences.statistics, "items": items.statistics}
    return _Prepared([ingest, *sequences.components, *items.components, embed], ingest, statistics, dataset)


def _pipeline(
    config: Config,
    paths: PipelinePaths,
    components: list[base_node.BaseNode],
    schema_fingerprint: str,
    metadata_path: str | None,
    beam_pipeline_args: list[str] | None,
) -> Pipeline:
    for component in components:
        if isinstance(component, Resolver):
            continue  # asks ML Metadata every time
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
    return _Table([statistics, schema, validator, transform], statistics.outputs["statistics"], transform)
