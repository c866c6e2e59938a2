"""A small but complete model, untrained, and the ways in which an export of it can be called."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.graph.recommender import Recommender
from tests.support import tiny_bert
from trainer.config import Config
from trainer.data.features import Feature, item_features, sequence_features
from trainer.data.ragged import Ragged
from trainer.data.tables import ItemTable, TextVectors
from trainer.index import builder
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.model import RankingModel
from trainer.retrieval.model import RetrievalModel
from trainer.towers.inputs import ItemInputs, UserInputs

K = 5
CANDIDATES = 8
COLOURS = ("red", "green", "blue", "yellow")  # ids 1 to 4
LATE_COLOUR = "mauve"  # in the items table, and not in the transform graph
TITLES = ("a story of love and war", "the history of music", "guitar songs", "科幻小说", "你好 世界", "a cat and a dog")


def make_config(
    encoder: str = "none",
    *,
    everything: bool = True,
    exclude_history: bool = True,
    exclude_recent_seconds: int = 0,
    k: int = K,
    candidates: int = CANDIDATES,
    category: str | None = None,
    model: dict[str, Any] | None = None,
) -> Config:
    """A dataset with every kind of column, or with ids and order numbers alone; items have features in any case."""
    interactions: dict[str, Any] = {
        "path": "i.csv",
        "user_id": "u",
        "item_id": "i",
        "time": "t",
        "time_format": "epoch_seconds" if everything or exclude_recent_seconds else "order",
    }
    data: dict[str, Any] = {"interactions": interactions, "exclude_history": exclude_history}
    data["exclude_recent_seconds"] = exclude_recent_seconds
    data["items"] = {
        "path": "items.csv",
        "item_id": "i",
        "text": ["title", "description"],
        "categorical": ["colour"],
        "multi_valued": ["tags"],
        "numeric": ["price"],
        "dense": {"image": 3},
    }
    if everything:
        interactions |= {"event": "e", "rating": "r", "missing_rating": -1, "text": ["x"], "query": ["q"]}
        interactions["context"] = ["device"]
        data["users"] = {"path": "u.csv", "user_id": "u", "categorical": ["language"], "numeric": ["age"]}
    return Config.model_validate(
        {
            "name": "small",
            "data": data,
            "text": {"encoder": encoder, "max_tokens": 32},
            "model": {"dim": 16, "layers": 1, "max_history": 6, **(model or {})},
            "serving": {"k": k, "max_history": 4, "category": category},
            "ranking": {"candidates": candidates},
            "index": {"k": CANDIDATES},
        }
    )


def make_items(count: int) -> ItemTable:
    """Item i has the colour i % 5 (0: none) and the tags (i + 1) % 5 and i % 3, where they are not 0."""
    tags = [sorted({(i + 1) % 5, i % 3} - {0}) for i in range(count)]
    return ItemTable(
        item_id=np.array([f"item-{i:04d}" for i in range(count)], object),
        title=np.array([TITLES[i % len(TITLES)] for i in range(count)], object),
        text_row=np.full(count, -1, np.int32),
        train_count=np.arange(count) % 50,
        occurs=np.ones(count, bool),
        categorical={"colour": np.arange(count, dtype=np.int32) % 5},
        multi_valued={
            "tags": Ragged(
                np.array([tag for row in tags for tag in row], np.int32),
                np.cumsum([0, *map(len, tags)]),
            )
        },
        bucketed={"price": np.arange(count, dtype=np.int32) % 4},
        dense={"image": np.random.default_rng(2).normal(size=(count, 3)).astype(np.float32)},
        sizes={"colour": 5, "tags": 5, "price": 5},
    )


def category_names(items: ItemTable, column: str) -> list[list[str]]:
    """What the items table has in a column; every tenth item has a name that the transform graph does not know."""
    if column in items.categorical:
        ids = [[number] for number in items.categorical[column].tolist()]
    else:
        lists = items.multi_valued[column]
        ids = [part.tolist() for part in np.split(lists.values, lists.offsets[1:-1])]
    names = [[COLOURS[number - 1] for number in row if number] for row in ids]
    return [[*row, LATE_COLOUR] if place % 10 == 0 else row for place, row in enumerate(names)]


def ragged(lists: list[list[str]]) -> Ragged:
    names = [name.encode() for row in lists for name in row]
    return Ragged(np.array(names, object), np.cumsum([0, *map(len, lists)]))


def make_ingested_items(items: ItemTable, directory: Path) -> Path:
    """As much of what ingestion writes as an export reads."""
    columns = {"categorical_colour": "colour", "multi_valued_tags": "tags"}
    (directory / "Split-all").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(directory / "Split-all" / "data_tfrecord-0.gz"), "GZIP") as writer:
        rows = zip(items.item_id, *(category_names(items, column) for column in columns.values()), strict=True)
        for item_id, colour, tags in rows:
            example = tf.train.Example()
            for name, values in (("item_id", [item_id]), *zip(columns, (colour or [""], tags), strict=True)):
                example.features.feature[name].bytes_list.value.extend(value.encode() for value in values)
            writer.write(example.SerializeToString())
    return directory


def make_towers(
    config: Config,
    items: ItemTable,
    *,
    everything: bool = True,
    item_inputs: ItemInputs | None = None,
    texts: TextVectors | None = None,
    width: int = tiny_bert.WIDTH,
) -> RetrievalModel:
    """Random weights, large enough that every input moves the answer. By default the item tower reads ids alone.
    `width` is that of the encoder's vectors.
    """
    user_inputs = (
        UserInputs(
            text_width=width,
            events=3,
            rating=True,
            rating_mean=3.0,
            clock=True,
            periods=(1_400_000_000, 1_500_000_000, 1_600_000_000, 1_800_000_000),
            query_width=width,
            context={"device": 3},
            profile={"language": 3, "age": 5},
        )
        if everything
        else UserInputs()
    )
    towers = RetrievalModel(config, item_inputs or ItemInputs(items=len(items)), user_inputs)
    random = np.random.default_rng(5)
    for variable in towers.item_tower.weights + towers.user_tower.weights:
        variable.assign_add(0.3 * random.normal(size=variable.shape).astype(np.float32))
    towers.attach(items, texts or TextVectors(np.zeros([1, width], np.float16), "tiny"))
    return towers


class _Transform(tf.Module):
    """Stands in for TFT's graph: the ids of `phone`, `view`, `red`, ... are 1, of `web`, `buy`, `green`, ... 2."""

    def __init__(self, features: list[Feature]) -> None:
        super().__init__()
        specs = {}
        for feature in features:
            dtype = {"bytes": tf.string, "int": tf.int64, "float": tf.float32}[feature.kind]
            specs[feature.name] = (
                tf.TensorSpec([None, 1], dtype)
                if feature.scalar
                else tf.RaggedTensorSpec([None, None], dtype, row_splits_dtype=tf.int64)
            )
        known = {"view": 1, "phone": 1, "zh": 1, "buy": 2, "web": 2, "en": 2}
        known |= {colour: number for number, colour in enumerate(COLOURS, 1)}
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(list(known), np.array(list(known.values()), np.int64)), 0
        )
        self.transform_fn = tf.function(self._transform, input_signature=[specs])

    def _transform(self, inputs):
        outputs = {}
        for name, value in inputs.items():
            if name == "event" or name.startswith(("context_", "profile_language", "categorical_", "multi_valued_")):
                ragged = isinstance(value, tf.RaggedTensor)
                outputs[name] = (
                    value.with_flat_values(self.table.lookup(value.flat_values)) if ragged else self.table.lookup(value)
                )
            elif name in ("profile_age", "numeric_price"):  # 20 to a bucket
                outputs[name] = value.with_flat_values(tf.cast(value.flat_values / 20.0, tf.int64) + 1).to_tensor(0)
            else:
                outputs[name] = value
        return outputs


def make_ranker(config: Config, items: ItemTable, *, rated: bool = False) -> RankingModel:
    """Random weights over random tables, so that it orders otherwise than retrieval does."""
    random = np.random.default_rng(7)
    size, neighbours = len(items) + 1, 3
    tables: dict[str, np.ndarray] = {}
    for kind in ("together", "next"):
        tables[f"{kind}_item"] = random.integers(0, size, [size, neighbours]).astype(np.int32)
        tables[f"{kind}_weight"] = random.random([size, neighbours]).astype(np.float16)
    for name in ("popularity", "recent"):
        tables[name] = random.random(size).astype(np.float32)
    if rated:
        tables["rating"] = random.normal(size=size).astype(np.float32)
    features = CandidateFeatures(tables)
    ranker = RankingModel(config, config.model.dim, features, rated=rated, rating_mean=3.0, rating_std=1.0)
    for variable in ranker.trainable_variables:
        variable.assign_add(0.3 * random.normal(size=variable.shape).astype(np.float32))
    ranker.set_combination(random.normal(size=ranker.combination.shape))
    if rated:
        ranker.set_rating_weights(random.normal(size=4), random.normal(size=4))
    return ranker


def make_transform(config: Config, directory: Path) -> str:
    return _save_transform(sequence_features(config.data), directory)


def make_item_transform(config: Config, directory: Path) -> str:
    return _save_transform(item_features(config.data), directory)


def _save_transform(features: list[Feature], directory: Path) -> str:
    tf.saved_model.save(_Transform(features), str(directory / "transform_fn"))
    return str(directory)


def make_index(config: Config, towers: RetrievalModel, directory: Path, kind: str) -> Path:
    vectors = towers.item_vectors().numpy()
    queries = np.random.default_rng(1).normal(size=(20, vectors.shape[1])).astype(np.float32)
    index_config = config.index.model_copy(update={"kind": kind})
    builder.build(index_config, vectors, queries, directory)
    return directory


def make_dataset(items: ItemTable, *, texts: bool = True) -> Any:
    vectors = TextVectors(np.zeros([1, tiny_bert.WIDTH], np.float16), "tiny") if texts else None
    return types.SimpleNamespace(items=items, texts=vectors)


def request(batch: int = 2, events: int = 3, **changed: Any) -> dict[str, np.ndarray]:
    """A request to the model with every kind of input; `changed` replaces or adds inputs."""
    inputs: dict[str, Any] = {
        "user_id": [f"user-{b}" for b in range(batch)],
        "history_item_id": [[f"item-{(b + 2 * e) % 9:04d}" for e in range(events)] for b in range(batch)],
        "history_text": [[TITLES[(b + e) % 4] for e in range(events)] for b in range(batch)],
        "history_event": [["view", "buy", ""][(b + e) % 3] for b in range(batch) for e in range(events)],
        "history_rating": [float((b + e) % 5 + 1) for b in range(batch) for e in range(events)],
        "history_timestamp": [1_700_000_000 + 1000 * e for b in range(batch) for e in range(events)],
        "timestamp": [1_700_100_000] * batch,
        "query_text": ["guitar music"] * batch,
        "context_device": ["phone"] * batch,
        "profile_language": ["zh"] * batch,
        "profile_age": [30.0] * batch,
        "exclude_item_id": [[]] * batch,
        "allowed_category": [[]] * batch,
        "diversity": [0.0] * batch,
        "explain": [False] * batch,
        **changed,
    }
    arrays = {}
    for name, value in inputs.items():
        dtype: Any = object
        if name.endswith("timestamp"):
            dtype = np.int64
        elif name in ("history_rating", "profile_age", "diversity"):
            dtype = np.float32
        elif name == "explain":
            dtype = np.bool_
        array = np.array(value, dtype)
        if dtype is object:
            flat = [text if isinstance(text, bytes) else str(text).encode() for text in array.reshape(-1)]
            array = np.array(flat, object).reshape(array.shape)
        if name.startswith("history_"):
            array = array.reshape(batch, events) if array.size == batch * events else array
        elif name in ("exclude_item_id", "allowed_category"):
            array = array.reshape(batch, array.size // max(1, batch))
        arrays[name] = array
    return arrays


def retrieval(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What of a request to `recommend` the signature `retrieve` has."""
    return {name: value for name, value in inputs.items() if name not in ("diversity", "explain")}


def user_only(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What of a request to `recommend` describes the user."""
    inputs = retrieval(inputs)
    return {name: value for name, value in inputs.items() if name not in ("exclude_item_id", "allowed_category")}


def ids_only(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: inputs[name] for name in ("user_id", "history_item_id", "exclude_item_id", "diversity", "explain")}


def texts(array: np.ndarray) -> list:
    """Strings of an answer."""
    return np.char.decode(array.astype(bytes)).tolist()


class Traced:
    """The functions that are to be exported, not yet saved."""

    def __init__(self, recommender: Recommender) -> None:
        self.signatures = recommender.signatures

    def __call__(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self.signatures[signature](**_tensors(inputs)).items()}


class Reloaded:
    """An export through `tf.saved_model.load`."""

    def __init__(self, directory: Path) -> None:
        self._model = tf.saved_model.load(str(directory))

    def __call__(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._model.signatures[signature](**_tensors(inputs)).items()}


class Session:
    """An export through the v1 loader, as TensorFlow Serving loads it."""

    def __init__(self, directory: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.definition = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(directory))

    def __call__(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        signature_def = self.definition.signature_def[signature]
        if set(signature_def.inputs) != set(inputs):
            raise ValueError(f"inputs should be {sorted(signature_def.inputs)}. Received: {sorted(inputs)}")
        feeds = {signature_def.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: tensor.name for name, tensor in signature_def.outputs.items()}
        return self.session.run(fetches, feeds)


def cleaning_of(directory: Path) -> Callable[[list[bytes]], list[bytes]]:
    """The part of an exported graph that cleans raw texts: what is done to a text before the encoder looks at it."""
    saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    (function,) = (f for f in functions if any(node.op == "NormalizeUTF8" for node in f.node_def))
    nodes = {node.name: node for node in function.node_def}
    (end,) = (node.input[0].split(":")[0] for node in nodes.values() if node.op == "Unique")  # each text is read once
    graph_def, waiting, raw = tf.compat.v1.GraphDef(), [end], set()
    while waiting:
        name = waiting.pop()
        if name in nodes:
            node = graph_def.node.add()
            node.CopyFrom(nodes[name])
            del node.input[:]
            node.input.extend(part.split(":")[0] for part in nodes[name].input)
            waiting.extend(node.input)
        else:
            raw.add(name)
            graph_def.node.add(name=name, op="Placeholder").attr["dtype"].type = tf.string.as_datatype_enum
    (source,) = raw  # the function's argument
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return lambda texts: session.run(f"{end}:0", {f"{source}:0": texts}).tolist()


def _tensors(inputs: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(value.tolist(), _dtype(value), value.shape) for name, value in inputs.items()}


def _dtype(value: np.ndarray) -> tf.DType:
    return tf.string if value.dtype == object else tf.as_dtype(value.dtype)
