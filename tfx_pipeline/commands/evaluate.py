"""`towers evaluate`."""

from __future__ import annotations

import argparse
import json

from tfx_pipeline.commands.options import add_run, check_split, output_file
from trainer.files import write_text

EPILOG = """\
example:
  towers evaluate --run runs/amazon --split validation
  towers evaluate --run runs/amazon --split test --out test.json

Evaluates the models of a finished run and simple baselines on one split. Every run has already done
this for its test split (or validation, if it has no test split), and its report shows the figures.
trainer/evaluation/evaluation.schema.json describes the file.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="default: test")
    parser.add_argument(
        "--out", default=None, metavar="FILE", help="JSON file to write (default: RUN/report/evaluation_SPLIT.json)"
    )


def run(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.runs import trained_run
    from tfx_pipeline.runs.reporting import evaluation_document
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.data import texts
    from trainer.evaluation import describe
    from trainer.evaluation.detailed import evaluate_in_detail

    directory = RunDirectory(arguments.run)
    config = directory.finished_config()
    split = arguments.split
    check_split(split, config, arguments.run)
    output = output_file(arguments.out) if arguments.out else directory.report / f"evaluation_{split}.json"
    loaded = trained_run.load(directory, ("validation", split))
    languages = texts.load_languages(config, trained_run.dataset_paths(directory))
    evaluated = evaluate_in_detail(config, loaded.towers, loaded.dataset, split, loaded.ranker, languages)
    ranking_is_served = loaded.ranker is not None
    evaluation = evaluation_document(config, split, evaluated.document, ranking_is_served=ranking_is_served)
    write_text(output, json.dumps(evaluation, indent=2, ensure_ascii=False))
    print(describe.table(evaluation))
    print(f"evaluation  {output}")
    return 0
