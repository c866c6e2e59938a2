"""Builds the TFX pipelines from a configuration and paths. Called by the modules of `runners`."""

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
from tfx_pipeline.components.tables import TABLES
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
      pipeline_root: directory of the artifacts.
      data_root: directory that relative paths in the configuration start from.
      text_store: directory of the text embeddings that runs share.
      checkpoints: directory for the state of unfinished trainings, on any file system that TensorFlow knows; "" for
        none.
      serving_directory: directory of pushed models, `<serving_directory>/<version>/`.
    """

    pipeline_root: str
    data_root: str
    text_store: str
    checkpoints: str
    serving_directory: str


@dataclass(frozen=True)
class RunnerSettings:
    """How a runner runs a pipeline.

    Attributes:
      fingerprint: digest of the input files; ingestion runs again if it changes.
      schema_fingerprint: digest of the frozen schema's files; they are imported again if it changes.
      metadata_path: SQLite file of ML Metadata; None if the runner has its own.
      beam_pipeline_args: options for all steps that run on Beam.
    """

    fingerprint: str
    schema_fingerprint: str = ""
    metadata_path: str | None = None
    beam_pipeline_args: tuple[str, ...] = ()


def create_pipeline(
    config: Config, paths: PipelinePaths, settings: RunnerSettings, *, can_resolve: bool = True
) -> Pipeline:
    """The pipeline from raw tables to a pushed model.

    Args:
      config: the configuration.
      paths: where to read and write.
      settings: of the runner.
      can_resolve: whether the runner can look up artifacts of earlier runs in ML Metadata. If not, the newest version
        in the serving directory takes the place of the last blessed model, and drift is not checked.
    """
    prepared = _prepare_dataset(config, paths, settings.fingerprint)
    dataset, ingest = prepared.dataset, prepared.ingest
    retrieval = RetrievalTrainer(dataset, config, paths.checkpoints)
    towers = retrieval.outputs["towers"]
    index = IndexBuilder(dataset, towers, config)
    ranking = RankingTrainer(dataset, towers, config, paths.checkpoints) if config.ranking.enabled else None
    ranker = ranking.outputs["ranker"] if ranking else None
    evaluator = Evaluator(dataset, towers, ranker, config)
    exporter = Exporter(dataset, ingest.outputs["items"], towers, index.outputs["index"], ranker, config)
    model = exporter.outputs["model"]
    infra_validator = EmbeddedInfraValidator(model)
    last = last_blessed_model(model) if can_resolve else None
    sequences = ingest.outputs["sequences"]
    gates: dict[str, base_component.BaseComponent] = {
        "quality": QualityGate(
            dataset,
            sequences,
            evaluator.outputs["evaluation"],
            model,
            last.outputs["model"] if last else None,
            paths.serving_directory,
            config,
        ),
        "index": IndexGate(index.outputs["index"], config),
        "skew": SkewGate(dataset, sequences, towers, ranker, model, config),
        "drift": DriftGate(prepared.statistics, last.outputs["model_blessing"] if last else None, config),
    }
    blesser = ModelBlesser(
        model,
        {name: gate.outputs["verdict"] for name, gate in gates.items()},
        infra_validator.outputs["blessing"],
        prepared.statistics,
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
        *([ranking] if ranking else []),
        evaluator,
        exporter,
        infra_validator,
        *([last] if last else []),
        *gates.values(),
        blesser,
        pusher,
    ]
    return _pipeline(config, paths, settings, components)


def create_tuning_pipeline(
    config: Config, paths: PipelinePaths, settings: RunnerSettings, *, trials_directory: str
) -> Pipeline:
    """The pipeline from raw tables to the best hyperparameters.

    Its first steps are those of `create_pipeline`, so each pipeline uses the other's cached results.

    Args:
      config: the configuration; `tuning` says what to search.
      paths: where to read and write.
      settings: of the runner.
      trials_directory: directory for the state of searches.
    """
    prepared = _prepare_dataset(config, paths, settings.fingerprint)
    tuner = RetrievalTuner(prepared.dataset, config, trials_directory)
    return _pipeline(config, paths, settings, [*prepared.components, tuner])


@dataclass(frozen=True)
class _PreparedTable:
    """The standard TFX components for one table."""

    components: list[base_component.BaseComponent]
    statistics: types.BaseChannel
    transform: Transform


@dataclass(frozen=True)
class _PreparedDataset:
    """All components that run before a model is trained."""

    components: list[base_component.BaseComponent]
    ingest: Ingest
    statistics: dict[str, types.BaseChannel]  # by table
    dataset: DatasetChannels


def _prepare_dataset(config: Config, paths: PipelinePaths, fingerprint: str) -> _PreparedDataset:
    ingest = Ingest(config, paths.data_root, fingerprint, f"{paths.pipeline_root}/quarantine")
    sequences = _prepare_table(ingest, config, "sequences", sequence_splits(config))
    items = _prepare_table(ingest, config, "items", ["all"])
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
    return _PreparedDataset(
        components=[ingest, *sequences.components, *items.components, embed],
        ingest=ingest,
        statistics={"sequences": sequences.statistics, "items": items.statistics},
        dataset=dataset,
    )


def _prepare_table(ingest: Ingest, config: Config, table: str, splits: list[str]) -> _PreparedTable:
    """Statistics, schema, validation and Transform of one table that ingestion wrote."""
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
        splits_config=transform_pb2.SplitsConfig(analyze=[TABLES[table].train_split], transform=splits),
        custom_config={"config": config.restricted().to_json()},
        disable_statistics=True,  # take as long as the step itself; the raw data is validated already
    ).with_id(f"{name}Transform")
    transform.add_upstream_node(validator)
    return _PreparedTable([statistics, schema, validator, transform], statistics.outputs["statistics"], transform)


def _pipeline(
    config: Config, paths: PipelinePaths, settings: RunnerSettings, components: list[base_node.BaseNode]
) -> Pipeline:
    for component in components:
        if not isinstance(component, Resolver):  # resolvers are never cached
            component.executor_spec.add_extra_flags(_cache_flags(component, settings))
    metadata_config = None
    if settings.metadata_path:
        metadata_config = metadata.sqlite_metadata_connection_config(settings.metadata_path)
    return Pipeline(
        pipeline_name=config.name.replace("_", "-"),
        pipeline_root=paths.pipeline_root,
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata_config,
        beam_pipeline_args=list(settings.beam_pipeline_args),
    )


def _cache_flags(component: base_node.BaseNode, settings: RunnerSettings) -> list[str]:
    """Flags that become part of the key of a cached result.

    TFX's key has a step's inputs and parameters, but neither the code nor, for an imported schema, the file's content.
    """
    flags = [f"--code={code_fingerprint()}"]
    if isinstance(component, ImportSchemaGen):
        flags.append(f"--schema={settings.schema_fingerprint}")
    return flags
