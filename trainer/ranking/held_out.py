"""Calibrates the ranking model on held-out events, and measures its gain over retrieval."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.evaluation import metrics
from trainer.ranking.examples import RankingExamples
from trainer.ranking.listwise_weights import fit_weights
from trainer.ranking.model import RankingModel
from trainer.ranking.rating_calibration import fit_liked, fit_rating, liked_error, rating_error

FOLDS = 2  # of users, for cross-validation: each fold is measured with weights that were fitted to the other one


class HeldOutEvents:
    """Held-out events with the candidates of retrieval. No model was trained on these events."""

    def __init__(self, examples: RankingExamples) -> None:
        self._examples = examples
        self._fold = examples.choices.user % FOLDS

    def network_metrics(self, model: RankingModel) -> dict[str, float]:
        """Mean NDCG@10 and hit rate of lists ordered by the network's logit alone."""
        return _means(self._list_metrics(self._calibration_inputs(model)["scalars"][..., 0]))

    def calibrate(self, model: RankingModel) -> dict[str, Any]:
        """Sets the model's combination and rating weights, and measures them by cross-validation.

        Returns:
          the verdict on the model, see `trainer.ranking.training.train`.
        """
        inputs = self._calibration_inputs(model)
        scalars, usable = inputs["scalars"], self._examples.chosen_retrieved
        start = np.zeros(scalars.shape[2])
        start[1] = 1.0 / model.config.retrieval.temperature  # the weights that keep retrieval's order
        combined = np.zeros(scalars.shape[:2])
        for fold in range(FOLDS):
            mine = self._fold == fold
            combined[mine] = scalars[mine] @ fit_weights(scalars[usable & ~mine], start)
        model.set_combination(fit_weights(scalars[usable], start))
        verdict = self._verdict(scalars[..., 1], combined)
        return verdict | self._calibrate_ratings(model, inputs) if model.rated else verdict

    def _verdict(self, retrieval_scores: np.ndarray, combined: np.ndarray) -> dict[str, Any]:
        retrieve, recommend = self._list_metrics(retrieval_scores), self._list_metrics(combined)
        gain = recommend["ndcg@10"] - retrieve["ndcg@10"]
        error = float(gain.std() / np.sqrt(len(gain)))
        return {
            "retrieve": _means(retrieve),
            "recommend": _means(recommend),
            "standard_error": error,
            # Ranking costs time in every call and recommends fewer new items. A gain within the error is not worth it.
            "use_ranking": bool(gain.mean() > error),
        }

    def _calibrate_ratings(self, model: RankingModel, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        """Sets the weights of predicted ratings; returns `rating` and `liked` of the verdict."""
        rated = np.isfinite(inputs["target_rating"])
        if not rated.any():
            return {}
        ratings, fold = inputs["target_rating"][rated].astype(np.float64), self._fold[rated]
        normalised = (ratings - model.rating_mean) / model.rating_std
        liked = ratings >= model.config.ranking.liked_rating
        rating_features, liked_features = inputs["rating"][rated], inputs["liked"][rated]
        model.set_rating_weights(fit_rating(rating_features, normalised), fit_liked(liked_features, liked))
        errors = rating_error(rating_features, normalised, fold)
        return {
            "rating": {name: error * model.rating_std for name, error in errors.items()},
            "liked": liked_error(liked_features, liked, fold),
        }

    def _calibration_inputs(self, model: RankingModel) -> dict[str, np.ndarray]:
        """`RankingModel.calibration_inputs` of all examples; with ratings also `target_rating` float32 [m]."""
        parts = []
        for batch in self._examples.in_order():
            part = {name: value.numpy() for name, value in model.calibration_inputs(batch).items()}
            if model.rated:
                part["target_rating"] = batch["target_rating"]
            parts.append(part)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _list_metrics(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """NDCG@10 and hit rate of each list, float64 [m]; 0 where retrieval did not return the chosen item."""
        rank = 1 + (logits[:, 1:] > logits[:, :1]).sum(axis=1)  # NaN marks no candidate and is never greater
        rank = np.where(self._examples.chosen_retrieved, rank, 0)
        values = metrics.per_user(rank, np.arange(len(rank) + 1), [10])
        return {name: values[name] for name in ("ndcg@10", "hit_rate@10")}


def _means(values: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value.mean()) for name, value in values.items()}
