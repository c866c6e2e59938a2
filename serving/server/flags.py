"""Parses the server's flags, and translates them for tensorflow_model_server."""

import argparse
import difflib
from collections.abc import Sequence

from serving.server.flag_parser import OWN_FLAGS, FlagParser
from serving.wire.errors import ServerUsageError


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """The values of the flags, as attributes named after them.

    Raises:
        ServerUsageError: a flag is unknown or missing, or its value is bad.
        SystemExit: after `--help`.
    """
    flags, unknown = FlagParser().parse_known_args(list(argv))
    if unknown:
        flag = unknown[0].split("=")[0]
        similar = difflib.get_close_matches(flag, [f"--{name}" for name in vars(flags)], n=1)
        hint = f"did you mean {similar[0]}?" if similar else "see --help"
        raise ServerUsageError(f"unrecognized arguments: {' '.join(unknown)} ({hint})")
    _check_together(flags)
    return flags


def _check_together(flags: argparse.Namespace) -> None:
    """Checks flags that need or exclude each other."""
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


def model_server_arguments(argv: Sequence[str]) -> list[str]:
    """`argv` for tensorflow_model_server: without the embedded server's own flags, and with an absolute base path.

    Every flag is written as `--name=value`, with `true` or `false` for booleans: tensorflow_model_server
    ignores other forms.
    """
    parser = FlagParser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS  # only the flags in `argv`
    arguments = []
    for name, value in vars(parser.parse_args(list(argv))).items():
        if name in OWN_FLAGS:
            continue
        if isinstance(value, bool):
            value = str(value).lower()
        elif name == "model_base_path":
            value = value.absolute()
        arguments.append(f"--{name}={value}")
    return arguments
