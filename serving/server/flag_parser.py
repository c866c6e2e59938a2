"""The server's flags. Flags that tensorflow_model_server has too keep their names and meanings."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from serving.wire.errors import ServerUsageError

# Flags that tensorflow_model_server does not have.
OWN_FLAGS = ("host", "engine", "workers", "max_waiting_calls", "enable_grpc_reflection", "text_cache_mib")
_ENGINES = ("embedded", "tensorflow_model_server")
_EXAMPLE = "example: towers serve --model_name recommender --model_base_path RUN/serving/recommender --port 8500"
_THREADS = 4 * (os.cpu_count() or 1)
_MAX_COUNT = 2**62


class FlagParser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def __init__(self) -> None:
        super().__init__(
            prog="towers serve",
            description="Serves models over TensorFlow Serving's gRPC API.",
            epilog=_EXAMPLE,
            allow_abbrev=False,
        )
        self._add_model_flags()
        self._add_loading_flags()
        self._add_grpc_flags()
        self._add_rest_flags()
        self._add_process_flags()
        self._add_execution_flags()

    def error(self, message: str) -> NoReturn:
        raise ServerUsageError(f"{message} (see --help)")

    def _switch(self, name: str, help: str, default: bool = False) -> None:
        """Adds a boolean flag: `--name` alone means true; `--name=true` and `--name=false` work too."""
        self.add_argument(name, type=_boolean, nargs="?", const=True, default=default, help=help)

    def _add_model_flags(self) -> None:
        add = self.add_argument
        add("--model_base_path", type=Path, help="directory with numbered version directories")
        add("--model_name", default="default", help="the name clients ask for (default: %(default)s)")
        add(
            "--model_config_file",
            type=Path,
            help="text file with a ModelServerConfig: several models, their version policies and labels. With it, "
            "--model_base_path and --model_name are ignored",
        )
        add(
            "--model_config_file_poll_wait_seconds",
            type=_count,
            default=0,
            help="seconds between two looks at --model_config_file; 0 looks only at the start (default: %(default)s)",
        )
        self._switch(
            "--allow_version_labels_for_unavailable_models",
            "let a new label name a version that is not loaded yet; without it, no labels are possible at the start",
        )
        add(
            "--file_system_poll_wait_seconds",
            type=_count,
            default=1,
            help="seconds between two looks for new versions; 0 looks only at the start (default: %(default)s)",
        )

    def _add_loading_flags(self) -> None:
        add = self.add_argument
        self._switch("--enable_model_warmup", "replay warm-up requests", default=True)
        add(
            "--max_num_load_retries",
            type=_count,
            default=5,
            help="how often a new version that failed to load is tried again (default: %(default)s)",
        )
        add(
            "--load_retry_interval_micros",
            type=_count,
            default=60_000_000,
            help="microseconds between two tries (default: %(default)s)",
        )

    def _add_grpc_flags(self) -> None:
        add = self.add_argument
        add("--port", type=_port, default=8500, help="gRPC port (default: %(default)s); 0 takes a free one")
        add(
            "--host",
            default="127.0.0.1",
            help="address to listen on (default: %(default)s, this machine only); in a container 0.0.0.0. "
            "tensorflow_model_server has no such flag and always listens on all addresses",
        )
        add(
            "--ssl_config_file",
            type=Path,
            help="text file with an SSLConfig: PEM texts server_key, server_cert, custom_ca, and client_verify. gRPC "
            "then takes TLS only",
        )
        self._switch(
            "--enable_grpc_healthcheck_service",
            "answer grpc.health.v1.Health for the services PredictionService, ModelService and the empty name",
        )
        self._switch(
            "--enable_grpc_reflection",
            "describe the services to tools such as grpcurl, by grpc.reflection.v1alpha; each connected tool occupies "
            "one of --grpc_max_threads. tensorflow_model_server has no such flag",
        )
        add(
            "--grpc_max_threads",
            type=_positive,
            default=_THREADS,
            help="calls answered at the same time (default: four for each processor, here %(default)s)",
        )
        add(
            "--max_waiting_calls",
            type=_count,
            help="predictions that may wait until a thread is free, over gRPC and over REST each; others are refused "
            "with RESOURCE_EXHAUSTED, as TensorFlow Serving refuses calls without a free thread. 0: none waits "
            "(default: twice the threads). For three seconds after such a refusal, half of the threads answer and none "
            "waits. tensorflow_model_server has no such flag",
        )

    def _add_rest_flags(self) -> None:
        add = self.add_argument
        add("--rest_api_port", type=_port, default=0, help="port of the HTTP/REST API; 0 is off (default: %(default)s)")
        add(
            "--rest_api_num_threads",
            type=_positive,
            default=_THREADS,
            help="REST requests answered at the same time (default: four for each processor, here %(default)s)",
        )
        add(
            "--rest_api_timeout_in_ms",
            type=_count,
            default=30_000,
            help="milliseconds a REST prediction may take; 0: no limit (default: %(default)s)",
        )
        add(
            "--monitoring_config_file",
            type=Path,
            help="text file with a MonitoringConfig: whether Prometheus can read metrics on the REST port, and at "
            "which path",
        )

    def _add_process_flags(self) -> None:
        add = self.add_argument
        add(
            "--workers",
            type=_workers,
            default=1,
            help="server processes behind the port (default: %(default)s), on Linux. Each of them loads the models: N "
            "workers need N times the memory, and GetModelStatus answers for one of them. tensorflow_model_server has "
            "no such flag and needs none",
        )
        add(
            "--engine",
            choices=_ENGINES,
            default="embedded",
            help="embedded: this server; tensorflow_model_server: run that program with these flags, if it is on the "
            "PATH",
        )

    def _add_execution_flags(self) -> None:
        add = self.add_argument
        self._switch("--enable_batching", "run calls that arrive together as one batch")
        add("--batching_parameters_file", type=Path, help="text file with BatchingParameters, in place of the defaults")
        add(
            "--text_cache_mib",
            type=_count,
            default=64,
            help="mebibytes for vectors of recent texts, some 500 texts each, for models that take vectors in place of "
            "texts; 0: no cache (default: %(default)s). tensorflow_model_server has no such flag",
        )
        add("--tensorflow_intra_op_parallelism", type=_count, default=0, help="threads of one op; 0: all processors")
        add("--tensorflow_inter_op_parallelism", type=_count, default=0, help="ops run at once; 0: all processors")


# Converters of flag values, for `type=`


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"should be true or false. Received: {text!r}")


def _integer(text: str, minimum: int, maximum: int, rule: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        raise argparse.ArgumentTypeError(f"should be {rule}. Received: {text!r}")
    return number


def _port(text: str) -> int:
    return _integer(text, 0, 65535, "a port, 0 to 65535")


def _count(text: str) -> int:
    return _integer(text, 0, _MAX_COUNT, "a whole number from 0")


def _positive(text: str) -> int:
    return _integer(text, 1, 2**31, "a whole number from 1")


def _workers(text: str) -> int:
    number = _integer(text, 1, 256, "a whole number from 1 to 256")
    if number > 1 and sys.platform != "linux":
        raise argparse.ArgumentTypeError("should be 1: only Linux shares the connections of a port among processes")
    return number
