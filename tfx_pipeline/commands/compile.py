"""`towers compile`."""

from __future__ import annotations

import argparse

from tfx_pipeline.commands.options import add_overrides
from trainer.config import loader as config_loader

EPILOG = """\
example:
  towers compile --config configs/demo.yaml --runner kubeflow --out pipeline.yaml

The section `kubeflow` of the configuration has the image, the pipeline root, the data root and the
resources of each step. All other options go to Beam, in every step.
"""
PASSES_THROUGH = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="YAML", help="configuration of dataset and model")
    parser.add_argument("--runner", choices=["kubeflow"], default="kubeflow", help="default: kubeflow")
    parser.add_argument("--out", required=True, metavar="FILE", help="pipeline spec to write (.yaml or .json)")
    add_overrides(parser, example="kubeflow.image=IMAGE")


def run(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config, arguments.set)
    from tfx_pipeline import beam_options
    from tfx_pipeline.runners import kubeflow

    path = kubeflow.compile_pipeline(config, arguments.out, beam_options.check_arguments(arguments.rest))
    print(f"{path}  (image {config.kubeflow.image}, root {config.kubeflow.pipeline_root})")
    return 0
