"""Speed of training the user tower on MovieLens-1M, side by side: events/s, and seconds to 0.10 validation NDCG@10.

All models are trained on the same train split, with the same number of threads:

- ours: all positions of a sequence in one pass, as in configs/movielens_1m.yaml, matrix products in the precision that
  `retrieval.precision` selects on this machine;
- ours, one (history, target) pair an example: the same code, but only the last position of an example is a target;
- SASRec in PyTorch, in its own environment (`torch_sasrec.py`): the same width, depth, length and loss (cross-entropy
  over the whole catalogue). Plain means as published: every sequence padded to the full length, and a feed-forward
  network of the model's width. It is also trained with our batches, which are sorted by length, and with our
  feed-forward network's inner width;
- the model of TensorFlow Recommenders' retrieval tutorial (`tutorial_model.py`).

Only predicted events count. The models take turns, so that noise of the machine affects all of them alike. A ratio is
that of the total times; the lowest and highest ratio of a round are printed beside it. Seconds to the target are those
of training alone, without the validation of every user over the whole catalogue after each epoch.

Command:  .venv/bin/python benchmarks/training_speed.py --data DIR
          to try it: --run RUN --steps 2 --rounds 2 --users 600 --epochs 2 --target 0.02
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from own_environment import TORCH, python_with
from threads import use_threads
from worker import Worker

ROOT = Path(__file__).parents[1]
INNER = 4  # of our feed-forward network, in widths of the model
OURS, PAIRS = "ours", "ours, one pair an example"
PLAIN, SORTED, WIDE = "SASRec, PyTorch, plain", "SASRec, our batches", "SASRec, our batches, inner 4x"


@dataclass
class Times:
    """Seconds and predicted events of each round."""

    seconds: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return sum(self.events) / sum(self.seconds)

    @property
    def rates(self) -> list[float]:
        return [events / seconds for events, seconds in zip(self.events, self.seconds, strict=True)]


def torch_sasrec(python: str, directory: Path, config: Any, items: int, inner: int, arguments: Any) -> Worker:
    return Worker(
        python,
        "torch_sasrec.py",
        arguments.threads,
        directory=str(directory),
        items=items,
        dim=config.model.dim,
        layers=config.model.layers,
        heads=config.model.heads,
        inner=inner,
        length=config.model.max_history + 1,
        dropout=arguments.torch_dropout,
        learning_rate=arguments.torch_learning_rate,
        seed=config.seed,
    )


class TargetReached(BaseException):
    """Ends training. It is not an `Exception`, so that code that handles errors does not catch it."""


class Ours:
    """Our towers, trained in the same steps as by `trainer.training.loop.fit`."""

    def __init__(self, config: Any, dataset: Any, mean_events: float) -> None:
        import tensorflow as tf

        from trainer.retrieval.model import RetrievalModel
        from trainer.towers.inputs import item_inputs, user_inputs
        from trainer.training.averaging import WeightAverage
        from trainer.training.distribution import DistributedStep
        from trainer.training.optimizers import Adam
        from trainer.training.precision import product_type

        clock = config.data.interactions.time_format != "order"
        self.model = RetrievalModel(
            config,
            item_inputs(config.model, dataset.items, dataset.texts),
            user_inputs(config.model, dataset.train, dataset.texts, clock),
            product_type(config.retrieval.precision),
        )
        self.model.attach(dataset.items, dataset.texts)
        self.model.compile(optimizer=Adam(config.retrieval.learning_rate, config.retrieval.weight_decay))
        average = WeightAverage(self.model.trainable_variables, 100)
        self._step = DistributedStep(self.model, tf.distribute.get_strategy(), events_of, mean_events, average)

    def train(self, batches: list[dict[str, np.ndarray]], times: Times | None = None) -> None:
        start = time.perf_counter()
        for batch in batches:
            loss = self._step(batch)
        loss.numpy()
        if times is not None:
            times.seconds.append(time.perf_counter() - start)
            times.events.append(sum(map(events_of, batches)))


def events_of(batch: dict[str, np.ndarray]) -> int:
    """Number of events that a step predicts."""
    return int(np.count_nonzero(batch["target"]))


def steps_per_second(config: Any, dataset: Any, python: str, directory: Path, arguments: Any) -> dict[str, Times]:
    """Speed of all models, which train a number of steps in turns."""
    from trainer.data.batches import Windows, sequences_per_batch, training_batches, training_windows

    train, settings = dataset.train, config.retrieval
    windows = training_windows(train, config.model.max_history, settings.window_overlap)
    rows = sequences_per_batch(windows, settings.batch_size, settings.batch_events)
    ours = Ours(config, dataset, rows * len(train.item) / len(windows))
    pairs = Ours(config, dataset, settings.batch_size)
    columns = ours.model.columns

    def first_batches(windows: Windows, rows: int) -> list[dict[str, np.ndarray]]:
        batches = training_batches(train, columns, windows, rows, config.seed, 1)
        return list(itertools.islice(batches, arguments.rounds * arguments.steps))

    sequences = first_batches(windows, rows)
    user = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    stop = np.arange(len(train.item)) + 1
    start = np.maximum(train.offsets[user], stop - config.model.max_history - 1)
    # One example an event: only the last position is a target.
    single = first_batches(Windows(user, start, stop, stop - 1), settings.batch_size)
    write_batches(directory / "epoch-0.npz", iter(sequences))
    full = directory / "padded"
    full.mkdir()
    write_batches(full / "epoch-0.npz", padded(sequences, config.model.max_history + 1, config.seed))
    times_of = {name: Times() for name in (OURS, PAIRS, PLAIN, SORTED, WIDE)}
    items, dim = len(dataset.items), config.model.dim
    with (
        torch_sasrec(python, full, config, items, dim, arguments) as plain,
        torch_sasrec(python, directory, config, items, dim, arguments) as by_length,
        torch_sasrec(python, directory, config, items, INNER * dim, arguments) as wide,
    ):
        print(f"PyTorch {plain.info['torch']}, {plain.info['threads']} threads", file=sys.stderr)
        ours.train(sequences[:1])
        pairs.train(single[:1])
        for torch in (plain, by_length, wide):
            torch.ask(train=0, steps=len(sequences))  # all steps, so that the next one is step 0 again
        for first in range(0, len(sequences), arguments.steps):
            piece = slice(first, min(first + arguments.steps, len(sequences)))
            ours.train(sequences[piece], times_of[OURS])
            for name, torch in ((PLAIN, plain), (SORTED, by_length), (WIDE, wide)):
                answer = torch.ask(train=0, steps=piece.stop - piece.start)
                times_of[name].seconds.append(answer["seconds"])
                times_of[name].events.append(int(answer["events"]))
            pairs.train(single[piece], times_of[PAIRS])
            rates = ", ".join(f"{name} {times.rates[-1]:,.0f}" for name, times in times_of.items())
            print(f"events/s: {rates}", file=sys.stderr, flush=True)
    return times_of


def seconds_to_target(config: Any, dataset: Any, python: str, directory: Path, arguments: Any) -> dict[str, str]:
    """Trains ours and PyTorch's SASRec on the same batches, an epoch each in turn, until both reach the target."""
    from trainer.data.batches import sequences_per_batch, training_batches, training_windows
    from trainer.retrieval import training as retrieval_training
    from trainer.towers.inputs import user_inputs

    clock = config.data.interactions.time_format != "order"
    columns = user_inputs(config.model, dataset.train, dataset.texts, clock).columns
    settings = config.retrieval
    windows = training_windows(dataset.train, config.model.max_history, settings.window_overlap)
    rows = sequences_per_batch(windows, settings.batch_size, settings.batch_events)
    write_validation(directory / "validation.npz", config, dataset)
    seconds = {OURS: 0.0, SORTED: 0.0}
    reached: dict[str, str] = {}

    def note(name: str, epoch: int, spent: float, ndcg: float) -> None:
        seconds[name] += spent
        print(f"{name}: epoch {epoch}, {seconds[name]:.0f} s, NDCG@10 {ndcg:.4f}", file=sys.stderr, flush=True)
        if name not in reached and ndcg >= arguments.target:
            reached[name] = f"{seconds[name]:,.0f} s, {epoch} epochs"

    with torch_sasrec(python, directory, config, len(dataset.items), config.model.dim, arguments) as torch:

        def torch_epoch(epoch: int) -> None:
            path = directory / f"epoch-{epoch}.npz"
            batches = training_batches(dataset.train, columns, windows, rows, config.seed, epoch)
            write_batches(path, batches)
            answer = torch.ask(train=epoch, steps=None)
            path.unlink()
            note(SORTED, epoch, answer["seconds"], torch.ask(validate=True)["ndcg@10"])

        done = 0

        def on_epoch(record: dict[str, Any]) -> None:
            nonlocal done
            done = record["epoch"]
            note(OURS, done, record["seconds"], record["ndcg@10"])
            if SORTED not in reached:
                torch_epoch(done)
            if OURS in reached:
                raise TargetReached

        limits = {"epochs": arguments.epochs, "patience": arguments.epochs, "patience_steps": 10**9}
        changed = config.model_copy(update={"retrieval": settings.model_copy(update=limits)})
        with contextlib.suppress(TargetReached):
            retrieval_training.train(changed, dataset, directory / "towers", on_epoch=on_epoch)
        while SORTED not in reached and done < arguments.epochs:
            done += 1
            torch_epoch(done)
    return {name: reached.get(name, f"not in {arguments.epochs} epochs") for name in seconds}


def padded(batches: list[dict[str, np.ndarray]], length: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """The same sequences in as many batches, in random order instead of sorted, and all padded to `length`."""
    rows = {
        name: np.concatenate([np.pad(batch[name], [[0, 0], [0, length - batch[name].shape[1]]]) for batch in batches])
        for name in ("item_index", "target")
    }
    order = np.random.default_rng(seed).permutation(len(rows["target"]))
    for piece in np.array_split(order, len(batches)):
        yield {name: values[piece] for name, values in rows.items()}


def write_batches(path: Path, batches: Iterator[dict[str, np.ndarray]]) -> None:
    arrays = {}
    for i, batch in enumerate(batches):
        arrays[f"item_{i}"], arrays[f"target_{i}"] = batch["item_index"], batch["target"]
    np.savez(path, **arrays)


def write_validation(path: Path, config: Any, dataset: Any) -> None:
    """Writes each user's last events before the held-out one, the held-out one, and the user's own items."""
    from trainer.evaluation.candidates import candidate_mask

    sequences = dataset.splits["validation"]
    users = np.flatnonzero(sequences.target_count > 0)
    begin, stop = sequences.offsets[users], sequences.offsets[users + 1] - sequences.target_count[users]
    length = np.minimum(stop - begin, config.model.max_history)
    place = (stop - length)[:, np.newaxis] + np.arange(config.model.max_history)
    valid = place < stop[:, np.newaxis]
    own = [sequences.item[first:last] for first, last in zip(begin, stop, strict=True)]
    np.savez(
        path,
        item=np.where(valid, sequences.item[np.where(valid, place, 0)], 0).astype(np.int32),
        length=length,
        target=sequences.item[stop],
        occurs=candidate_mask(config, dataset.items),
        own=np.concatenate(own),
        own_offsets=np.concatenate([[0], np.cumsum([len(items) for items in own])]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for `towers run`; not needed if --run is prepared")
    parser.add_argument("--run", type=Path, help="a run's directory, prepared if it is missing (default: temporary)")
    parser.add_argument("--environment", type=Path, help="PyTorch's, created if missing (default: temporary)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")
    parser.add_argument("--steps", type=int, default=10, help="number of steps of each model in a round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--users", type=int, help="number of users to train and validate on (default: all)")
    parser.add_argument("--target", type=float, default=0.10, help="validation NDCG@10 (0: skip this part)")
    parser.add_argument("--epochs", type=int, default=20, help="maximum number of epochs to the target")
    parser.add_argument("--tutorial-steps", type=int, help="of each epoch of the tutorial model (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-dropout", type=float, default=0.2)
    parser.add_argument("--torch-learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    if arguments.run is None and arguments.data is None:
        parser.error("give --data, --run or both")

    use_threads(arguments.threads)
    import tutorial_model
    from prepared import prepared
    from subset import sample_users

    with tempfile.TemporaryDirectory() as scratch:
        python = python_with((arguments.environment or Path(scratch, "environment")).absolute(), TORCH)
        config, dataset = prepared(
            ROOT / "configs" / "movielens_1m.yaml",
            (arguments.data or Path()).absolute(),
            (arguments.run or Path(scratch, "run")).absolute(),
            arguments.set,
        )
        dataset = sample_users(dataset, arguments.users) if arguments.users else dataset
        tutorial = tutorial_model.measure(config, dataset, arguments.tutorial_steps)
        times_of = steps_per_second(config, dataset, python, Path(scratch), arguments)
        to_target = {}
        if arguments.target:
            to_target = seconds_to_target(config, dataset, python, Path(scratch), arguments)

    print(f"\n{'':<28}{'events/s':>10}{'ours/it':>10}{'of a round':>16}{f'to {arguments.target:.2f} NDCG@10':>30}")
    for name, times in times_of.items():
        ratios = [ours / other for ours, other in zip(times_of[OURS].rates, times.rates, strict=True)]
        ratio = f"{times_of[OURS].rate / times.rate:>9.2f}x{f'{min(ratios):.2f} - {max(ratios):.2f}':>16}"
        print(f"{name:<28}{times.rate:>10,.0f}{ratio}{to_target.get(name, ''):>30}")
    print(f"{'TFRS tutorial':<28}{tutorial['rate']:>10,.0f}")
    print(
        f"TFRS tutorial, {tutorial_model.EPOCHS} epochs, {tutorial['seconds']:.0f} s: NDCG@10 "
        f"{tutorial['validation']:.4f} on validation, {tutorial['test']:.4f} on test"
    )


if __name__ == "__main__":
    main()
