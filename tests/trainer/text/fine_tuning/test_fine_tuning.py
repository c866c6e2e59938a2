"""Fine-tuning of the encoder with the towers, on a tiny BERT and texts that differ in one word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.export import exporter
from tests.serving import exported
from tests.support import tiny_bert
from tests.trainer import tables
from trainer.config import Config
from trainer.data.batches import Batch
from trainer.data.dataset import Dataset
from trainer.data.tables import ItemTable, SequenceTable, TextVectors
from trainer.errors import TowersError, UsageError
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training
from trainer.text.bert.weights import named_variables
from trainer.text.encoder import TextEncoder
from trainer.text.fine_tuning.saved import ENCODER_DIRECTORY, VECTORS_FILE
from trainer.text.fine_tuning.training import TEXT_ROWS, TEXT_TOKENS, FineTuning, make_fine_tuning
from trainer.text.pretrained import load_encoder

pytestmark = pytest.mark.slow

MAX_TOKENS = 24
ITEMS = 8
SETTINGS = {"learning_rate": 0.01, "epochs": 10, "batch_size": 16}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert.write(tmp_path_factory.mktemp("bert"), seed=3)


def make_config(bert: str, layers: int | str = 1, text: dict | None = None, **sections: Any) -> Config:
    model = {"dim": 16, "layers": 1, "max_history": 8, "dropout": 0.0, "side_dropout": 0.0}
    return tables.make_config(
        "order",
        text={
            "encoder": bert,
            "max_tokens": MAX_TOKENS,
            "trainable_layers": layers,
            "learning_rate": 1e-3,
            **(text or {}),
        },
        model=model | sections.pop("model", {}),
        retrieval=SETTINGS | sections.pop("retrieval", {}),
        evaluation={"with_query": True},
        **sections,
    )


@pytest.fixture(scope="module")
def data(bert: str) -> tuple[ItemTable, SequenceTable, SequenceTable, TextVectors]:
    """One word of a query determines the next item; its other words are in all queries, and nothing else informs."""
    generator = np.random.default_rng(0)
    filler = "this is a good old story of the night and the day in the city with {} and a"
    words = tiny_bert.WORDS[-2 * ITEMS :]
    texts = np.array([filler.format(word).encode() for word in words], object)
    items = tables.item_table(ITEMS, text_row=np.arange(ITEMS, dtype=np.int32))
    chosen = [list(generator.integers(1, ITEMS + 1, 6)) for _ in range(80)]
    query = np.array([ITEMS + item - 1 for sequence in chosen for item in sequence], np.int32)
    sequences = tables.sequence_table(chosen, query_row=query)
    vectors = load_encoder(bert, MAX_TOKENS).encode_texts(list(texts)).astype(np.float16)
    return items, sequences, replace(sequences, target_count=np.ones(80, np.int32)), TextVectors(vectors, bert, texts)


@pytest.fixture(scope="module")
def fine_tuned(bert: str, data: tuple, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("fine_tuned") / "towers"
    return directory, retrieval_training.train(make_config(bert), tables.dataset(*data), directory)


def load_fine_tuned(directory: Path) -> TextEncoder:
    return load_encoder(str(directory / ENCODER_DIRECTORY), MAX_TOKENS)


def changed_layers(before: TextEncoder, after: TextEncoder) -> dict[str, float]:
    """Largest change of a weight in each part."""
    changes: dict[str, float] = {}
    pairs = zip(named_variables(before.backbone), named_variables(after.backbone), strict=True)
    for (old, name), (new, _) in pairs:
        part = "embeddings" if name.startswith("embeddings") else name.split(".")[2]
        changes[part] = max(changes.get(part, 0.0), float(tf.reduce_max(tf.abs(old - new))))
    return changes


def test_trained_layers_change_and_frozen_ones_do_not(bert: str, fine_tuned: tuple) -> None:
    changes = changed_layers(load_encoder(bert, MAX_TOKENS), load_fine_tuned(fine_tuned[0]))
    assert changes["embeddings"] == changes["0"] == 0
    assert changes["1"] > 1e-3


def test_fine_tuning_learns_what_a_frozen_encoder_cannot(
    bert: str, data: tuple, fine_tuned: tuple, tmp_path: Path
) -> None:
    items, texts = data[0], data[3]
    # Whitening of all directions would separate even these texts; whitening of the first two hardly does.
    config = make_config(bert, 0, model={"text_dim": 2})
    frozen = retrieval_training.train(config, tables.dataset(*data), tmp_path / "frozen")
    assert min(e["loss"] for e in fine_tuned[1]["epochs"]) < 0.5 * min(e["loss"] for e in frozen["epochs"])
    assert not (tmp_path / "frozen" / ENCODER_DIRECTORY).exists()
    assert retrieval_persistence.load(tmp_path / "frozen", items, texts).encoder is None


def test_stored_vectors_are_those_of_the_fine_tuned_encoder(bert: str, data: tuple, fine_tuned: tuple) -> None:
    directory, texts = fine_tuned[0], data[3]
    stored = np.load(directory / VECTORS_FILE)
    assert stored.dtype == np.float16
    after = load_fine_tuned(directory)
    np.testing.assert_allclose(stored, after(tf.constant(list(texts.texts))), atol=1e-3)
    assert np.abs(stored - texts.vectors).max() > 0.05
    assert after.fingerprint != load_encoder(bert, MAX_TOKENS).fingerprint, "or the store would mix up their vectors"


def test_a_loaded_model_reads_the_fine_tuned_vectors(bert: str, data: tuple, fine_tuned: tuple) -> None:
    """A loaded model ranks as in training, although the pipeline's steps pass it the vectors before fine-tuning."""
    items, _, validation, texts = data
    directory, result = fine_tuned
    model = retrieval_persistence.load(directory, items, texts)
    assert model.encoder == str(directory / ENCODER_DIRECTORY)
    np.testing.assert_allclose(np.load(directory / "item_vectors.npy"), model.item_vectors(), atol=1e-6)
    values = evaluate(make_config(bert), model, items, validation)
    assert values["stages"]["retrieval"]["ndcg@10"] == pytest.approx(result["ndcg@10"], abs=1e-6)
    garbled = replace(texts, vectors=np.zeros_like(texts.vectors))
    lists = []
    for pipeline_texts in (texts, garbled):
        one = retrieval_persistence.load(directory, items, pipeline_texts)
        lists.append(list(rank_with_model(RankingTask(model.config, items, validation, k=3), one)))
    np.testing.assert_array_equal(lists[0][0].items, lists[1][0].items)


def make_model_and_batch(config: Config, data: tuple) -> tuple[retrieval_model.RetrievalModel, FineTuning, dict]:
    """A model before training, its fine-tuning, and its first batch."""
    items, train, _, texts = data
    model = retrieval_model.RetrievalModel(
        config,
        retrieval_training.item_inputs(config.model, items, texts),
        retrieval_training.user_inputs(config.model, train, texts, False),
    )
    fine_tuning = make_fine_tuning(config, items, texts, model.reads_texts)
    assert fine_tuning is not None
    model.attach_fine_tuning(items, fine_tuning)
    windows = retrieval_training.training_windows(train, config.model.max_history, 0.5)
    batches = retrieval_training.training_batches(train, model.columns, windows, 4, 1, 1)
    return model, fine_tuning, next(iter(fine_tuning.add_texts(batches, 1)))


@pytest.mark.parametrize("layers", [1, 2, "all"])
def test_gradients_reach_the_trained_layers_and_no_others(bert: str, data: tuple, layers: int | str) -> None:
    model, fine_tuning, batch = make_model_and_batch(make_config(bert, layers), data)
    all_weights = {name: variable for variable, name in named_variables(fine_tuning._encoder.backbone)}
    with tf.GradientTape() as tape:
        loss = model.compute_loss({name: tf.constant(value) for name, value in batch.items()}, training=True)
    gradients = tape.gradient(loss, all_weights)
    names_with_gradient = {name for name, gradient in gradients.items() if gradient is not None}
    prefixes = {1: ("encoder.layer.1.",), 2: ("encoder.layer.",), "all": ("encoder.layer.", "embeddings.")}[layers]
    assert names_with_gradient == {name for name in all_weights if name.startswith(prefixes)}
    trained = {variable.ref() for variable in model.trainable_variables}
    assert {name for name, variable in all_weights.items() if variable.ref() in trained} == names_with_gradient


def test_a_step_encodes_texts_up_to_its_tokens_and_reads_the_others(bert: str, data: tuple) -> None:
    texts = data[3]
    tokens = len(load_encoder(bert, MAX_TOKENS).tokenize([texts.texts[0]])[0])
    _, fine_tuning, batch = make_model_and_batch(make_config(bert, text={"tokens_per_step": 3 * tokens}), data)
    assert batch[TEXT_ROWS].shape == (3,)
    assert batch[TEXT_TOKENS].shape == (3, tokens)
    assert (np.diff(batch[TEXT_ROWS]) > 0).all()
    again = next(iter(fine_tuning.add_texts([batch], 1)))
    np.testing.assert_array_equal(again[TEXT_ROWS], batch[TEXT_ROWS], "a resumed run draws the same")
    fine_tuning._blocks[0]._feedforward_output_dense.bias.assign_add(tf.range(tiny_bert.WIDTH, dtype=tf.float32))
    before = fine_tuning.text_vectors.stored.numpy().astype(np.float32)
    encoded = fine_tuning.embed_tokens(tf.constant(batch[TEXT_TOKENS])).numpy()
    rows = np.array([[-1, *range(len(texts.texts))]], np.int32)
    with fine_tuning.text_vectors.override(tf.constant(batch[TEXT_ROWS]), tf.constant(encoded)):
        read = fine_tuning.text_vectors.gather(tf.constant(rows)).numpy()[0]
    assert not read[0].any()
    expected = before.copy()
    expected[batch[TEXT_ROWS]] = encoded
    np.testing.assert_array_equal(read[1:], expected)
    np.testing.assert_allclose(fine_tuning.text_vectors.gather(tf.constant(rows))[0, 1:], expected, atol=1e-3)
    fine_tuning.encode_all_texts()
    after = fine_tuning.text_vectors.stored.numpy()
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()
    np.testing.assert_allclose(after[batch[TEXT_ROWS]], encoded, atol=1e-3)


def test_a_batch_without_texts_is_trained_on(bert: str, data: tuple) -> None:
    items, _, _, texts = data
    none = replace(items, text_row=np.full(ITEMS, -1, np.int32))
    none.text_row[0] = 0
    few = tables.sequence_table([[2, 3], [3, 4]], query_row=np.full(4, -1, np.int32))
    few = replace(few, query_row=np.array([-1, -1, -1, 8], np.int32))
    config = make_config(bert, retrieval={"batch_size": 1, "epochs": 1})
    model = retrieval_model.RetrievalModel(
        config,
        retrieval_training.item_inputs(config.model, none, texts),
        retrieval_training.user_inputs(config.model, few, texts, False),
    )
    fine_tuning = FineTuning(config, none, texts)
    model.attach_fine_tuning(none, fine_tuning)
    model.compile(optimizer=fine_tuning.adam(0.01, 0.0))
    windows = retrieval_training.training_windows(few, 8, 0.5)
    batches = list(fine_tuning.add_texts(retrieval_training.training_batches(few, model.columns, windows, 1, 1, 1), 1))
    assert sorted(len(batch[TEXT_ROWS]) for batch in batches) == [1, 1]
    assert sorted(int(batch[TEXT_ROWS][0]) for batch in batches) == [-2, 8]
    for batch in batches:
        assert np.isfinite(model.train_step({name: tf.constant(value) for name, value in batch.items()})["loss"])


def test_the_encoder_has_its_own_learning_rate(bert: str, data: tuple) -> None:
    """Adam's first step moves a weight by the learning rate."""
    model, fine_tuning, batch = make_model_and_batch(make_config(bert, text={"learning_rate": 1e-4}), data)
    model.compile(optimizer=fine_tuning.adam(0.01, 0.0))
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_step({name: tf.constant(value) for name, value in batch.items()})
    own = {variable.ref() for layer in fine_tuning.layers for variable in layer.trainable_variables}
    moved: dict[bool, float] = {True: 0.0, False: 0.0}
    for variable, old in zip(model.trainable_variables, before, strict=True):
        moved[variable.ref() in own] = max(moved[variable.ref() in own], float(np.abs(variable - old).max()))
    assert moved[True] == pytest.approx(1e-4, rel=0.02)
    assert moved[False] == pytest.approx(0.01, rel=0.02)


def test_a_killed_training_resumes_to_the_same_encoder(
    bert: str, data: tuple, fine_tuned: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within an epoch: weights resume, and so do vectors of texts that no later step encodes."""
    config = make_config(bert, retrieval={"checkpoint_minutes": 1e-9})
    add_texts = FineTuning.add_texts

    def add_texts_until_killed(self: FineTuning, batches: Any, epoch: int) -> Iterator[Batch]:
        for number, batch in enumerate(add_texts(self, batches, epoch)):
            if (epoch, number) == (6, 2):
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(FineTuning, "add_texts", add_texts_until_killed)
    arguments = (config, tables.dataset(*data), tmp_path / "towers")
    with pytest.raises(KeyboardInterrupt):
        retrieval_training.train(*arguments, checkpoints=tmp_path / "checkpoints")
    monkeypatch.undo()
    result = retrieval_training.train(*arguments, checkpoints=tmp_path / "checkpoints")
    assert [e["loss"] for e in result["epochs"]] == [e["loss"] for e in fine_tuned[1]["epochs"]]
    vectors = [np.load(path / VECTORS_FILE) for path in (fine_tuned[0], tmp_path / "towers")]
    np.testing.assert_array_equal(*vectors)


def test_the_export_has_the_fine_tuned_encoder(bert: str, data: tuple, fine_tuned: tuple, tmp_path: Path) -> None:
    items, _, _, texts = data
    config = make_config(bert)
    towers = retrieval_persistence.load(fine_tuned[0], items, texts)
    report = exporter.export(
        config,
        towers,
        None,
        index_directory=exported.make_index(config, towers, tmp_path / "index", "brute_force"),
        dataset=Dataset(items=items, splits={}, texts=texts),
        sequence_transform="unread",
        directory=tmp_path / "model",
    )
    words = np.array([texts.texts[0], b"a cat and a dog"], object)
    served = exported.Reloaded(tmp_path / "model")("encode_text", {"text": words})["embedding"]
    np.testing.assert_allclose(served, load_fine_tuned(fine_tuned[0])(tf.constant(list(words))), atol=1e-5)
    assert np.abs(served - load_encoder(bert, MAX_TOKENS)(tf.constant(list(words)))).max() > 0.05
    np.testing.assert_allclose(served[0], np.load(fine_tuned[0] / VECTORS_FILE)[0], atol=1e-3)
    assert report["encoder"] == {
        "name": bert,
        "fine_tuned": True,
        "fingerprint": load_fine_tuned(fine_tuned[0]).fingerprint,
    }


def test_user_errors_are_one_line(bert: str, data: tuple, fine_tuned: tuple, tmp_path: Path) -> None:
    items, texts = data[0], data[3]
    with pytest.raises(UsageError, match="at most the 2 layers"):
        retrieval_training.train(make_config(bert, 3), tables.dataset(*data), tmp_path / "deep")
    unread = make_config(bert, model={"use_item_text": False, "use_query": False})
    with pytest.raises(UsageError, match="where no tower reads texts"):
        retrieval_training.train(unread, tables.dataset(*data), tmp_path / "unread")
    with pytest.raises(TowersError, match="has vectors of 16 texts, but the dataset has 3 texts"):
        retrieval_persistence.load(fine_tuned[0], items, replace(texts, vectors=texts.vectors[:3]))
    assert list(tmp_path.iterdir()) == []
