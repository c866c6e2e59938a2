"""What the ranking model says of ratings, held against the held-out ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import request_batches
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.uncertainty import FEWEST, Figure, interval_of, intervals
from trainer.graphs import AnyShapeFunction

THRESHOLD = 0.5  # of the probability, for what counts labels
PARTS = 10  # of the reliability curve, equally many ratings each
_BATCH, _TARGETS = 512, 8  # users and held-out items of each, scored at once


def predict_target_ratings(
    config: Config, model: Retriever, ranking: Ranker, sequences: SequenceTable
) -> dict[str, np.ndarray]:
    """What is said of each held-out event that has a rating, from what came before all of its user's.

    Returns:
      `user` int64 [m] rows of `sequences`, `place` int64 [m] flat positions of the events, `given` float64 [m] the
      rating, `rating` float64 [m] the one expected,
      `liked` float64 [m] the probability that it is at least `ranking.liked_rating`.
    """
    vectors = model.item_vectors()
    score = AnyShapeFunction(ranking.score, widths={1: ranking.dim})
    stop = sequences.offsets[1:] - sequences.target_count
    found: dict[str, list[np.ndarray]] = {"user": [], "place": [], "given": [], "rating": [], "liked": []}
    assert sequences.rating is not None
    usable = np.isfinite(sequences.rating) & (sequences.item != UNKNOWN_ITEM)
    for rows, batch in request_batches(
        sequences,
        model.columns,
        config.model.max_history,
        _BATCH,
        with_query=config.evaluation.with_query,
        with_timestamp=config.evaluation.with_timestamp,
        users=np.flatnonzero(sequences.target_count),
    ):
        tensors = {name: tf.constant(value) for name, value in batch.items()}
        users = model.encode(model.features(tensors), vectors)
        request: dict[str, tf.Tensor] = {"user_vector": users}
        request |= {name: value for name, value in tensors.items() if name in ("item_index", "length", "rating")}
        for first in range(0, int(sequences.target_count[rows].max()), _TARGETS):
            some = np.flatnonzero(sequences.target_count[rows] > first)  # the few with more are done by themselves
            place = (stop[rows[some]] + first)[:, np.newaxis] + np.arange(_TARGETS)
            there = place < sequences.offsets[1:][rows[some]][:, np.newaxis]
            place = np.where(there, place, 0)
            candidate = np.where(there, sequences.item[place], UNKNOWN_ITEM)
            inputs = {name: tf.gather(value, some) for name, value in request.items()}
            inputs["candidate"] = tf.constant(candidate)
            inputs["retrieval_score"] = tf.einsum("bd,bnd->bn", inputs["user_vector"], tf.gather(vectors, candidate))
            said = score(inputs, vectors)
            kept = there & usable[place]
            found["user"].append(np.repeat(rows[some], _TARGETS).reshape(kept.shape)[kept])
            found["place"].append(place[kept])
            found["given"].append(sequences.rating[place][kept])
            for name in ("rating", "liked"):
                found[name].append(said[name].numpy()[kept])
    return {
        name: np.concatenate(parts).astype(np.int64 if name in ("user", "place") else np.float64)
        if parts
        else np.zeros(0)
        for name, parts in found.items()
    }


def rating_metrics(config: Config, said: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """How good it is; None of fewer than FEWEST ratings.

    Args:
      config: the configuration.
      said: see `predict_target_ratings`.

    Returns:
      `ratings`: how many; `values`, `intervals` (over users) of `rmse`, `mae`, `log_loss`, `auc`, `calibration_error`,
      and of `accuracy`, `precision`, `recall`, `f1`, for which the label is predicted where the probability is at least
      THRESHOLD; `of_one_for_all`: `rmse` and `log_loss` if everybody were told the mean; `reliability`: parts with
      `probability`, `share`, `ratings`. AUC is None where all were liked, or none.
    """
    given, rating, probability = said["given"], said["rating"], np.clip(said["liked"], 1e-7, 1 - 1e-7)
    if len(given) < FEWEST:
        return None
    liked = given >= config.ranking.liked_rating
    losses = -np.log(np.where(liked, probability, 1 - probability))
    users, of = np.unique(said["user"], return_inverse=True)
    count = np.bincount(of).astype(np.float64)
    predicted = probability >= THRESHOLD

    def per_user(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=values)

    hits, said_so, were = per_user(predicted & liked), per_user(predicted), per_user(liked)
    figures = {
        "rmse": Figure(per_user((rating - given) ** 2), count, bounded=False),  # of squares until the root is taken
        "mae": Figure(per_user(np.abs(rating - given)), count, bounded=False),
        "log_loss": Figure(per_user(losses), count, bounded=False),
        "accuracy": Figure(per_user(predicted == liked), count),
        "precision": Figure(hits, said_so),
        "recall": Figure(hits, were),
        "f1": Figure(2 * hits, said_so + were),
    }
    values: dict[str, Any] = {name: figure.value for name, figure in figures.items()}
    reach = dict(zip(figures, intervals(list(figures.values()), seed=config.seed), strict=True))
    values["rmse"] = np.sqrt(values["rmse"])
    reach["rmse"] = tuple(np.sqrt(reach["rmse"])) if reach["rmse"] else None
    no_means: dict[str, Callable[[np.ndarray, np.ndarray], float | None]]
    no_means = {"auc": _auc, "calibration_error": _calibration_error}
    for name, statistic in no_means.items():

        def of_users(
            kept: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], float | None] = statistic
        ) -> float | None:
            return statistic(liked[kept[of]], probability[kept[of]])

        values[name] = statistic(liked, probability)
        reach[name] = interval_of(of_users, len(users), seed=config.seed)
    parts = [
        {"probability": probability[part].mean(), "share": liked[part].mean(), "ratings": len(part)}
        for part in _parts(probability)
    ]
    share = liked.mean()
    result = {
        "ratings": len(given),
        "users": len(users),
        "liked_rating": config.ranking.liked_rating,
        "values": values,
        "intervals": reach,
        "of_one_for_all": {"rmse": given.std(), "log_loss": _entropy(share)},
        "reliability": parts,
    }
    return _plain(result)


def _auc(liked: np.ndarray, probability: np.ndarray) -> float | None:
    """Area under the ROC curve (Hanley & McNeil, 1982); None where all are liked, or none."""
    from sklearn import metrics as sk

    return float(sk.roc_auc_score(liked, probability)) if 0 < liked.mean() < 1 else None


def _parts(probability: np.ndarray) -> list[np.ndarray]:
    """The places of equally many probabilities each, from the lowest on."""
    count = min(PARTS, max(1, len(probability) // FEWEST))
    return np.array_split(np.argsort(probability, kind="stable"), count)


def _calibration_error(liked: np.ndarray, probability: np.ndarray) -> float:
    """Expected calibration error (Naeini et al., 2015), over parts of equally many."""
    apart = [len(part) * abs(probability[part].mean() - liked[part].mean()) for part in _parts(probability)]
    return float(sum(apart) / len(probability))


def _entropy(share: float) -> float:
    return float(-sum(p * np.log(p) for p in (share, 1 - share) if p > 0))


def _plain(value: Any) -> Any:
    """The same in plain Python, for JSON."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
