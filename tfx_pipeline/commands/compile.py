"""`towers compile`."""

from __future__ import annotations

import argparse

from trainer.config import loader as config_loader

EPILOG = """\
example:
  towers compile --config configs/demo.yaml --runner kubeflow --out pipeline.yaml

Image, pipeline root, data root and each step's resources come from the configuration's `kubeflow` section.
Unknown options go to Beam in every step.
"""
PASSES_THROUGH = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the dataset's YAML file")
    parser.add_argument("--runner", choices=["kubeflow"], default="kubeflow")
    parser.add_argument("--out", required=True, metavar="FILE", help="pipeline spec to write (.yaml or .json)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")


def run(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config, arguments.set)
    from tfx_pipeline import beam_options
    from tfx_pipeline.runners import kubeflow

    path = kubeflow.compile_pipeline(config, arguments.out, beam_options.check_arguments(arguments.rest))
    print(f"{path}  (image {config.kubeflow.image}, root {config.kubeflow.pipeline_root})")
    return 0
