"""Prepared datasets for the benchmarks: ingested, transformed and with text embeddings, once for all benchmarks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfx_pipeline.runs import trained_run
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config
from trainer.config import loader as config_loader
from trainer.data import loading
from trainer.data.dataset import Dataset
from trainer.errors import TowersError
from trainer.text.store.vectors import load_vectors

ROOT = Path(__file__).parents[1]
# `towers run` prepares the data, and also trains a model, which the benchmarks do not use.
CHEAPEST = ("retrieval.epochs=1", "ranking.enabled=false", "gates.baselines=[]")
SPLITS = ("train", "validation", "test")


def prepared(
    config_path: str | Path, data_dir: str | Path, out_dir: str | Path, overrides: Sequence[str] = ()
) -> tuple[Config, Dataset]:
    """The configuration and the data of one dataset, all three splits.

    The pipeline runs unless `out_dir` holds a finished run with the same columns and the same text encoder; changes of
    the input files are not detected.

    Args:
      config_path: the dataset's YAML file.
      data_dir: directory that its paths start from, as for `towers run --data`.
      out_dir: the run's directory.
      overrides: `"section.key=value"`, as for `towers run --set`.

    Raises:
      TowersError: the pipeline failed, and has printed why.
      UsageError: the configuration is invalid.
    """
    config = config_loader.load(config_path, list(overrides))
    directory = RunDirectory(out_dir)
    if not _is_prepared(directory, config):
        print(f"{config.name}: preparing in {out_dir}", file=sys.stderr, flush=True)
        sets = [argument for override in (*overrides, *CHEAPEST) for argument in ("--set", override)]
        command = [str(ROOT / "towers"), "run", "--config", str(config_path), "--data", str(data_dir)]
        if subprocess.run([*command, "--out", str(out_dir), *sets], check=False, stdout=sys.stderr).returncode:
            raise TowersError(f"{config.name}: could not be prepared in {out_dir}, see above.")
    return config, loading.load(
        config, trained_run.dataset_paths(directory), SPLITS, with_texts=config.text.trainable_layers != 0
    )


def encoding_seconds(out_dir: str | Path) -> float | None:
    """Seconds of encoding all texts of a prepared run; None if most of its texts were in the store already."""
    metadata = load_vectors(RunDirectory(out_dir).output("EmbedTexts", "texts")).metadata
    texts, encoded = metadata["texts"], metadata["encoded"]
    if texts == 0:
        return 0.0
    return metadata["seconds"] * texts / encoded if encoded * 2 >= texts else None


def _is_prepared(directory: RunDirectory, config: Config) -> bool:
    try:
        run_config = directory.finished_data_config()
    except TowersError:
        return False
    inputs = [(c.data, c.text.encoder, c.text.max_tokens) for c in (run_config, config)]
    return inputs[0] == inputs[1]
