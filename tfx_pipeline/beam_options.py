"""Options of Beam on the command line."""

from __future__ import annotations

import argparse
import difflib

from apache_beam.options.pipeline_options import PipelineOptions

from trainer.errors import UsageError


def check_arguments(arguments: list[str]) -> list[str]:
    """Returns the same arguments if they are options of Beam. Without any, Beam runs in this process, in memory.

    Raises:
      UsageError: an argument is not an option of Beam. Beam itself ignores such arguments, misspelt ones too.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)  # type: ignore[arg-type]
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        hint = f"Did you mean {close[0]}?" if close else "See --help."
        raise UsageError(f"{unknown[0]!r} is neither an option of this command nor one of Beam's. {hint}")
    return arguments


def _subclasses(base: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    classes: list[type[PipelineOptions]] = []
    for child in base.__subclasses__():
        classes += [child, *_subclasses(child)]
    return classes
