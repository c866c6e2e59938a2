"""Memory of an exported model with a ScaNN index: all signatures warm against one, in a fresh process.

The process loads the export as the embedded server does and replays the export's own warm-up requests: first those of
one signature that searches the index, then those of the others, one signature after the other. By default, ScaNN's ops
build a searcher for each signature.

Command:  .venv/bin/python benchmarks/index_memory.py --model RUN/serving/recommender
          without --model: one with random weights and --items items
          to try it: --items 2000
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from serving_model import NAME, add_model_arguments, description, machine, measured_model
from verdict import verdict

MAX_GROWTH = 1.3
_REPLAYS = 5  # of each request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--first", default="retrieve", help="the signature that is warmed up first")
    parser.set_defaults(index="scann", items=100_000)
    arguments = parser.parse_args()

    with measured_model(arguments) as directory:
        print(f"{description(directory)}\n{machine()}\n", flush=True)
        steps = _measure(directory, arguments.first)
    print(f"{'':<32}{'MiB':>8}{'added':>8}")
    before = 0.0
    for step, memory in steps:
        print(f"{step:<32}{memory:>8,.0f}{memory - before:>+8,.0f}")
        before = memory
    (_, empty), (_, loaded), (_, one), *_, (_, every) = steps
    growth = every / one
    print(
        f"\nthe loaded model {loaded - empty:,.0f} MiB; the process with {arguments.first} warm {one:,.0f} MiB, "
        f"with all signatures {every:,.0f} MiB:\n"
        f"{growth:.2f}x of at most {MAX_GROWTH}x: {verdict(growth <= MAX_GROWTH)}"
    )
    # Memory of the libraries alone would hide an index that is in memory twice.
    own = (every - empty) / (one - empty)
    print(f"without the memory of a process that has no model: {own:.2f}x: {verdict(own <= MAX_GROWTH)}")


def _measure(directory: Path, first: str) -> list[tuple[str, float]]:
    """(step, memory after it in MiB) of a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_load_and_warm, args=(directory, first, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        sys.exit("the process that loads the model ended, see above")
    finally:
        process.join()


def _load_and_warm(directory: Path, first: str, sender: Connection) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    tf.get_logger().setLevel("ERROR")
    from serving.model_files import WARM_UP_REQUESTS
    from serving.server.runtime import custom_ops, servable
    from serving.server.runtime.predict import predict
    from serving.wire.tensors import register_bfloat16

    register_bfloat16(tf.bfloat16.as_numpy_dtype)
    custom_ops.register()
    requests = defaultdict(list)
    for record in tf.data.TFRecordDataset(str(directory / WARM_UP_REQUESTS)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        requests[request.model_spec.signature_name].append(request)
    if first not in requests:
        sys.exit(f"--first: the export's warm-up has {', '.join(sorted(requests))}")

    def memory() -> float:
        return psutil.Process().memory_info().rss / 2**20

    steps = [("libraries", memory())]
    model = servable.load(NAME, 1, directory)
    steps.append(("loaded", memory()))
    for key in (first, *(key for key in requests if key != first)):
        print(f"warming {key}", file=sys.stderr, flush=True)
        for request in requests[key] * _REPLAYS:
            predict(model, request)
        steps.append((key, memory()))
    sender.send(steps)


if __name__ == "__main__":
    main()
