"""The command line `towers`. Each command is a module of `tfx_pipeline.commands`, imported when it is called."""

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

# Command -> its line in `towers --help`.
COMMANDS = {
    "demo": "run everything on built-in data and print recommendations from a server",
    "test": "run the test suite",
    "run": "run the pipeline, from raw tables to a pushed model",
    "tune": "search hyperparameters and write a configuration with the best ones",
    "reindex": "read the items table again and serve its items, without training",
    "compile": "write the pipeline as a Kubeflow Pipelines v2 spec",
    "data": "write built-in data, or check a dataset",
    "evaluate": "evaluate a finished run on one split and write the figures as JSON",
    "report": "write the report of a finished run, or a comparison of two runs",
    "predict": "recommend items to all users of a split and write them to a file",
    "serve": "start the model server, which has the API of TensorFlow Serving",
    "recommend": "ask a model server for recommendations",
    "doctor": "check whether this machine has what the package needs",
}


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser with the options of one command only, because importing all commands would be slow."""
    parser = argparse.ArgumentParser(
        prog="towers",
        description="Trains and serves recommenders that read what users write: TFX, TFRS, BERT, ScaNN.",
        epilog="example:\n  towers demo\n  towers run --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"interest-towers {version('interest-towers')}")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
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
    warnings.simplefilter("ignore", FutureWarning)  # Google's libraries warn five times that Python 3.10 is old
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
    """Discards standard error. After a failed step, TensorFlow functions print tracebacks when Python exits."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _run(module: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        return module.run(arguments)
    except TowersError as error:
        return _fail(str(error), error.exit_code, arguments.debug)
    except (ServerError, ServingError) as error:  # packages without the trainer have errors of their own
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
