"""Random and mutated requests to a served recommender: none may end with INTERNAL or UNKNOWN, and memory may not grow.

Half are sent over gRPC, half over REST; one in a hundred is random bytes. The same seed sends the same requests. Memory
of the server's process is compared after a tenth of the requests and after the last.

Command:  .venv/bin/python benchmarks/serving_fuzz.py --requests 20000 --model RUN/serving/recommender
          to try it: --items 500 --requests 300 --largest-text 10000 --largest-batch 100
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time

from serving_model import NAME, add_model_arguments, base_path_of, description, machine, measured_model
from tests_package import use_tests
from verdict import verdict

MAX_GROWTH = 1.1
_MAX_EXAMPLES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--requests", type=int, default=20_000)
    add("--seed", type=int, default=1)
    add("--largest-text", type=int, default=2**20, help="bytes")
    add("--largest-batch", type=int, default=10_000, help="rows")
    add("--server-flags", default="", help="further flags of the server, as one argument")
    arguments = parser.parse_args()

    import psutil

    use_tests()
    from serving.client.prediction_client import PredictionClient
    from serving.server.process import ServerProcess
    from tests.serving.fuzz import Fuzzer
    from tests.serving.fuzz_target import Target
    from tests.support.ports import free_port

    rest_port = free_port()
    flags = [f"--rest_api_port={rest_port}", *shlex.split(arguments.server_flags)]
    with measured_model(arguments) as directory, base_path_of(directory) as base_path:
        print(f"{description(directory)}\n{machine()}; seed {arguments.seed}\n", flush=True)
        with (
            ServerProcess(base_path, NAME, arguments=flags) as server,
            PredictionClient(server.address, NAME, timeout=60) as client,
            Target(server.address, f"127.0.0.1:{rest_port}") as target,
        ):
            signatures = client.metadata().signatures
            fuzzer = Fuzzer(NAME, signatures, arguments.seed, arguments.largest_text, arguments.largest_batch)
            process = psutil.Process(server.pid)
            memory = []
            start = time.monotonic()
            tenth = max(1, arguments.requests // 10)
            for first in range(0, arguments.requests, tenth):
                target.fuzz(fuzzer, min(tenth, arguments.requests - first))
                memory.append(process.memory_info().rss / 2**20)
                sent = min(first + tenth, arguments.requests)
                print(f"{sent:,} requests, {memory[-1]:,.0f} MiB", file=sys.stderr, flush=True)
            seconds = time.monotonic() - start
            alive = server.returncode is None and bool(client.status())

    print(f"{arguments.requests:,} requests in {seconds:.0f} s:")
    for outcome, count in target.outcomes.most_common():
        print(f"  {outcome:<24}{count:>8,}")
    growth = memory[-1] / memory[0]
    print(f"\nneither answered nor refused with a clear message: {len(target.wrong)}: {verdict(not target.wrong)}")
    for call, answer in target.wrong[:_MAX_EXAMPLES]:
        print(f"  {call!r:.300}\n    {answer:.300}")
    print(f"the server answers afterwards: {verdict(alive)}")
    print(
        f"memory after a tenth {memory[0]:,.0f} MiB, after all {memory[-1]:,.0f} MiB: {growth:.2f}x of at most "
        f"{MAX_GROWTH}x: {verdict(growth <= MAX_GROWTH)}"
    )
    print(machine())


if __name__ == "__main__":
    main()
