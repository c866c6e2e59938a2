"""Trains the ranking model, and finds out whether it is any better than retrieval alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from trainer.candidate_features import CandidateFeatures
from trainer.checkpoints import Checkpoints, key_of
from trainer.config import Config, ServingConfig
from trainer.data import ItemTable, SequenceTable
from trainer.directories import written_aside
from trainer.errors import TowersError
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import candidate_mask
from trainer.fitting import adam, fit
from trainer.listwise import fit_probability, fit_weights
from trainer.progress import OnEpoch, OnUpdate
from trainer.ranking import RankingModel
from trainer.ranking_examples import RankingExamples, target_choices, train_choices
from trainer.retrieval import RetrievalModel

VERDICT = "verdict.json"
FOLDS = 2
PART = 100  # ratings whose mean probability is compared with the share of them that was liked


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
      items, train, validation: as for `trainer.retrieval.train`.
      directory: where to write; should not exist, or be empty.
      on_epoch, checkpoints, logs, on_update: as for `trainer.retrieval.train`.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "retrieve": {"ndcg@10": ..., "hit_rate@10": ...}, "recommend": {...},
      "use_ranking": whether re-ranking wins on NDCG@10 by more than `"standard_error"` of its gain,
      "liked": {...} (see `_calibration`) where there are ratings, "seconds": ...}`; without validation `retrieve` and
      `recommend` are None and `use_ranking` is False, for nothing speaks for it.

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
        held_out = _HeldOut(RankingExamples(config, retrieval_model, validation, targets, item_vectors, allowed))
    kept = None
    if checkpoints is not None and config.retrieval.checkpoint_minutes:
        key = key_of(config.to_json(), item_vectors.numpy(), train.offsets, train.item)
        kept = Checkpoints(checkpoints, config.retrieval.checkpoint_minutes, key)
    with written_aside(directory) as aside:
        model.compile(optimizer=adam(settings.learning_rate))
        history, best = fit(
            model,
            examples.batches,
            examples=lambda batch: len(batch["candidate"]),
            examples_per_epoch=len(examples),
            steps_per_epoch=-(-len(examples) // settings.batch_size),
            epochs=settings.epochs,
            patience=settings.epochs,
            validate=(lambda: held_out.network_metrics(model)) if held_out else None,
            title="ranking",
            checkpoints=kept,
            logs=logs,
            on_epoch=on_epoch,
            on_update=on_update,
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

    def __len__(self) -> int:
        return len(self._examples)

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
        line = None
        rating = read.get("rating")
        if rating is not None and np.isfinite(rating).any():
            rated = np.isfinite(rating)
            liked = rating[rated] >= model.config.ranking.liked_rating
            line = fit_probability(read["liked"][rated], liked)
            verdict["liked"] = _calibration(read["liked"][rated], liked, self._fold[rated])
        model.combine(fit_weights(scalars[offered], start), line)
        return verdict

    def _read(self, model: RankingModel) -> dict[str, np.ndarray]:
        """`scalars` float32 [m, N, F]; with ratings `liked`, `rating` float32 [m]."""
        parts = [
            {name: value.numpy() for name, value in model.held_out(batch).items()}
            | ({"rating": batch["rating"]} if model.rated else {})
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


def _calibration(logits: np.ndarray, liked: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """How good the probability of being liked is, measured on users whose ratings did not calibrate it.

    Returns:
      `log_loss`, and `log_loss_of_the_share`: that of one probability for all; `calibration_error`: mean distance of
      probability and share over up to ten equally large parts (Naeini et al., 2015), none so small that chance alone
      would put the two far apart.
    """
    probability, share = np.zeros(len(liked)), np.zeros(len(liked))
    for part in range(FOLDS):
        mine, others = fold == part, fold != part
        line = fit_probability(logits[others], liked[others])
        probability[mine] = 1 / (1 + np.exp(-(line[0] * logits[mine] + line[1])))
        share[mine] = (liked[others].sum() + 1) / (others.sum() + 2)
    count = int(np.clip(len(liked) // PART, 1, 10))
    parts = np.array_split(np.argsort(probability, kind="stable"), count)
    distances = [len(part) * abs(probability[part].mean() - liked[part].mean()) for part in parts]
    return {
        "log_loss": _log_loss(probability, liked),
        "log_loss_of_the_share": _log_loss(share, liked),
        "calibration_error": float(np.sum(distances) / len(liked)),
    }


def _log_loss(probability: np.ndarray, outcome: np.ndarray) -> float:
    likelihood = np.clip(np.where(outcome, probability, 1 - probability), 1e-12, 1.0)
    return float(-np.log(likelihood).mean())
