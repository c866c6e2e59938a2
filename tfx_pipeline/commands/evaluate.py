"""`towers evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer.errors import UsageError
from trainer.files import write_text

EPILOG = """\
example:
  towers evaluate --run runs/amazon --split validation
  towers evaluate --run runs/amazon --split test --out test.json

What a finished run serves, and the baselines, over a split: every run has done this for its test split (or validation,
where it has none), and its page shows that. --out is described by trainer/evaluation/evaluation.schema.json; by default
it is RUN/report/evaluation_SPLIT.json.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--out", default=None, metavar="FILE", help="JSON")


def run(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.runs import trained_run
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.data import loading
    from trainer.evaluation import describe
    from trainer.evaluation.detailed import evaluate_in_detail

    directory = RunDirectory(arguments.run)
    config = directory.finished_config()
    split = arguments.split
    if split == "test" and not config.data.split.test:
        raise UsageError(f"{arguments.run}: was run without a test split (data.split.test). Give --split validation.")
    output = Path(arguments.out) if arguments.out else directory.report / f"evaluation_{split}.json"
    if output.is_dir() or (arguments.out and not output.absolute().parent.is_dir()):
        raise UsageError(f"--out {output}: should be a file in a directory that exists.")
    loaded = trained_run.load(directory, ("validation", split))
    spoken = loading.load_languages(config, trained_run.dataset_paths(directory))
    found = evaluate_in_detail(config, loaded.towers, loaded.dataset, split, loaded.ranker, spoken)
    served = {"ranking_is_served": loaded.ranker is not None, "use_ranking": config.serving.use_ranking}
    document = {"split": split, **served, **found.document}
    write_text(output, json.dumps(document, indent=2, ensure_ascii=False))
    print(describe.table(document))
    print(f"evaluation  {output}")
    return 0
