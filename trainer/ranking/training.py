"""Trains the ranking model, and decides whether re-ranking is better than retrieval alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config, ServingConfig
from trainer.data.dataset import Dataset
from trainer.data.tables import ItemTable, SequenceTable
from trainer.errors import TowersError
from trainer.evaluation.candidates import candidate_mask
from trainer.files import atomic_directory
from trainer.ranking import persistence
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.choices import target_choices, train_choices
from trainer.ranking.examples import CandidateSource, build_examples
from trainer.ranking.held_out import HeldOutEvents
from trainer.ranking.model import RankingModel
from trainer.retrieval.model import RetrievalModel
from trainer.training.checkpoints import Checkpoints, key_of
from trainer.training.loop import Monitoring, Schedule, TrainingData, fit
from trainer.training.optimizers import Adam
from trainer.training.progress import OnEpoch, OnUpdate

VERDICT = "verdict.json"


def train(
    config: Config,
    retrieval_model: RetrievalModel,
    dataset: Dataset,
    directory: str | Path,
    on_epoch: OnEpoch | None = None,
    *,
    checkpoints: str | os.PathLike[str] | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_update: OnUpdate | None = None,
) -> dict[str, Any]:
    """Trains a ranking model on the candidates that `retrieval_model` returns, and writes it.

    The network learns from the last train events of users. The weights of the final linear combination are fitted to
    the validation split; their gain is measured on that split too, by cross-validation (see `HeldOutEvents`).

    Args:
      config: the configuration.
      retrieval_model: trained, and attached to the items and texts of the dataset; it is not changed.
      dataset: the catalogue, and the splits `train` and (optional) `validation`.
      directory: where the model is written; should be missing or empty.
      on_epoch, checkpoints, logs, on_update: as for `trainer.retrieval.training.train`.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "retrieve": {"ndcg@10": ..., "hit_rate@10": ...}, "recommend": {...},
      "use_ranking": whether re-ranking gains more NDCG@10 than the gain's `"standard_error"`, "rating": {...},
      "liked": {...} (see `rating_calibration`) where there are ratings, "seconds": ...}`. Without validation events
      nothing shows that re-ranking helps: `retrieve` and `recommend` are None and `use_ranking` is False.

    Raises:
      TowersError: no user has two train events, or `directory` cannot be written.
    """
    started = time.monotonic()
    settings, items, train_split = config.ranking, dataset.items, dataset.train
    item_vectors = retrieval_model.item_vectors()
    trained_items = np.concatenate([[False], items.train_count > 0])
    source = CandidateSource(retrieval_model, item_vectors, trained_items)
    examples = build_examples(
        config, source, train_split, train_choices(config, train_split), settings.random_negatives
    )
    model = _new_model(config, items, train_split, item_vectors)
    held_out = None
    if "validation" in dataset.splits:
        source = CandidateSource(retrieval_model, item_vectors, candidate_mask(config, items))
        held_out = _held_out_events(config, source, dataset.splits["validation"])
    saved_state = None
    if checkpoints is not None and config.retrieval.checkpoint_minutes:
        key = key_of(config.to_json(), item_vectors.numpy(), train_split.offsets, train_split.item)
        saved_state = Checkpoints(checkpoints, config.retrieval.checkpoint_minutes, key)
    with atomic_directory(directory) as temporary:
        model.compile(optimizer=Adam(settings.learning_rate))
        history, best = fit(
            model,
            TrainingData(
                examples.batches,
                count_examples=lambda batch: len(batch["candidate"]),
                examples_per_epoch=len(examples),
                steps_per_epoch=-(-len(examples) // settings.batch_size),
            ),
            Schedule(settings.epochs, patience=settings.epochs),
            Monitoring("ranking", on_epoch, on_update, logs),
            validate=(lambda: held_out.network_metrics(model)) if held_out else None,
            checkpoints=saved_state,
        )
        verdict = {"retrieve": None, "recommend": None, "use_ranking": False}
        if held_out:
            verdict = held_out.calibrate(model)
        persistence.save(model, temporary, history)
        (temporary / VERDICT).write_text(json.dumps(verdict, indent=1), encoding="utf-8")
    if saved_state:
        saved_state.remove()
    return {"epochs": history, "best_epoch": best["best_epoch"], **verdict, "seconds": time.monotonic() - started}


def _new_model(config: Config, items: ItemTable, train: SequenceTable, item_vectors: tf.Tensor) -> RankingModel:
    """An untrained model for the catalogue."""
    rated = train.rating is not None
    features = CandidateFeatures.count(items, train, config.ranking.neighbours)
    mean, std = (float(train.rating_mean), float(train.rating_std)) if rated else (0.0, 1.0)
    model = RankingModel(config, int(item_vectors.shape[1]), features, rated, mean, std)
    model.attach(item_vectors)
    return model


def _held_out_events(config: Config, source: CandidateSource, validation: SequenceTable) -> HeldOutEvents | None:
    """The validation events with their candidates; None if no validation event can be recommended."""
    choices = target_choices(config, validation)
    return HeldOutEvents(build_examples(config, source, validation, choices)) if len(choices) else None


def is_used(config: ServingConfig, directory: str | Path) -> bool:
    """Whether `recommend` re-ranks with the model in `directory`.

    `use_ranking: auto` in the configuration means: if re-ranking was better than retrieval on the validation split.

    Raises:
      TowersError: the directory does not hold a model.
    """
    if config.use_ranking != "auto":
        return config.use_ranking == "always"
    try:
        return json.loads((Path(directory) / VERDICT).read_text(encoding="utf-8"))["use_ranking"]
    except (OSError, ValueError, KeyError) as error:
        raise TowersError(
            f"{directory}: holds no ranking model ({error}). Give a directory written by training."
        ) from None
