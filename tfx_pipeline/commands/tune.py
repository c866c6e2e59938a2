"""`towers tune`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from tfx_pipeline.commands.options import add_pipeline_options
from trainer.config import loader as config_loader
from trainer.errors import UsageError
from trainer.files import write_text

EPILOG = """\
example:
  towers tune --config configs/demo.yaml --data data --out runs/shop --set tuning.trials=10
  towers run --config runs/shop/tuned.yaml --data data --out runs/shop

The section `tuning` of the configuration says what to search:

  tuning:
    trials: 20
    method: bayesian            # or random
    space:
      model.dropout: [0.2, 0.35, 0.5]
      retrieval.learning_rate: {min: 3.0e-4, max: 3.0e-3, log: true}

Each trial trains the retrieval model. Its score is its best validation NDCG@10; the test split is
not used. The same command continues a search that was stopped. With a larger number of trials
it continues a finished search. OUT/tuned.yaml is the configuration with the best values.
All other options go to Beam.
"""
PASSES_THROUGH = True  # Beam's options
_PRINTED_TRIALS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pipeline_options(parser)


def run(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config, arguments.set)
    if not config.tuning.space:
        raise UsageError(
            f"{arguments.config}: has no `tuning.space`. Set it, for example to {{model.dropout: [0.2, 0.5]}}; see "
            "`towers tune --help`."
        )
    from tfx_pipeline import beam_options
    from tfx_pipeline.components import retrieval_tuner
    from tfx_pipeline.runners import local
    from tfx_pipeline.runs.run_directory import RunDirectory
    from tfx_pipeline.terminal.screen import Screen
    from trainer.retrieval import tuning

    tuning.check(config)
    directory = RunDirectory(arguments.out or Path("runs") / config.name)
    beam_pipeline_args = beam_options.check_arguments(arguments.rest)
    result = local.tune(config, arguments.data, directory, beam_pipeline_args, Screen())
    trials = json.loads((result / retrieval_tuner.TRIALS).read_text(encoding="utf-8"))
    path = directory.path / "tuned.yaml"
    write_text(path, tuned(arguments.config, arguments.set, trials))
    print(table(trials))
    print(f"tuned   {path}")
    return 0


def tuned(config_path: str, overrides: list[str], trials: list[dict[str, Any]]) -> str:
    """The YAML of a configuration with the best values.

    Args:
      config_path: the configuration's file, whose comments are lost.
      overrides: of --set.
      trials: the best first.
    """
    best = trials[0]
    document = config_loader.document(config_path, overrides)
    for key, value in best["values"].items():
        config_loader.put(document, key, value)
    result = f"validation NDCG@10 {best['score']:.4f}, the best of {len(trials)} trials"
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return f"# {Path(config_path).name}, tuned: {result}.\n{text}"


def table(trials: list[dict[str, Any]]) -> str:
    """The best trials, at most 100 columns wide."""
    from trainer.retrieval.tuning import format_values

    lines = [f"{'NDCG@10':<10}on validation, with"]
    for trial in trials[:_PRINTED_TRIALS]:
        if trial["score"] is None:
            line = f"{'failed':<10}{trial['reason']}"
        else:
            line = f"{trial['score']:<10.4f}{format_values(trial['values'])}"
        lines.append(line[:100])
    if len(trials) > _PRINTED_TRIALS:
        lines.append(f"{'':<10}and {len(trials) - _PRINTED_TRIALS} more")
    return "\n".join(lines)
