"""Exports towers, ranking model, index, vocabularies and BERT as one SavedModel that TensorFlow Serving can load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.export import warm_up_records
from serving.export.metadata import package_versions, signature_shapes, write_metadata
from serving.export.op_check import Target, check_ops
from serving.graph.categories import Categories
from serving.graph.recommender import Recommender
from serving.popular_items import write_popular_items
from trainer.config import Config
from trainer.data import category_names
from trainer.data.tables import ItemTable
from trainer.data.transform_graph import TransformGraph
from trainer.errors import TowersError
from trainer.files import atomic_directory
from trainer.index import persistence as index_persistence
from trainer.index.base import Index
from trainer.index.brute_force import BruteForceIndex
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import load_encoder

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset

POPULAR = 1_000  # length of the list of popular items, which clients show if no model answers


def export(
    config: Config,
    towers: Any,
    ranker: Any,
    *,
    index_directory: str | os.PathLike[str],
    dataset: Dataset,
    sequence_transform: str,
    item_transform: str | None = None,
    ingested_items: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str],
    target: Target | Literal["as_index"] = "as_index",
) -> dict[str, Any]:
    """Writes the SavedModel, its warm-up requests and its metadata.

    Args:
      config: the run's configuration.
      towers: the retrieval model, with its items attached.
      ranker: the ranking model, or None for retrieval without ranking.
      index_directory: an index that `trainer.index.builder.build` wrote, built from these towers.
      dataset: its items become the catalogue. If it has texts, the text encoder is exported too.
      sequence_transform: directory of the sequences' transform graph.
      item_transform: directory of the items' transform graph; needed if the item tower reads categorical,
        multi-valued or numeric features.
      ingested_items: directory of the dataset's items as ingestion wrote them; needed if `serving.category` is set.
      directory: where the SavedModel is written; must be empty or not exist. It appears only when it is complete.
      target: `brute_force`: exact search, which stock TensorFlow Serving can run, whatever index was built.
        `scann`: for servers with ScaNN's ops. `as_index`: the kind of index that was built.

    Returns:
      The metadata that is also written: see `serving.export.metadata`.

    Raises:
      TowersError: the index was built from other towers, or is no ScaNN index although `target` is `scann`; the
        ingested items are not the dataset's; a server for the target lacks an op; or the directory cannot be written.
    """
    index = _load_index(towers, index_directory, target)
    encoder = _load_encoder(config, towers) if dataset.texts is not None else None
    recommender = Recommender(
        config,
        towers,
        index,
        dataset.items.item_id,
        encoder,
        _load_sequence_transform(towers, sequence_transform),
        ranker,
        _load_categories(config, dataset.items, ingested_items),
        _load_item_transform(towers, item_transform),
    )
    values = {
        "name": config.name,
        "model_name": config.serving.model_name,
        "items": index.size,
        "index": {"kind": index.kind, "parameters": index.parameters},
        "index_report": index_persistence.read_description(index_directory)["report"],
        "target": index.kind,
        "ranking": ranker is not None,
        "encoder": None if encoder is None else _encoder_metadata(config, towers, encoder),
        "text_vectors": recommender.text_vectors,
        "signatures": signature_shapes(recommender.signatures),
        "versions": package_versions(),
        "config": config.model_dump(mode="json"),
    }
    with atomic_directory(Path(directory)) as temporary:
        tf.saved_model.save(recommender, str(temporary), signatures=recommender.signatures)
        _share_default_signature(temporary)
        check_ops(temporary, cast(Target, index.kind))
        popular = np.argsort(-dataset.items.train_count, kind="stable")[:POPULAR]
        write_popular_items(temporary, dataset.items.item_id[popular])
        requests = warm_up_records.example_requests(recommender.signatures, dataset.items)
        values["warm_up_requests"] = warm_up_records.write(temporary, config.serving.model_name, requests)
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
        values["megabytes"] = round(size / 1e6, 1)
        write_metadata(temporary, values)
    return values


def _load_index(towers: Any, directory: str | os.PathLike[str], target: str) -> Index:
    index = index_persistence.load(directory)
    vectors, tower_vectors = index.vectors.numpy(), np.asarray(towers.item_vectors())
    if vectors.shape != tower_vectors.shape or not np.allclose(vectors, tower_vectors, rtol=1e-4, atol=1e-5):
        raise TowersError(f"{directory}: the index holds other item vectors than the towers make. Build it again.")
    if target == "scann" and index.kind != "scann":
        raise TowersError(
            f"{directory}: a ScaNN export was asked for, the index is {index.kind}. Set index.kind: scann."
        )
    return BruteForceIndex(vectors) if target == "brute_force" and index.kind != "brute_force" else index


def _load_encoder(config: Config, towers: Any) -> TextEncoder:
    """The encoder that the towers were trained with: the configured one, or a fine-tuned copy of it."""
    name = towers.encoder or config.text.encoder
    return load_encoder(name, config.text.max_tokens, tokens_per_pass=config.serving.tokens_per_pass)


def _load_sequence_transform(towers: Any, directory: str) -> TransformGraph | None:
    inputs = towers.user_tower.inputs
    return TransformGraph(directory) if inputs.events or inputs.context or inputs.profile else None


def _load_item_transform(towers: Any, directory: str | None) -> TransformGraph | None:
    inputs = towers.item_tower.inputs
    is_read = inputs.categorical or inputs.multi_valued or inputs.numeric
    return TransformGraph(directory) if is_read and directory is not None else None


def _load_categories(
    config: Config, items: ItemTable, ingested_items: str | os.PathLike[str] | None
) -> Categories | None:
    if config.serving.category is None:
        return None
    if ingested_items is None:
        raise ValueError("`ingested_items` should be given: `serving.category` is set. Received: None")
    return Categories(category_names.load(config, ingested_items, items))


def _encoder_metadata(config: Config, towers: Any, encoder: TextEncoder) -> dict[str, Any]:
    return {
        "name": config.text.encoder,
        "fine_tuned": towers.encoder is not None,
        "fingerprint": encoder.fingerprint,
    }


def _share_default_signature(saved_model: Path) -> None:
    """Makes `serving_default` use the same part of the graph as `recommend`.

    `tf.saved_model.save` writes a copy for it, which servers would have to prepare separately at its first call.
    """
    path = saved_model / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    signatures = proto.meta_graphs[0].signature_def
    signatures["serving_default"].CopyFrom(signatures["recommend"])
    path.write_bytes(proto.SerializeToString(deterministic=True))
