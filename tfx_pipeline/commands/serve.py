"""`towers serve`."""

from __future__ import annotations

import argparse

EPILOG = """\
example:
  towers serve --model_base_path runs/shop/serving/recommender --model_name recommender --port 8500

All options go to the server, which has those of tensorflow_model_server: `towers serve --help`.
"""
PASSES_THROUGH = True
ADD_HELP = False  # --help goes to the server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    from serving.server.main import main

    return main(arguments.rest)
