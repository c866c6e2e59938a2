"""A trained encoder on its way through the pipeline's steps: from transformed examples to the served graph."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from serving.export.metadata import read_metadata
from tests.serving.exported import Reloaded
from tests.support import tiny_bert
from tests.trainer import tables
from tfx_pipeline import text_embedding
from tfx_pipeline.components.dataset_step import Step
from tfx_pipeline.components.exporter import ExporterExecutor
from tfx_pipeline.components.index_builder import IndexBuilderExecutor
from tfx_pipeline.components.retrieval_trainer import RetrievalTrainerExecutor
from trainer.config import Config
from trainer.data.tables import TextVectors
from trainer.text.fine_tuning.saved import ENCODER_DIRECTORY, VECTORS_FILE
from trainer.text.pretrained import load_encoder
from trainer.text.store.keys import as_array, text_key
from trainer.text.store.vectors import load_vectors

pytestmark = pytest.mark.slow

MAX_TOKENS = 16
ITEMS = 6


def write_examples(directory: Path, rows: list[dict[str, list]]) -> None:
    directory.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(directory / "part-0.gz"), "GZIP") as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                feature = example.features.feature[name]
                if isinstance(values[0], str):
                    feature.bytes_list.value.extend(value.encode() for value in values)
                else:
                    feature.int64_list.value.extend(values)
            writer.write(example.SerializeToString())


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Step:
    """As Transform and EmbedTexts leave a dataset. Each split has texts that no other has."""
    place = tmp_path_factory.mktemp("dataset")
    bert = tiny_bert.write(place / "bert")
    for split, last in (("train", 4), ("validation", 5), ("test", 6)):
        sequences: list[dict[str, list]] = []
        for user in range(12):
            events = range(last)
            sequences.append(
                {
                    "user_id": [f"u{user}"],
                    "target_count": [int(split != "train")],
                    "item_id$ragged_values": [f"i{(user + event) % ITEMS}" for event in events],
                    "timestamp$ragged_values": list(events),
                    "text$ragged_values": [
                        "" if event % 3 == 2 else f"{split} book {user + event}" for event in events
                    ],
                }
            )
        write_examples(place / "sequences" / f"Split-{split}", sequences)
    items: list[dict[str, list]] = [
        {
            "item_id": [f"i{item}"],
            "title": ["unread"],
            "text": [f"the story of {tiny_bert.WORDS[-item - 1]}" if item else ""],
            "train_count": [8],
            "occurs": [1],
        }
        for item in range(ITEMS)
    ]
    write_examples(place / "items" / "Split-all", items)
    text_embedding.embed_examples(
        [
            (str(place / "sequences" / "Split-*" / "*.gz"), ["text$ragged_values"]),
            (str(place / "items" / "Split-*" / "*.gz"), ["text"]),
        ],
        text_embedding.TextEncoding(bert, MAX_TOKENS, tf.float32, 256, str(place / "store")),
        str(place / "texts"),
        make_pipeline=lambda: beam.Pipeline(
            options=PipelineOptions(["--direct_running_mode=in_memory", "--direct_num_workers=1"])
        ),
    )
    settings = tables.make_config(
        "order",
        text={"encoder": bert, "max_tokens": MAX_TOKENS, "trainable_layers": 1, "learning_rate": 1e-3},
        model={"dim": 16, "layers": 1, "max_history": 6},
        retrieval={"epochs": 2, "batch_size": 4, "loss": "sampled_softmax", "sampled_negatives": 4},
        serving={"k": 3},
        index={"kind": "brute_force"},
    ).model_dump(mode="json")
    settings["data"]["interactions"]["text"] = ["text"]
    settings["data"]["items"] = {"path": "items.csv", "item_id": "i", "text": ["text"]}
    names = ("sequences", "items", "texts")
    inputs = {name: str(place / name) for name in names} | dict.fromkeys(
        ("sequence_transform", "item_transform"), str(place / "no_vocabularies")
    )
    inputs["ingested_items"] = inputs["items"]  # not read: the model has no `serving.category`
    outputs = {name: str(place / name) for name in ("towers", "model_run", "index", "model")}
    return Step(
        Config.model_validate(settings), inputs | {name: outputs[name] for name in ("towers", "index")}, outputs
    )


def texts_of(step: Step, with_texts: bool = True) -> TextVectors:
    texts = step.load_dataset("validation", with_texts=with_texts).texts
    assert texts is not None
    return texts


def test_the_texts_of_all_splits_come_in_the_order_of_their_vectors(step: Step) -> None:
    texts = texts_of(step)
    keys = load_vectors(step.inputs["texts"]).keys
    assert texts.texts is not None
    np.testing.assert_array_equal(as_array(text_key(text) for text in texts.texts), keys)
    assert any(text.startswith(b"test book") for text in texts.texts)
    assert texts_of(step, with_texts=False).texts is None, "only the step that trains needs them"


def test_from_examples_to_the_served_graph(step: Step) -> None:
    for executor in (RetrievalTrainerExecutor, IndexBuilderExecutor, ExporterExecutor):
        executor().run(step)
    trained = load_encoder(str(Path(step.inputs["towers"], ENCODER_DIRECTORY)), MAX_TOKENS)
    (model,) = Path(step.outputs["model"]).rglob("saved_model.pb")
    texts = texts_of(step)
    assert texts.texts is not None
    served = Reloaded(model.parent)("encode_text", {"text": texts.texts})["embedding"]
    np.testing.assert_allclose(served, np.load(Path(step.inputs["towers"], VECTORS_FILE)), atol=1e-3)
    assert np.abs(served - texts.vectors).max() > 0.01, "as EmbedTexts wrote them: the encoder before it was trained"
    report = read_metadata(model.parent)
    assert report["encoder"] == {
        "name": step.config.text.encoder,
        "fine_tuned": True,
        "fingerprint": trained.fingerprint,
    }
