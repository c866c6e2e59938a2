"""Trains the ranking model, and finds out whether it is any better than retrieval alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import Config, ServingConfig
from trainer.data.tables import ItemTable, SequenceTable
from trainer.errors import TowersError
from trainer.evaluation import metrics
from trainer.evaluation.candidates import candidate_mask
from trainer.files import atomic_directory
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.examples import RankingExamples, target_choices, train_choices
from trainer.ranking.listwise_weights import fit_weights
from trainer.ranking.model import RankingModel
from trainer.ranking.rating_calibration import fit_liked, fit_rating, liked_error, rating_error
from trainer.retrieval.model import RetrievalModel
from trainer.training.checkpoints import Checkpoints, key_of
from trainer.training.loop import Monitoring, Schedule, TrainingData, fit
from trainer.training.optimizers import Adam
from trainer.training.progress import OnEpoch, OnUpdate

VERDICT = "verdict.json"
FOLDS = 2


def train(
    config: Config,
    retrieval_model: RetrievalModel,
    items: ItemTable,
    train: SequenceTable,
    validation: SequenceTable | None,
    directory: str | Path,
    on_epoch: OnEpoch | None = None,
    *,
    checkpoints: str | os.PathLike[str] | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_update: OnUpdate | None = None,
) -> dict[str, Any]:
    """Trains a ranking model on what `retrieval_model` returns, and writes it.

    The network learns from the last train events of users. What is combined with it, and how, from the validation
    split; what that is worth is measured on users whose events had no part in it (`FOLDS` parts, each in turn).

    Args:
      config: the configuration.
      retrieval_model: trained, and attached to `items` and their texts; it is not changed.
      items, train, validation: as for `trainer.retrieval.training.train`.
      directory: where to write; should not exist, or be empty.
      on_epoch, checkpoints, logs, on_update: as for `trainer.retrieval.training.train`.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "retrieve": {"ndcg@10": ..., "hit_rate@10": ...}, "recommend": {...},
      "use_ranking": whether re-ranking wins on NDCG@10 by more than `"standard_error"` of its gain,
      "rating": {...}, "liked": {...} (see `rating_calibration`) where there are ratings, "seconds": ...}`; without
      validation `retrieve` and `recommend` are None and `use_ranking` is False, for nothing speaks for it.

    Raises:
      TowersError: no user has two train events, or `directory` can not be written.
    """
    started = time.monotonic()
    settings = config.ranking
    item_vectors = retrieval_model.item_vectors()
    trained_on = np.concatenate([[False], items.train_count > 0])
    choices = train_choices(config, train)
    examples = RankingExamples(
        config, retrieval_model, train, choices, item_vectors, trained_on, settings.random_negatives
    )
    rated = train.rating is not None
    model = RankingModel(
        config,
        int(item_vectors.shape[1]),
        CandidateFeatures.count(items, train, settings.neighbours),
        rated,
        float(train.rating_mean) if rated else 0.0,
        float(train.rating_std) if rated else 1.0,
    )
    model.attach(item_vectors)
    held_out = None
    if validation is not None:
        allowed = candidate_mask(config, items)
        targets = target_choices(config, validation)
        if len(targets.user):
            held_out = _HeldOut(RankingExamples(config, retrieval_model, validation, targets, item_vectors, allowed))
    kept = None
    if checkpoints is not None and config.retrieval.checkpoint_minutes:
        key = key_of(config.to_json(), item_vectors.numpy(), train.offsets, train.item)
        kept = Checkpoints(checkpoints, config.retrieval.checkpoint_minutes, key)
    with atomic_directory(directory) as aside:
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
            checkpoints=kept,
        )
        verdict = {"retrieve": None, "recommend": None, "use_ranking": False}
        if held_out:
            verdict = held_out.combine(model)
        model.save(aside, history)
        (aside / VERDICT).write_text(json.dumps(verdict, indent=1), encoding="utf-8")
    if kept:
        kept.remove()
    return {"epochs": history, "best_epoch": best["best_epoch"], **verdict, "seconds": time.monotonic() - started}


def is_used(config: ServingConfig, directory: str | Path) -> bool:
    """Whether `recommend` re-ranks with the model in `directory`: as `use_ranking` says, or if it won on validation.

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


class _HeldOut:
    """Events that nothing was trained on: they say how to combine, and what that is worth."""

    def __init__(self, examples: RankingExamples) -> None:
        self._examples = examples
        self._fold = examples.choices.user % FOLDS

    def network_metrics(self, model: RankingModel) -> dict[str, float]:
        """Of lists in the order of the network's logit alone."""
        return self._mean(self._gains(self._read(model)["scalars"][..., 0]))

    def combine(self, model: RankingModel) -> dict[str, Any]:
        """Fits the combination and says what it is worth: the verdict, as `train` returns it."""
        read = self._read(model)
        scalars, offered = read["scalars"], self._examples.offered
        start = np.zeros(scalars.shape[2])
        start[1] = 1.0 / model.config.retrieval.temperature
        combined = np.zeros(scalars.shape[:2])
        for fold in range(FOLDS):
            weights = fit_weights(scalars[offered & (self._fold != fold)], start)
            combined[self._fold == fold] = scalars[self._fold == fold] @ weights
        retrieve, recommend = self._gains(scalars[..., 1]), self._gains(combined)
        gain = recommend["ndcg@10"] - retrieve["ndcg@10"]
        error = float(gain.std() / np.sqrt(len(gain)))
        verdict = {
            "retrieve": self._mean(retrieve),
            "recommend": self._mean(recommend),
            "standard_error": error,
            # A gain that may be chance is not worth what ranking costs: time in every call, and fewer new items.
            "use_ranking": bool(gain.mean() > error),
        }
        model.set_combination(fit_weights(scalars[offered], start))
        return verdict | (self._fit_rating_weights(model, read) if model.rated else {})

    def _fit_rating_weights(self, model: RankingModel, read: dict[str, np.ndarray]) -> dict[str, Any]:
        """Fits what is said of ratings, and says how good it is: `rating` and `liked` of what `train` returns."""
        rated = np.isfinite(read["target_rating"])
        if not rated.any():
            return {}
        given, fold = read["target_rating"][rated].astype(np.float64), self._fold[rated]
        above, rating_signs = (given - model.rating_mean) / model.rating_std, read["rating"][rated]
        liked, liked_signs = given >= model.config.ranking.liked_rating, read["liked"][rated]
        model.set_rating_weights(fit_rating(rating_signs, above), fit_liked(liked_signs, liked))
        errors = rating_error(rating_signs, above, fold)
        return {
            "rating": {name: error * model.rating_std for name, error in errors.items()},
            "liked": liked_error(liked_signs, liked, fold),
        }

    def _read(self, model: RankingModel) -> dict[str, np.ndarray]:
        """What `RankingModel.calibration_inputs` gives for all, and with ratings `target_rating` float32 [m]."""
        parts = [
            {name: value.numpy() for name, value in model.calibration_inputs(batch).items()}
            | ({"target_rating": batch["target_rating"]} if model.rated else {})
            for batch in self._examples.in_order()
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _gains(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """NDCG@10 and hit rate of every list, float64 [m]; 0 where retrieval did not offer what was chosen."""
        rank = 1 + (logits[:, 1:] > logits[:, :1]).sum(axis=1)  # NaN, no candidate, is not greater
        rank = np.where(self._examples.offered, rank, 0)
        values = metrics.per_user(rank, np.arange(len(rank) + 1), [10])
        return {name: values[name] for name in ("ndcg@10", "hit_rate@10")}

    def _mean(self, gains: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: float(values.mean()) for name, values in gains.items()}
