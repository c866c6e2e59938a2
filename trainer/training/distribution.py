"""One training on several devices or machines: every replica takes its part of each batch."""

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
    """The strategy that `retrieval.distribution` means.

    Args:
      distribution: `none`; `mirrored`: all of this machine's GPUs, or its (logical) processors where there is none;
        `multi_worker`: the workers that the environment variable TF_CONFIG names.

    Raises:
      TowersError: TF_CONFIG does not describe this worker, or TensorFlow was used before the workers could be joined.
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
    """Whether this process writes what the training leaves."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().jobs:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


class DistributedStep:
    """One step of the optimizer on a global batch, the same on one device and on many.

    The loss of a batch is a mean over its examples. Each replica's is weighted with its share of them, so that the sum
    over the replicas is the whole batch's loss, and the sum of their gradients its gradient, however unevenly the
    examples fell. Batches are weighted likewise, with their examples against the usual number: sequences come sorted by
    length, and an event among short ones should not count for more than one among long ones. A loss that draws
    negatives draws them on each replica from its own part.

    Args:
      model: compiled; has `compute_loss(batch, training)` and a `stream`.
      strategy: the one that the model was made under.
      examples: how many examples a batch has.
      usual: how many it has on average.
      average: kept up to date, if given.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        strategy: tf.distribute.Strategy,
        examples: CountExamples,
        usual: float,
        average: WeightAverage | None = None,
    ) -> None:
        self._model, self._strategy, self._examples = model, strategy, examples
        self._usual, self._average = max(usual, 1.0), average
        self._graph = AnyShapeFunction(self._run)
        replicas = strategy.num_replicas_in_sync
        local = len(strategy.extended.worker_devices) if replicas > 1 else 1
        resolver = strategy.cluster_resolver
        worker = _worker_number(resolver) if replicas > local else 0
        self._local = range(worker * local, (worker + 1) * local)  # numbers of this process's replicas

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Trains on one batch of the same keys, types and ranks every time.

        Returns:
          float32 scalar, the sum of its examples' losses divided by the usual number of examples.
        """
        replicas = self._strategy.num_replicas_in_sync
        if replicas == 1:
            return self._graph(np.array([self._examples(batch) / self._usual], np.float32), batch)
        rows = len(next(iter(batch.values())))
        pieces, shares = [], []
        for replica in self._local:
            # Every so-manieth row: rows next to each other may be alike in length. A replica that is left without one
            # takes another's with no weight, for no loss is made for an empty batch.
            piece = {name: value[replica::replicas] if replica < rows else value[:1] for name, value in batch.items()}
            pieces.append(piece)
            shares.append(self._examples(piece) / self._usual if replica < rows else 0.0)
        return self._graph(np.array(shares, np.float32), *pieces)

    def _run(self, shares: tf.Tensor, *pieces: dict[str, tf.Tensor]) -> tf.Tensor:
        self._model.stream.step.assign_add(1)
        loss = (
            self._step(shares[0], pieces[0])
            if self._strategy.num_replicas_in_sync == 1
            else self._spread(shares, pieces)
        )
        if self._average is not None:
            self._average.update()
        return loss

    def _spread(self, shares: tf.Tensor, pieces: tuple[dict[str, tf.Tensor], ...]) -> tf.Tensor:
        first = self._local.start

        def each(pick: Callable[[int], tf.Tensor]) -> tf.Tensor:
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: pick(context.replica_id_in_sync_group - first)
            )

        share = each(lambda i: shares[i])
        piece = {name: each(lambda i, name=name: pieces[i][name]) for name in pieces[0]}  # type: ignore[misc]
        losses = self._strategy.run(self._step, args=(share, piece))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _step(self, share: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        model, optimizer = self._model, self._model.optimizer
        scales = isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True) * share
            whole = loss
            if model.losses:  # regularisation
                whole += tf.add_n(model.losses) / self._strategy.num_replicas_in_sync
            whole = optimizer.get_scaled_loss(whole) if scales else whole
        gradients = tape.gradient(whole, model.trainable_variables)
        gradients = optimizer.get_unscaled_gradients(gradients) if scales else gradients
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))  # sums over replicas
        return loss


def agreed(strategy: tf.distribute.Strategy, values: dict[str, float]) -> dict[str, float]:
    """The first replica's values, in every process: workers that round differently must not decide differently."""
    if strategy.num_replicas_in_sync == 1:
        return values
    own = tf.constant(list(values.values()), tf.float64)

    def mine() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(replica, 0), own, tf.zeros_like(own))

    run = tf.function(
        lambda: strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(mine), axis=None), autograph=False
    )
    return dict(zip(values, run().numpy().tolist(), strict=True))


def _worker_number(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> int:
    """This worker's place in the order in which TensorFlow numbers replicas: the chief first."""
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
