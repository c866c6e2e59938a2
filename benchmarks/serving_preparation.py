"""TensorFlow's graph optimisers: their cost at a model's first calls and their gain at later ones. The server's choice
of optimisers (`serving.server.runtime.session_config`) is compared with others.

A session optimises the graph of each signature once, at its first call. In a server, the export's warm-up requests are
these calls, before a version is AVAILABLE. Each choice loads the model and warms it up `--loads` times, in turns. Then
all choices answer the same requests in turns, one call at a time.

Command:  .venv/bin/python benchmarks/serving_preparation.py --model RUN/serving/recommender
          one choice more: --off layout_optimizer loop_optimization
          to try it: --items 1000 --loads 1 --calls 3
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from serving_in_process import InProcess
from serving_model import add_model_arguments, description, machine, measured_model
from serving_requests import Recipe, Texts, known_items

if TYPE_CHECKING:
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

_TENSORFLOW, _SERVER = "TensorFlow's", "the server's"
_ENOUGH_ITEMS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--loads", type=int, default=3)
    add("--calls", type=int, default=100, help="number of calls of each signature with each amount of text")
    add("--events", type=int, default=8, help="in a history")
    add("--words", type=int, default=16, help="in a text")
    add(
        "--off",
        nargs="+",
        default=[],
        metavar="FIELD",
        help="of RewriterConfig, which the last choice turns off too",
    )
    parser.set_defaults(index="scann")
    arguments = parser.parse_args()

    with measured_model(arguments) as directory:
        print(f"{description(directory)}\n{machine()}\n", flush=True)
        choices = _choices(arguments.off)
        models: dict[str, InProcess] = {}
        seconds: dict[str, list[float]] = {name: [] for name in choices}
        # The first load in a process also loads libraries, so it does not count.
        InProcess(directory).close()
        for number in range(arguments.loads):
            for name, config in choices.items():
                print(f"load {number + 1} of {arguments.loads}: {name}", file=sys.stderr, flush=True)
                if name in models:
                    models[name].close()
                models[name] = InProcess(directory, config)
                start = time.perf_counter()
                models[name].warm_up()
                seconds[name].append(time.perf_counter() - start)
        _print_line("warm-up, seconds", [float(np.median(times)) for times in seconds.values()], list(choices))
        print("\nlater calls, p50 in milliseconds")
        texts = (
            Texts("no text"),
            Texts("query", query=arguments.words),
            Texts(f"query+{arguments.events} texts", query=arguments.words, event=arguments.words),
        )
        ratios = []
        items = known_items(models[_SERVER], "retrieve")
        for key, spec in models[_SERVER].metadata().signatures.items():
            for text in texts:
                if text.missing(spec):
                    continue
                requests = Recipe(spec, text, items, arguments.events, _ENOUGH_ITEMS).make(arguments.calls, 0)
                medians = _medians(list(models.values()), key, requests)
                ratios.append([median / medians[0] for median in medians])
                _print_line(f"{key}, {text.name}", medians)
        for word, function in (("median", np.median), ("max", np.max), ("min", np.min)):
            _print_line(
                f"times {_TENSORFLOW}, {word}", [float(function(column)) for column in zip(*ratios, strict=True)]
            )
    print(f"\n{machine()}")


def _choices(off: list[str]) -> dict[str, ConfigProto]:
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    from serving.server.runtime.session_config import session_config

    one_round = config_pb2.ConfigProto()
    one_round.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    choices = {_TENSORFLOW: config_pb2.ConfigProto(), "one round": one_round, _SERVER: session_config()}
    if off:
        more = session_config()
        for field in off:
            setattr(more.graph_options.rewrite_options, field, rewriter_config_pb2.RewriterConfig.OFF)
        choices["more off"] = more
    return choices


def _medians(models: list[InProcess], key: str, requests: list) -> list[float]:
    calls = [model.calls(key) for model in models]
    for call in calls:
        call(requests[0])
    milliseconds = np.empty((len(requests), len(calls)))
    for number, request in enumerate(requests):
        for column in np.roll(np.arange(len(calls)), number):  # so that none always follows the same other
            start = time.perf_counter()
            calls[column](request)
            milliseconds[number, column] = 1000 * (time.perf_counter() - start)
    return np.median(milliseconds, axis=0).tolist()


def _print_line(name: str, values: list[float], headings: list[str] | None = None) -> None:
    if headings is not None:
        print(f"{'':<40}" + "".join(f"{heading:>15}" for heading in headings))
    print(f"{name:<40}" + "".join(f"{value:>15.2f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
