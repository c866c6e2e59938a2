"""Training on several devices or machines: every replica takes a part of each batch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError, first_line
from trainer.graphs import AnyShapeFunction
from trainer.training.averaging import WeightAverage
from trainer.training.batch import Batch, CountExamples


def strategy_for(distribution: str) -> tf.distribute.Strategy:
    """The strategy for a value of `retrieval.distribution`.

    Args:
      distribution: `none`; `mirrored`: all of this machine's GPUs, or its (logical) processors where there is none;
        `multi_worker`: the workers that the environment variable TF_CONFIG names.

    Raises:
      TowersError: TF_CONFIG does not describe this worker, or this process has used TensorFlow before.
    """
    if distribution == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if distribution == "multi_worker":
        _check_tf_config()
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise TowersError(
                "retrieval.distribution=multi_worker: the workers can only be joined in a process that has not used "
                f"TensorFlow before ({first_line(error)}). Start the training in a fresh one."
            ) from None
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the training."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().jobs:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


class DistributedStep:
    """One step of the optimizer on a global batch, with the same result on one device and on several.

    There are two exceptions: each replica draws its own random numbers (dropout, uniform negatives), and in-batch
    negatives come from the replica's part of the batch.

    The loss of a batch is a mean over its examples. Each replica's loss is weighted with its share of the examples:
    the sum over the replicas is then the loss of the global batch, and the sum of their gradients is its gradient,
    even if the replicas have different numbers of examples. The loss of a batch is also multiplied by its number of
    examples and divided by the mean number. Sequences of similar length share a batch, and without this factor an event
    would count for more in a batch of short sequences than in a batch of long ones.

    Args:
      model: compiled; has `compute_loss(batch, training)` and a `stream`.
      strategy: the one that the model was created under.
      count_examples: how many examples a batch has.
      mean_examples: the mean number of examples of a batch.
      average: the average to update after each step; None: there is none.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        strategy: tf.distribute.Strategy,
        count_examples: CountExamples,
        mean_examples: float,
        average: WeightAverage | None = None,
    ) -> None:
        self._model, self._strategy, self._count_examples = model, strategy, count_examples
        self._mean_examples, self._average = max(mean_examples, 1.0), average
        self._graph = AnyShapeFunction(self._run)
        replicas = strategy.num_replicas_in_sync
        local = len(strategy.extended.worker_devices) if replicas > 1 else 1
        resolver = strategy.cluster_resolver
        worker = _worker_number(resolver) if replicas > local else 0
        self._local_replicas = range(worker * local, (worker + 1) * local)  # numbers of this process's replicas

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Trains on one batch; all batches should have the same keys, types and ranks.

        Returns:
          float32 scalar, the sum of the examples' losses divided by the mean number of examples of a batch.
        """
        replicas = self._strategy.num_replicas_in_sync
        if replicas == 1:
            return self._graph(np.array([self._count_examples(batch) / self._mean_examples], np.float32), batch)
        rows = len(next(iter(batch.values())))
        pieces, shares = [], []
        for replica in self._local_replicas:
            # Replica r takes rows r, r + n, r + 2n, ...: neighbouring rows have similar lengths, so this balances the
            # load. A replica without rows takes the first row with weight 0, because a loss needs at least one row.
            piece = {name: value[replica::replicas] if replica < rows else value[:1] for name, value in batch.items()}
            pieces.append(piece)
            shares.append(self._count_examples(piece) / self._mean_examples if replica < rows else 0.0)
        return self._graph(np.array(shares, np.float32), *pieces)

    def _run(self, shares: tf.Tensor, *pieces: dict[str, tf.Tensor]) -> tf.Tensor:
        self._model.stream.step.assign_add(1)
        if self._strategy.num_replicas_in_sync == 1:
            loss = self._update(shares[0], pieces[0])
        else:
            loss = self._update_on_replicas(shares, pieces)
        if self._average is not None:
            self._average.update()
        return loss

    def _update_on_replicas(self, shares: tf.Tensor, pieces: tuple[dict[str, tf.Tensor], ...]) -> tf.Tensor:
        """`_update` on each local replica with its own share and piece; the sum of all replicas' losses."""
        first = self._local_replicas.start

        def per_replica(value_of: Callable[[int], tf.Tensor]) -> tf.Tensor:
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: value_of(context.replica_id_in_sync_group - first)
            )

        share = per_replica(lambda i: shares[i])
        piece = {name: per_replica(lambda i, name=name: pieces[i][name]) for name in pieces[0]}  # type: ignore[misc]
        losses = self._strategy.run(self._update, args=(share, piece))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _update(self, share: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Applies the gradients of one replica's batch; returns its loss times `share`, without regularisation."""
        model, optimizer = self._model, self._model.optimizer
        scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True) * share
            objective = loss
            if model.losses:  # regularisation
                objective += tf.add_n(model.losses) / self._strategy.num_replicas_in_sync
            objective = optimizer.get_scaled_loss(objective) if scales else objective
        gradients = tape.gradient(objective, model.trainable_variables)
        gradients = optimizer.get_unscaled_gradients(gradients) if scales else gradients
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))  # sums over replicas
        return loss


def first_replica_values(strategy: tf.distribute.Strategy, values: dict[str, float]) -> dict[str, float]:
    """The values of the first replica, in every process.

    Workers may round differently. With these values all of them make the same decisions.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    own = tf.constant(list(values.values()), tf.float64)

    def own_or_zero() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(replica, 0), own, tf.zeros_like(own))

    run = tf.function(
        lambda: strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(own_or_zero), axis=None), autograph=False
    )
    return dict(zip(values, run().numpy().tolist(), strict=True))


def _worker_number(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> int:
    """This worker's number in the order of TensorFlow's replicas: the chief comes first."""
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_id + (1 if has_chief and resolver.task_type == "worker" else 0)


def _check_tf_config() -> None:
    text = os.environ.get("TF_CONFIG", "")
    try:
        document = json.loads(text or "{}")
        cluster, task = document["cluster"], document["task"]
        tasks = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))]
        if (task["type"], int(task["index"])) not in tasks:
            raise ValueError(f"no such task: {task}")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TowersError(
            "retrieval.distribution=multi_worker: the environment variable TF_CONFIG should name the workers and this "
            f'one: {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", "index": 0}}}}. '
            f"Received: {text[:200]!r}"
        ) from None
