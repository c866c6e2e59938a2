"""Trains and evaluates one model, and stores results in a file, so that a benchmark can be stopped and continued."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_pipeline.fingerprint import code_fingerprint
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.evaluation.evaluate import evaluate
from trainer.files import write_text
from trainer.ranking import model as ranking_model
from trainer.ranking import persistence as ranking_persistence
from trainer.ranking import training as ranking_training
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval import training as retrieval_training

METRICS = ("ndcg@10", "hit_rate@10", "hit_rate@100")

Result = dict[str, Any]


def train_and_test(config: Config, dataset: Dataset) -> Result:
    """Trains retrieval, and ranking if it is enabled, and ranks the whole catalogue for the test users.

    Returns:
      The metrics over all targets and over cold ones (at most 5 train events), those of popularity, and the cost of
      training. With ranking also `recommend`: its metrics, `used` (whether it was better on validation), `validation
      ndcg@10` before and after ranking, `seconds`, and, if there are ratings, `rating` and `liked`.
    """

    def report(record: dict[str, Any]) -> None:
        ndcg = f", validation NDCG@10 {record['ndcg@10']:.4f}" if "ndcg@10" in record else ""
        line = f"epoch {record['epoch']}: loss {record['loss']:.4f}{ndcg}, {record['seconds']:.0f} s"
        print(f"  {config.name}, seed {config.seed}, {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "towers")
        trained = retrieval_training.train(config, dataset, directory, on_epoch=report)
        model = retrieval_persistence.load(directory, dataset.items, dataset.texts)
        ranker, ranking = (
            _ranker(config, model, dataset, Path(scratch, "ranker")) if config.ranking.enabled else (None, {})
        )
    evaluation = evaluate(config, model, dataset.items, dataset.splits["test"], ranker)
    if ranker is not None:
        ranking |= {metric: evaluation["stages"]["recommend"][metric] for metric in METRICS}
        ranking |= {f"cold {metric}": evaluation["cold"]["stages"]["recommend"][metric] for metric in METRICS}
    return {
        "users": evaluation["users"],
        "cold_users": evaluation["cold"]["users"],
        **{metric: evaluation["stages"]["retrieval"][metric] for metric in METRICS},
        **{f"cold {metric}": evaluation["cold"]["stages"]["retrieval"][metric] for metric in METRICS},
        "popularity": {metric: evaluation["stages"]["popularity"][metric] for metric in METRICS},
        "validation ndcg@10": trained.get("ndcg@10"),
        "seconds": round(trained["seconds"], 1),
        "epochs": len(trained["epochs"]),
        "best_epoch": trained["best_epoch"],
        "parameters": trained["parameters"],
        **({"recommend": ranking} if ranker is not None else {}),
    }


def _ranker(
    config: Config, model: retrieval_model.RetrievalModel, dataset: Dataset, directory: Path
) -> tuple[ranking_model.RankingModel, Result]:
    """A ranking model on top of `model`, and the results of its training."""
    trained = ranking_training.train(
        config,
        model,
        dataset,
        directory,
        on_epoch=lambda record: None,
    )
    ranker = ranking_persistence.load(directory)
    ranker.attach(model.item_vectors())
    return ranker, {
        "used": trained["use_ranking"],
        "validation ndcg@10": [trained[stage]["ndcg@10"] for stage in ("retrieve", "recommend")],
        "seconds": round(trained["seconds"], 1),
        **{name: trained[name] for name in ("rating", "liked") if name in trained},
    }


class Results:
    """Finished results in a JSON file, looked up by their settings.

    Args:
      path: the file. The first result creates it; each later one replaces it by a longer one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._code = code_fingerprint()
        self._records: list[dict[str, Any]] = []
        if self._path.exists():
            self._records = json.loads(self._path.read_text(encoding="utf-8"))

    def get(self, config: Config, kind: str, make: Callable[..., Result], *arguments: Any) -> Result:
        """The result of these settings: read from the file, or computed now and written to it.

        Args:
          config: the settings. Sections that do not affect the model (index, serving, kubeflow), and ranking if it is
            off, are ignored.
          kind: the kind of result, for results of one configuration that have different meanings.
          make: computes the result from `arguments`.
        """
        sections = ["text", "model", "retrieval", "evaluation", *(["ranking"] if config.ranking.enabled else [])]
        settings = config.restricted(*sections).model_copy(update={"seed": config.seed})
        key = hashlib.sha256(f"{kind}\n{settings.to_json()}".encode()).hexdigest()[:16]
        for record in self._records:
            if record["key"] == key:
                if record["code"] != self._code:
                    print(
                        f"{config.name}, seed {config.seed}: from earlier code",
                        file=sys.stderr,
                        flush=True,
                    )
                return record["result"]
        record = {"key": key, "set": config.name, "seed": config.seed, "kind": kind, "code": self._code}
        record |= {"settings": json.loads(settings.to_json()), "result": make(*arguments)}
        self._records.append(record)
        write_text(self._path, json.dumps(self._records, indent=1))
        return record["result"]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the standard deviation over seeds (n - 1), which is 0 for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
