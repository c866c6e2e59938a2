"""Beam's options on our command line."""

from __future__ import annotations

import argparse
import difflib

from apache_beam.options.pipeline_options import PipelineOptions

from trainer.errors import UsageError


def checked(arguments: list[str]) -> list[str]:
    """The same arguments, if Beam has options of these names.

    Without any, all is done in this process, in memory: the fastest for what fits on one machine.

    Raises:
      UsageError: an argument is none of Beam's. Beam itself would ignore it, and a typing error with it.
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
    found: list[type[PipelineOptions]] = []
    for child in base.__subclasses__():
        found += [child, *_subclasses(child)]
    return found
