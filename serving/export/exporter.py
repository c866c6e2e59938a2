"""Towers, ranking model, index, vocabularies and BERT -> one SavedModel that TensorFlow Serving can load."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.export import warm_up_records
from serving.export.op_check import Target, check_ops
from serving.graph.categories import Categories
from serving.graph.recommender import Recommender
from serving.model_files import METADATA
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
from trainer.text.pretrained import load_encoder

if TYPE_CHECKING:
    from trainer.data.loading import Dataset

POPULAR = 1_000  # items in the list that clients fall back on
_WARM_UP_BATCHES = (1, 4)
_VERSIONS_OF = (
    "tensorflow",
    "tensorflow-text",
    "tensorflow-recommenders",
    "keras-nlp",
    "scann",
    "tfx",
    "apache-beam",
)


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
    """Writes the SavedModel, its warm-up requests and `assets.extra/interest_towers.json`.

    Args:
      config: the run's configuration.
      towers: the retrieval model, with its items attached.
      ranker: the ranking model, or None for retrieval alone.
      index_directory: as `trainer.index.builder.build` wrote it, from these towers.
      dataset: its catalogue is served; whether it has texts decides whether BERT is exported.
      sequence_transform: directory of the sequences' transform graph.
      item_transform: directory of the items' transform graph; needed where the item tower reads categories or numbers.
      ingested_items: directory of the dataset's items as ingestion wrote them; needed with `serving.category`.
      directory: is written aside and renamed; must not exist, or be empty.
      target: `brute_force` exports for stock TensorFlow Serving whatever the index is, `scann` for servers with ScaNN's
        ops; by default as the index was built.

    Returns:
      The metadata that is also written: see `describe`.

    Raises:
      TowersError: the index is of other towers or is no ScaNN index where one is wanted, the ingested items are others
        than the dataset's, an op is missing on the target, or the directory cannot be written.
    """
    index = _index(towers, index_directory, target)
    inputs = towers.user_tower.inputs
    # What the towers were trained with, which is the configured encoder unless its layers were trained too.
    name = towers.encoder or config.text.encoder
    encoder = None
    if dataset.texts is not None:
        encoder = load_encoder(name, config.text.max_tokens, tokens_per_pass=config.serving.tokens_per_pass)
    categories = inputs.events or inputs.context or inputs.profile
    transform = TransformGraph(sequence_transform) if categories else None
    reads = towers.item_tower.inputs
    wanted = reads.categorical or reads.multi_valued or reads.numeric
    items_graph = TransformGraph(item_transform) if wanted and item_transform is not None else None
    recommender = Recommender(
        config,
        towers,
        index,
        dataset.items.item_id,
        encoder,
        transform,
        ranker,
        _categories(config, dataset.items, ingested_items),
        items_graph,
    )
    signatures = recommender.signatures
    report = {
        "name": config.name,
        "model_name": config.serving.model_name,
        "items": index.size,
        "index": {"kind": index.kind, "parameters": index.parameters},
        "index_report": index_persistence.read_description(index_directory)["report"],
        "target": index.kind,
        "ranking": ranker is not None,
        "encoder": None
        if encoder is None
        else {
            "name": config.text.encoder,
            "fine_tuned": towers.encoder is not None,
            "fingerprint": encoder.fingerprint,
        },
        "text_vectors": recommender.text_vectors,
        "signatures": {
            name: {
                "inputs": _shapes(function.structured_input_signature[1]),
                "outputs": sorted(function.structured_outputs),
            }
            for name, function in signatures.items()
        },
        "versions": {"interest-towers": _version("interest-towers")} | {name: _version(name) for name in _VERSIONS_OF},
        "config": config.model_dump(mode="json"),
    }
    with atomic_directory(Path(directory)) as aside:
        tf.saved_model.save(recommender, str(aside), signatures=signatures)
        _share_default(aside)
        check_ops(aside, cast(Target, index.kind))
        popular = np.argsort(-dataset.items.train_count, kind="stable")[:POPULAR]
        write_popular_items(aside, dataset.items.item_id[popular])
        requests = warm_up_requests(recommender, dataset.items)
        report["warm_up_requests"] = warm_up_records.write(aside, config.serving.model_name, requests)
        report["megabytes"] = round(sum(f.stat().st_size for f in aside.rglob("*") if f.is_file()) / 1e6, 1)
        (aside / METADATA).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def describe(report: dict[str, Any]) -> str:
    """One line on an export."""
    names = ", ".join(name for name in report["signatures"] if name != "serving_default")
    return (
        f"{report['megabytes']} MB, {report['items']} items, index {report['index']['kind']}, "
        f"{'ranking' if report['ranking'] else 'no ranking'}; signatures {names}; "
        f"{report['warm_up_requests']} warm-up requests"
    )


def read_metadata(saved_model: str | os.PathLike[str]) -> dict[str, Any]:
    """What `export` returned, from the exported directory.

    Raises:
      TowersError: there is none.
    """
    path = Path(saved_model) / METADATA
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TowersError(f"{path}: cannot be read. Was this model exported by `towers run`?") from None


def warm_up_requests(recommender: Recommender, items: ItemTable) -> list[warm_up_records.Request]:
    """Requests for every signature: users with a history and users without, in a small and a larger batch."""
    requests: list[warm_up_records.Request] = []
    for name, function in recommender.signatures.items():
        for batch in _WARM_UP_BATCHES:
            for events in (0, 3):
                inputs = {
                    spec.name: _warm_up_value(spec, batch, events, items)
                    for spec in function.structured_input_signature[1].values()
                }
                requests.append((name, inputs))
    return requests


def _warm_up_value(spec: tf.TensorSpec, batch: int, events: int, items: ItemTable) -> np.ndarray:
    free = [batch, *[events] * (spec.shape.rank - 1)]
    shape = [wanted if size is None else size for wanted, size in zip(free, spec.shape, strict=True)]
    if spec.dtype != tf.string:
        length = shape[-1] ** 0.5 if spec.name.endswith("_embedding") else 1  # texts' vectors are as long as 1
        return np.full(shape, 1 / length if events else 0, spec.dtype.as_numpy_dtype)
    picked = np.arange(int(np.prod(shape))) % len(items)
    if spec.name in ("history_item_id", "candidate_item_id") or (spec.name == "item_id" and events):
        values = items.item_id[picked]
    elif events and ("text" in spec.name or spec.name == "allowed_category"):  # an unknown category is one too
        values = items.title[picked]
    else:
        values = np.full(len(picked), "", object)
    return np.array([str(value).encode() for value in values], object).reshape(shape)


def _share_default(directory: Path) -> None:
    """Lets `serving_default` be `recommend` itself, and not the same graph once more, to be prepared at its own first
    call.
    """
    path = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    signatures["serving_default"].CopyFrom(signatures["recommend"])
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _categories(config: Config, items: ItemTable, ingested_items: str | os.PathLike[str] | None) -> Categories | None:
    if config.serving.category is None:
        return None
    if ingested_items is None:
        raise ValueError("`ingested_items` should be given: `serving.category` is set. Received: None")
    return Categories(category_names.load(config, ingested_items, items))


def _index(towers: Any, directory: str | os.PathLike[str], target: str) -> Index:
    index = index_persistence.load(directory)
    built, made = index.vectors.numpy(), np.asarray(towers.item_vectors())
    if built.shape != made.shape or not np.allclose(built, made, rtol=1e-4, atol=1e-5):
        raise TowersError(f"{directory}: the index holds other item vectors than the towers make. Build it again.")
    if target == "scann" and index.kind != "scann":
        raise TowersError(
            f"{directory}: a ScaNN export was asked for, the index is {index.kind}. Set index.kind: scann."
        )
    return BruteForceIndex(built) if target == "brute_force" and index.kind != "brute_force" else index


def _shapes(specs: dict[str, tf.TensorSpec]) -> dict[str, str]:
    return {name: f"{spec.dtype.name} {spec.shape.as_list()}".replace("None", "?") for name, spec in specs.items()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
