"""What reading adds on the built-in data: popularity, a model of ids alone, and one of ids and text, on test NDCG@10.

Every figure is full ranking over the catalogue, of models that differ in nothing but what they may see. The data is
prepared once, by the pipeline's steps up to the text embeddings (a run of `towers demo` or `towers run` serves).

Command:  ./towers demo && .venv/bin/python benchmarks/text_gain.py --run runs/demo/run --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

METRIC = "ndcg@10"
IDS_ONLY = {
    "use_item_text": False,
    "use_item_features": False,
    "use_event_text": False,
    "use_query": False,
    "use_context": False,
}
MODELS = {"ids only": IDS_ONLY, "ids and text": {**IDS_ONLY, "use_item_text": True, "use_event_text": True}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="directory of a finished run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()

    from tfx_pipeline import trained_run
    from tfx_pipeline.run_directory import RunDirectory
    from trainer import retrieval
    from trainer.evaluation.evaluate import evaluate

    prepared = trained_run.load(RunDirectory(arguments.run), ("train", "validation", "test"))
    config, dataset = prepared.config, prepared.dataset
    found: dict[str, list[float]] = {"popularity": [], **{name: [] for name in MODELS}}
    for seed in arguments.seeds:
        for name, settings in MODELS.items():
            changed = config.model_copy(update={"seed": seed, "model": config.model.model_copy(update=settings)})
            with tempfile.TemporaryDirectory() as scratch:
                directory = Path(scratch, "towers")
                retrieval.train(
                    changed,
                    dataset.items,
                    dataset.train,
                    dataset.splits["validation"],
                    dataset.texts,
                    directory,
                    on_epoch=lambda record: None,
                )
                model = retrieval.load(directory, dataset.items, dataset.texts)
            result = evaluate(changed, model, dataset.items, dataset.splits["test"])
            found[name].append(result["retrieval"][METRIC])
            print(f"seed {seed}, {name}: {METRIC} {found[name][-1]:.4f}", file=sys.stderr, flush=True)
        found["popularity"].append(result["popularity"][METRIC])

    print(f"\n{'test ' + METRIC:<16}{'mean':>10}{'spread':>10}  seeds {', '.join(map(str, arguments.seeds))}")
    for name, values in found.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        print(f"{name:<16}{np.mean(values):>10.4f}{spread:>10.4f}  {', '.join(f'{value:.4f}' for value in values)}")


if __name__ == "__main__":
    main()
