"""The model of TensorFlow Recommenders' retrieval tutorial: user embeddings, item embeddings, in-batch softmax."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.tables import SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer, target_ranks
from trainer.evaluation.targets import targets_of

WIDTH, BATCH, LEARNING_RATE, EPOCHS = 32, 8192, 0.1, 3  # as in the tutorial


class TutorialModel(tfrs.Model):
    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.user = tf.keras.layers.Embedding(users + 1, WIDTH)  # row 0: unknown
        self.item = tf.keras.layers.Embedding(items + 1, WIDTH)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, inputs: Any, training: bool = False) -> tf.Tensor:
        return self.task(self.user(inputs["user"]), self.item(inputs["item"]), compute_metrics=False)


def measure(config: Config, dataset: Dataset, steps: int | None) -> dict[str, float]:
    """Trains the tutorial's model on the train split's (user, item) pairs.

    Args:
      config, dataset: as `towers run` prepares them.
      steps: number of steps of each epoch; None: all.

    Returns:
      `rate` (events/s), `seconds` (training alone), and NDCG@10 on `validation` and `test` in full ranking without the
      user's own items.
    """
    tf.keras.utils.set_random_seed(config.seed)
    train = dataset.train
    pairs = {
        "user": np.repeat(np.arange(1, len(train) + 1), np.diff(train.offsets)).astype(np.int32),
        "item": train.item,
    }
    batches = tf.data.Dataset.from_tensor_slices(pairs).shuffle(100_000, config.seed).batch(BATCH).cache()
    if steps is not None:
        batches = batches.take(steps)
    model = TutorialModel(len(train), len(dataset.items))
    model.compile(optimizer=tf.keras.optimizers.Adagrad(LEARNING_RATE))
    model.fit(batches.take(1), verbose=0)  # compiles
    for layer in (model.user, model.item):
        layer.embeddings.assign(layer.embeddings_initializer(layer.embeddings.shape))
    model.optimizer = tf.keras.optimizers.Adagrad(LEARNING_RATE)
    events = EPOCHS * sum(len(batch["item"]) for batch in batches.as_numpy_iterator())
    model.compile(optimizer=model.optimizer)
    start = time.perf_counter()
    model.fit(batches, epochs=EPOCHS, verbose=0)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "rate": events / seconds}
    for split in ("validation", "test"):
        result[split] = _ndcg(config, model, dataset, dataset.splits[split])
    return result


def _ndcg(config: Config, model: TutorialModel, dataset: Dataset, sequences: SequenceTable) -> float:
    row_of = {user_id: row + 1 for row, user_id in enumerate(dataset.train.user_id)}
    users, items = model.user.embeddings.numpy(), model.item.embeddings.numpy()

    def score(sequences: SequenceTable, rows: np.ndarray) -> np.ndarray:
        return users[[row_of.get(sequences.user_id[row], 0) for row in rows]] @ items.T

    targets = targets_of(sequences)
    held_out = np.flatnonzero(np.diff(targets.offsets))
    task = RankingTask(config, dataset.items, sequences, k=10, users=held_out)
    ranks = target_ranks(rank_with_scorer(task, score), targets)
    return metrics.from_ranks(ranks, targets.offsets, [10])["ndcg@10"]
