"""Starts the embedded model server: `python -m serving.server.main --model_base_path DIR ...`.

Prints one line to stdout when it is ready: `serving NAME version N on HOST:PORT (gRPC)`, followed by the REST address
if REST is on. The log goes to stderr. After SIGTERM or SIGINT the server answers the calls in flight, for at most 30
seconds, and ends. While the models are still loading, these signals end it at once.
"""

import argparse
import gc
import logging
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from serving.server.flags import model_server_arguments, parse_flags
from serving.server.workers.supervisor import serve_with_workers
from serving.wire.errors import ServerError, ServerUsageError

logger = logging.getLogger(__name__)

GRACE_SECONDS = 30.0  # after the server is asked to stop, for calls in flight


def main(argv: Sequence[str]) -> int:
    """Runs the server until it is asked to stop. Returns the exit code: 0, 1 (could not serve) or 2 (bad usage)."""
    try:
        flags = parse_flags(argv)
        if flags.engine == "tensorflow_model_server":
            _replace_process(argv, flags)
        if flags.workers > 1:
            _configure_log()
            serve_with_workers(argv, flags)
        else:
            serve(flags, threading.Event())
    except ServerError as error:
        print(f"towers serve: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # while loading
        return 128 + signal.SIGINT
    except SystemExit as ended:  # --help
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _replace_process(argv: Sequence[str], flags: argparse.Namespace) -> None:
    program = shutil.which("tensorflow_model_server")
    if program is None:
        raise ServerError(
            "tensorflow_model_server is not on the PATH: install TensorFlow Serving, or leave out `--engine` for the "
            "embedded server"
        )
    if flags.port == 0:
        raise ServerUsageError("`--port` should be 1 to 65535 with `--engine tensorflow_model_server`. Received: 0")
    os.execv(program, [program, *model_server_arguments(argv)])


def serve(flags: argparse.Namespace, stop: threading.Event) -> None:
    """Runs one server in this process until `stop` is set, or SIGTERM or SIGINT comes.

    Raises:
        ServerError: it cannot start.
    """
    _configure_log()
    # Imported late: usage errors are then reported before TensorFlow loads.
    from serving.server.lifecycle import start_server

    # TensorFlow's modules consist of some 300,000 objects that are never freed. With them, each garbage collection
    # would take a fifth of a second, in which no call is answered. Garbage collection skips frozen objects.
    gc.collect()
    gc.freeze()
    server = start_server(flags)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(server.readiness, flush=True)
    stop.wait()
    logger.info("stopping: calls in flight have %.0f s", GRACE_SECONDS)
    server.stop(GRACE_SECONDS)


def _configure_log() -> None:
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(process)d %(message)s", stream=sys.stderr, level=logging.INFO
    )
    logging.getLogger("tornado.general").setLevel(logging.WARNING)  # no line for each client that does not send HTTP
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
