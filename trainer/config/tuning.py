"""Section `tuning`: the search for hyperparameters."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from trainer.config.base import StrictModel


class RangeConfig(StrictModel):
    """Numbers from `min` to `max`; whole ones if both are."""

    min: int | float
    max: int | float
    log: bool = Field(False, description="draw as often between 1 and 10 as between 10 and 100")

    @pydantic.model_validator(mode="after")
    def _rising(self) -> RangeConfig:
        if not self.min < self.max or (self.log and self.min <= 0):
            raise ValueError("`min` should be less than `max`, and with `log` more than 0")
        return self


class TuningConfig(StrictModel):
    """What `towers tune` searches."""

    space: dict[str, list[bool] | list[int | float] | list[str] | RangeConfig] = Field(
        default_factory=dict,
        description="`model.KEY` or `retrieval.KEY` -> values to choose from, or a range {min, max, log}",
    )
    trials: int = Field(20, gt=0)
    method: Literal["bayesian", "random"] = "bayesian"
