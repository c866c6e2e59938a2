"""Hyperparameters of the retrieval model, searched on validation (KerasTuner)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from trainer.config import Config, RangeConfig
from trainer.config import loader as config_loader
from trainer.data.loading import Dataset
from trainer.errors import TowersError, UsageError
from trainer.retrieval import training as retrieval_training
from trainer.training.loop import METRIC
from trainer.training.progress import format_record

_SEARCHED = ("model", "retrieval")
_PROJECT, _CHECKPOINTS = "trials", "checkpoints"

Values = dict[str, Any]  # "section.key" -> value


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
      values: of what is searched.
      score: validation NDCG@10; None where training failed.
      reason: why it failed; "" where it did not.
    """

    values: Values
    score: float | None
    reason: str = ""


def check(config: Config) -> None:
    """Whether there is a search space, and every value in it would be a valid configuration.

    Raises:
      UsageError: there is none, a key is not of a searched section, or a value does not fit.
    """
    if not config.tuning.space:
        raise UsageError("`tuning.space` is empty: name what to search, such as {model.dropout: [0.2, 0.5]}")
    for key, wanted in config.tuning.space.items():
        section, _, name = key.partition(".")
        if section not in _SEARCHED or name not in type(getattr(config, section)).model_fields:
            raise UsageError(f"`tuning.space` should name keys of {' and '.join(_SEARCHED)}. Received: {key!r}")
        for value in [wanted.min, wanted.max] if isinstance(wanted, RangeConfig) else wanted:
            config_loader.with_values(config, {key: value})


def said(values: Values) -> str:
    """Values in one line."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def search(
    config: Config,
    dataset: Dataset,
    directory: str | os.PathLike[str],
    on_update: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Trains with settings out of `config.tuning.space` until there are `config.tuning.trials`, and scores each by its
    best validation NDCG@10 over the full catalogue.

    A search that was killed goes on from there, in the middle of a trial if it must, to the result that it would have
    had; one that has ended goes on if there should be more trials.

    Args:
      config: the configuration.
      dataset: with `train` and `validation`.
      directory: where the search keeps its state; of this configuration, but for the number of trials, and dataset.
      on_update: given a line now and then.

    Returns:
      all trials, the best first, failed ones last.

    Raises:
      UsageError: see `check`.
      TowersError: no trial succeeded, or there is nothing to validate on.
    """
    check(config)
    if not int(dataset.splits["validation"].target_count.sum()):
        raise TowersError("tuning needs validation users, and the split has none. Check `data.split`.")
    tuner = _Tuner(config, dataset, Path(directory), on_update or (lambda text: None))
    tuner.search(verbose=0)
    trials = tuner.tried()
    if trials[0].score is None:
        raise TowersError(f"no trial succeeded; the last one: {trials[-1].reason}")
    return trials


class _Tuner(base_tuner.BaseTuner):
    """KerasTuner's loop around `retrieval.train`."""

    def __init__(self, config: Config, dataset: Dataset, directory: Path, on_update: Callable[[str], None]) -> None:
        self._config, self._dataset, self._directory, self._say = config, dataset, directory, on_update
        settings = config.tuning
        oracle = {
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
            "random": keras_tuner.oracles.RandomSearchOracle,
        }[settings.method](
            objective=keras_tuner.Objective(METRIC, "max"),
            max_trials=settings.trials,
            hyperparameters=_space(config),
            seed=config.seed + 1,  # KerasTuner takes 0 for none
            max_consecutive_failed_trials=settings.trials + 1,  # what failed is told with the result
        )
        super().__init__(oracle, directory=str(directory), project_name=_PROJECT)

    def run_trial(self, trial: Any, *arguments: Any, **named: Any) -> dict[str, float]:
        values = dict(trial.hyperparameters.values)
        number = len(self.oracle.end_order) + 1
        title = f"trial {number}/{self._config.tuning.trials} ({said(values)})"
        try:
            with tempfile.TemporaryDirectory() as unwanted:  # the model; its settings are what is searched
                result = retrieval_training.train(
                    config_loader.with_values(self._config, values),
                    self._dataset.items,
                    self._dataset.train,
                    self._dataset.splits["validation"],
                    self._dataset.texts,
                    Path(unwanted, "model"),
                    on_epoch=lambda record: self._say(f"{title}: {format_record(record)}"),
                    checkpoints=self._directory / f"{_CHECKPOINTS}_{trial.trial_id}",
                    on_update=lambda text: self._say(f"{title}: {text}"),
                )
        except TowersError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        return {METRIC: result[METRIC]}

    def tried(self) -> list[Trial]:
        """All trials, the best first, failed ones last."""
        found = []
        for trial in self.oracle.trials.values():
            if trial.status == "COMPLETED":
                found.append(Trial(dict(trial.hyperparameters.values), trial.score))
            else:
                reason = (trial.message or "").strip().splitlines()
                found.append(Trial(dict(trial.hyperparameters.values), None, reason[-1] if reason else trial.status))
        return sorted(found, key=lambda trial: -1.0 if trial.score is None else trial.score, reverse=True)


def _space(config: Config) -> keras_tuner.HyperParameters:
    space = keras_tuner.HyperParameters()
    for key, wanted in config.tuning.space.items():
        if not isinstance(wanted, RangeConfig):
            mixed = len({type(value) for value in wanted}) > 1  # whole numbers and others
            space.Choice(key, [float(value) for value in wanted] if mixed else wanted)
            continue
        sampling = "log" if wanted.log else "linear"
        draw = space.Int if isinstance(wanted.min, int) and isinstance(wanted.max, int) else space.Float
        draw(key, wanted.min, wanted.max, sampling=sampling)
    return space
