"""Searches hyperparameters of the retrieval model on the validation split (KerasTuner)."""

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
from trainer.data.dataset import Dataset
from trainer.errors import TowersError, UsageError
from trainer.retrieval import training as retrieval_training
from trainer.training.loop import METRIC
from trainer.training.progress import format_record

_SECTIONS = ("model", "retrieval")  # sections of the configuration whose keys may be searched
_PROJECT, _CHECKPOINTS = "trials", "checkpoints"

Values = dict[str, Any]  # "section.key" -> value


@dataclass(frozen=True)
class Trial:
    """One combination of hyperparameters.

    Attributes:
      values: of the searched keys.
      score: validation NDCG@10; None if the training failed.
      reason: why it failed; "" if it did not.
    """

    values: Values
    score: float | None
    reason: str = ""


def check(config: Config) -> None:
    """Checks that there is a search space and that all its values are valid.

    Raises:
      UsageError: there is no search space, a key is not in a section that may be searched, or a value is not valid.
    """
    if not config.tuning.space:
        raise UsageError("`tuning.space` is empty: give keys to search, such as {model.dropout: [0.2, 0.5]}")
    for key, choice in config.tuning.space.items():
        section, _, name = key.partition(".")
        if section not in _SECTIONS or name not in type(getattr(config, section)).model_fields:
            raise UsageError(f"`tuning.space` should name keys of {' and '.join(_SECTIONS)}. Received: {key!r}")
        for value in [choice.min, choice.max] if isinstance(choice, RangeConfig) else choice:
            config_loader.with_values(config, {key: value})


def format_values(values: Values) -> str:
    """Values in one line."""
    texts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())


def search(
    config: Config,
    dataset: Dataset,
    directory: str | os.PathLike[str],
    on_update: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Runs `config.tuning.trials` trainings with values of `config.tuning.space`.

    The score of a trial is its best validation NDCG@10 over the whole catalogue. A search that was killed resumes, even
    in the middle of a trial, and reaches the same result. A finished search continues if `trials` is raised.

    Args:
      config: the configuration.
      dataset: with the splits `train` and `validation`.
      directory: where the search saves its state. Every search in this directory should have the same dataset and,
        except for the number of trials, the same configuration.
      on_update: called with a line of progress every few seconds.

    Returns:
      all trials, best first, failed ones last.

    Raises:
      UsageError: see `check`.
      TowersError: no trial succeeded, or no user has validation targets.
    """
    check(config)
    if not int(dataset.splits["validation"].target_count.sum()):
        raise TowersError("tuning needs validation users, and the split has none. Check `data.split`.")
    tuner = _Tuner(config, dataset, Path(directory), on_update or (lambda text: None))
    tuner.search(verbose=0)
    trials = tuner.trials()
    if trials[0].score is None:
        raise TowersError(f"no trial succeeded; the last one: {trials[-1].reason}")
    return trials


class _Tuner(base_tuner.BaseTuner):
    """KerasTuner's loop around `retrieval.training.train`."""

    def __init__(self, config: Config, dataset: Dataset, directory: Path, on_update: Callable[[str], None]) -> None:
        self._config, self._dataset, self._directory, self._on_update = config, dataset, directory, on_update
        settings = config.tuning
        oracle = {
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
            "random": keras_tuner.oracles.RandomSearchOracle,
        }[settings.method](
            objective=keras_tuner.Objective(METRIC, "max"),
            max_trials=settings.trials,
            hyperparameters=_space(config),
            seed=config.seed + 1,  # KerasTuner reads 0 as no seed
            max_consecutive_failed_trials=settings.trials + 1,  # failed trials are part of the result
        )
        super().__init__(oracle, directory=str(directory), project_name=_PROJECT)

    def run_trial(self, trial: Any, *arguments: Any, **named: Any) -> dict[str, float]:
        values = dict(trial.hyperparameters.values)
        number = len(self.oracle.end_order) + 1
        title = f"trial {number}/{self._config.tuning.trials} ({format_values(values)})"
        try:
            with tempfile.TemporaryDirectory() as temporary:  # the models are not needed
                result = retrieval_training.train(
                    config_loader.with_values(self._config, values),
                    self._dataset,
                    Path(temporary, "model"),
                    on_epoch=lambda record: self._on_update(f"{title}: {format_record(record)}"),
                    checkpoints=self._directory / f"{_CHECKPOINTS}_{trial.trial_id}",
                    on_update=lambda text: self._on_update(f"{title}: {text}"),
                )
        except TowersError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        return {METRIC: result[METRIC]}

    def trials(self) -> list[Trial]:
        """All trials, best first, failed ones last."""
        trials = [_trial(trial) for trial in self.oracle.trials.values()]
        return sorted(trials, key=lambda trial: -1.0 if trial.score is None else trial.score, reverse=True)


def _trial(trial: Any) -> Trial:
    """A KerasTuner trial as our `Trial`; a failed trial's reason is the last line of its message."""
    values = dict(trial.hyperparameters.values)
    if trial.status == "COMPLETED":
        return Trial(values, trial.score)
    lines = (trial.message or "").strip().splitlines()
    return Trial(values, None, lines[-1] if lines else trial.status)


def _space(config: Config) -> keras_tuner.HyperParameters:
    """`config.tuning.space` for KerasTuner."""
    space = keras_tuner.HyperParameters()
    for key, choice in config.tuning.space.items():
        if not isinstance(choice, RangeConfig):
            has_mixed_types = len({type(value) for value in choice}) > 1  # integers and floats
            space.Choice(key, [float(value) for value in choice] if has_mixed_types else choice)
            continue
        sampling = "log" if choice.log else "linear"
        add_range = space.Int if isinstance(choice.min, int) and isinstance(choice.max, int) else space.Float
        add_range(key, choice.min, choice.max, sampling=sampling)
    return space
