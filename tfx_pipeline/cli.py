"""The command line. Each command is a module of `tfx_pipeline.commands`, imported only when it is the one called."""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import sys
import textwrap
import traceback
import warnings
from importlib.metadata import version
from types import ModuleType

from serving.wire.errors import ServerError, ServerUsageError, ServingError
from trainer.errors import TowersError

# Command -> the line in `towers --help`.
COMMANDS = {
    "demo": "the whole path on built-in data, ending in recommendations over gRPC",
    "test": "the test suite",
    "run": "one pipeline run: raw tables to pushed model",
    "tune": "search hyperparameters on validation, and write the best as a YAML",
    "reindex": "new items into the index of a finished run, without training",
    "compile": "the pipeline as a Kubeflow Pipelines v2 spec",
    "data": "write the built-in data, or check a dataset against its configuration",
    "evaluate": "metrics of a finished run over a split, as JSON",
    "report": "the evaluation of a finished run as one HTML page",
    "predict": "batch recommendation for every user of a split",
    "serve": "the embedded server, which speaks TensorFlow Serving's API",
    "recommend": "ask a server for recommendations",
    "doctor": "what this machine has, and what is missing",
}


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser with one command's options filled in; the others stay names, so that nothing heavy is imported."""
    parser = argparse.ArgumentParser(
        prog="towers", description="A recommender that reads what people write: TFX, TFRS, BERT, ScaNN."
    )
    parser.add_argument("--version", action="version", version=f"interest-towers {version('interest-towers')}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        module = importlib.import_module(f"tfx_pipeline.commands.{name}") if name == command else None
        subparser = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=textwrap.dedent(module.EPILOG) if module else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=getattr(module, "ADD_HELP", True),
        )
        if module:
            module.add_arguments(subparser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
      The exit code: 0 done, 1 failed, 2 bad usage.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.simplefilter("ignore", FutureWarning)  # what Google's libraries say of Python 3.10, five times a start
    command = next((argument for argument in argv if argument in COMMANDS), None)
    parser = build_parser(command)
    arguments, rest = parser.parse_known_args(argv)
    module = importlib.import_module(f"tfx_pipeline.commands.{arguments.command}")
    if rest and not getattr(module, "PASSES_THROUGH", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}; see `towers {arguments.command} --help`")
    arguments.rest = rest
    exit_code = _run(module, arguments)
    if exit_code and not arguments.debug:
        atexit.register(_mute)
    return exit_code


def _mute() -> None:
    """Ends standard error: TensorFlow functions a failed step left behind print tracebacks as the interpreter ends."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _run(module: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        return module.run(arguments)
    except TowersError as error:
        return _fail(str(error), error.exit_code, arguments.debug)
    except (ServerError, ServingError) as error:  # of the runtime half, which does not know TowersError
        return _fail(str(error), 2 if isinstance(error, ServerUsageError) else 1, arguments.debug)
    except KeyboardInterrupt:
        return _fail("stopped.", 1, False)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 1, arguments.debug)


def _fail(message: str, exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"towers: {message}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
