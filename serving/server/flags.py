"""The server's flags: names and meanings as tensorflow_model_server has them, where it has them."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from serving.wire.errors import ServerUsageError

ENGINES = ("embedded", "tensorflow_model_server")
# tensorflow_model_server does not know these.
OWN_FLAGS = ("host", "engine", "workers", "max_waiting_calls", "enable_grpc_reflection", "text_cache_mib")
_EXAMPLE = "example: towers serve --model_name recommender --model_base_path RUN/serving/recommender --port 8500"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ServerUsageError(f"{message} (see --help)")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """The flags as attributes of their names.

    Raises:
        ServerUsageError: an unknown flag, a bad value or a missing one.
        SystemExit: after `--help`.
    """
    flags, unknown = _parser().parse_known_args(list(argv))
    if unknown:
        flag = unknown[0].split("=")[0]
        near = difflib.get_close_matches(flag, [f"--{name}" for name in vars(flags)], n=1)
        hint = f"did you mean {near[0]}?" if near else "see --help"
        raise ServerUsageError(f"unrecognized arguments: {' '.join(unknown)} ({hint})")
    if flags.model_base_path is None and flags.model_config_file is None:
        raise ServerUsageError("one of `--model_base_path` and `--model_config_file` is needed (see --help)")
    if flags.workers > 1 and flags.engine != "embedded":
        raise ServerUsageError("`--workers` is for the embedded server: tensorflow_model_server needs one process only")
    if not flags.model_name:
        raise ServerUsageError("`--model_name` should not be empty")
    if flags.batching_parameters_file is not None and not flags.enable_batching:
        raise ServerUsageError("`--batching_parameters_file` is set without setting `--enable_batching` to true")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        raise ServerUsageError(f"`--rest_api_port` cannot be same as `--port`. Received: {flags.port} for both")
    return flags


def model_server_arguments(argv: Sequence[str]) -> list[str]:
    """`argv` for tensorflow_model_server: without this server's own flags, and with an absolute base path.

    That program takes `--name=value` and `true` or `false` alone; what is written otherwise it passes over.
    """
    parser = _parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS  # only what was given
    arguments = []
    for name, value in vars(parser.parse_args(list(argv))).items():
        if name not in OWN_FLAGS:
            if isinstance(value, bool):
                value = str(value).lower()
            arguments.append(f"--{name}={value.absolute() if name == 'model_base_path' else value}")
    return arguments


def _parser() -> _Parser:
    parser = _Parser(
        prog="towers serve",
        description="Serves models over TensorFlow Serving's gRPC API.",
        epilog=_EXAMPLE,
        allow_abbrev=False,
    )
    add = parser.add_argument
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
        help="seconds between two looks at --model_config_file; 0 looks at the start only (default: %(default)s)",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="let a label that is new name a version that is not loaded yet; without it, labels cannot be given at "
        "the start",
    )
    add("--port", type=_port, default=8500, help="gRPC port (default: %(default)s); 0 takes a free one")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only); in a container 0.0.0.0. "
        "tensorflow_model_server has no such flag and always listens on all",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=_count,
        default=1,
        help="seconds between two looks for new versions; 0 looks at the start only (default: %(default)s)",
    )
    add(
        "--ssl_config_file",
        type=Path,
        help="text file with an SSLConfig: PEM texts server_key, server_cert, custom_ca, and client_verify. gRPC then "
        "takes TLS only",
    )
    add(
        "--enable_grpc_healthcheck_service",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="answer grpc.health.v1.Health for the services PredictionService, ModelService and the empty name",
    )
    add(
        "--enable_grpc_reflection",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="describe the services to tools such as grpcurl, by grpc.reflection.v1alpha; each that is connected holds "
        "one of --grpc_max_threads. tensorflow_model_server has no such flag",
    )
    add(
        "--grpc_max_threads",
        type=_positive,
        default=4 * (os.cpu_count() or 1),
        help="calls answered at the same time (default: four for each processor, here %(default)s)",
    )
    add(
        "--max_waiting_calls",
        type=_count,
        help="predictions that may wait until a thread is free, over gRPC and over REST each; others are refused with "
        "RESOURCE_EXHAUSTED, as TensorFlow Serving refuses what finds no thread. 0: none waits (default: twice the "
        "threads). For three seconds after such a refusal, half of the threads answer and none waits. "
        "tensorflow_model_server has no such flag",
    )
    add(
        "--workers",
        type=_workers,
        default=1,
        help="server processes behind the port (default: %(default)s), on Linux. Each of them loads the models for "
        "itself: N workers need N times their memory, and GetModelStatus tells of the one that answers. "
        "tensorflow_model_server has no such flag and needs none",
    )
    add("--rest_api_port", type=_port, default=0, help="port of the HTTP/REST API; 0 is off (default: %(default)s)")
    add(
        "--rest_api_num_threads",
        type=_positive,
        default=4 * (os.cpu_count() or 1),
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
        help="read an ascii MonitoringConfig protobuf from this file: whether Prometheus can read metrics on the REST "
        "port, and at which path",
    )
    add("--enable_model_warmup", type=_boolean, nargs="?", const=True, default=True, help="replay warm-up requests")
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
    add("--enable_batching", type=_boolean, nargs="?", const=True, default=False, help="enable batching")
    add(
        "--batching_parameters_file",
        type=Path,
        help="read an ascii BatchingParameters protobuf from this file and use its values instead of the defaults",
    )
    add(
        "--text_cache_mib",
        type=_count,
        default=64,
        help="mebibytes for vectors of recent texts, some 500 texts each, where a model can be asked with vectors in "
        "place of texts; 0: none are kept (default: %(default)s). tensorflow_model_server has no such flag",
    )
    add("--tensorflow_intra_op_parallelism", type=_count, default=0, help="threads of one op; 0: as many as processors")
    add("--tensorflow_inter_op_parallelism", type=_count, default=0, help="ops run at once; 0: as many as processors")
    add(
        "--engine",
        choices=ENGINES,
        default="embedded",
        help="embedded: this server; tensorflow_model_server: run that program, if it is on the PATH, with these flags",
    )
    return parser


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"should be true or false. Received: {text!r}")


def _integer(text: str, least: int, most: int, rule: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"should be {rule}. Received: {text!r}")
    return number


def _port(text: str) -> int:
    return _integer(text, 0, 65535, "a port, 0 to 65535")


def _count(text: str) -> int:
    return _integer(text, 0, 2**62, "a whole number from 0")


def _workers(text: str) -> int:
    number = _integer(text, 1, 256, "a whole number from 1 to 256")
    if number > 1 and sys.platform != "linux":
        raise argparse.ArgumentTypeError("should be 1: only Linux shares the connections of a port among processes")
    return number


def _positive(text: str) -> int:
    return _integer(text, 1, 2**31, "a whole number from 1")
