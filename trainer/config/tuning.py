"""Section `tuning`: the search for hyperparameters."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from trainer.config.base import StrictModel


class RangeConfig(StrictModel):
    """Numbers from `min` to `max`; integers if both are integers."""

    min: int | float = Field(description="smallest value")
    max: int | float = Field(description="largest value")
    log: bool = Field(
        False, description="whether values are drawn on a logarithmic scale: as many from 1 to 10 as from 10 to 100"
    )

    @pydantic.model_validator(mode="after")
    def _check_order(self) -> RangeConfig:
        if not self.min < self.max or (self.log and self.min <= 0):
            raise ValueError("`min` should be less than `max`, and with `log: true` more than 0")
        return self


class TuningConfig(StrictModel):
    """The search for hyperparameters by `towers tune`."""

    space: dict[str, list[bool] | list[int | float] | list[str] | RangeConfig] = Field(
        default_factory=dict,
        description="hyperparameters to search, `model.KEY` or `retrieval.KEY`, each with a list of values or a range "
        "`{min, max, log}`",
    )
    trials: int = Field(20, gt=0, description="number of trainings")
    method: Literal["bayesian", "random"] = Field(
        "bayesian",
        description="how the next trial's values are chosen: `bayesian`: from the results so far; `random`: at random",
    )
