"""Section `data`: the tables, their columns, and how events are divided."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from trainer.config.base import Columns, StrictModel, check_feature_names


class TableConfig(StrictModel):
    """Where a table lies and how it is written."""

    path: str = Field(description="file, glob or directory; relative to --data")
    format: Literal["csv", "jsonl", "parquet"] | None = Field(None, description="default: from the file's suffix")
    delimiter: str = Field(",", min_length=1, max_length=1)


class InteractionsConfig(TableConfig):
    user_id: str
    item_id: str
    time: str
    time_format: Literal["epoch_seconds", "epoch_milliseconds", "iso8601", "order"]
    event: str | None = Field(None, description="column with the kind of event")
    rating: str | None = None
    missing_rating: float | None = Field(None, description="the number that stands for 'not rated'")
    text: Columns = Field(
        description="what the user wrote with or after the event; joined; never seen when predicting it"
    )
    query: Columns = Field(description="what the user asked before the event; known when predicting it")
    context: Columns = Field(description="categorical columns known at request time (device, place, ...)")


class ItemsConfig(TableConfig):
    item_id: str
    repeats: Literal["none", "first"] = Field(
        "none",
        description="first: rows may name an item again, as in a table of events, and its first row counts; "
        "none: such rows are bad ones",
    )
    text: Columns = Field(description="the first is the title people are shown; all are read by the encoder")
    categorical: Columns
    multi_valued: Columns
    separator: str = Field("|", min_length=1, description="between the values of a multi-valued column")
    numeric: Columns
    dense: Annotated[dict[str, Annotated[int, Field(gt=0)]], pydantic.AfterValidator(check_feature_names)] = Field(
        default_factory=dict, description="column -> length; a JSON list, or numbers divided by the separator"
    )


class UsersConfig(TableConfig):
    user_id: str
    categorical: Columns
    numeric: Columns


class SplitConfig(StrictModel):
    """How events are divided. See the design's section on point in time."""

    kind: Literal["leave_one_out", "time"] = "leave_one_out"
    test: bool = Field(True, description="leave_one_out: false holds out validation alone, for the model that ships")
    validation_from: str | None = Field(None, description="time: first moment of validation, as in the time column")
    test_from: str | None = Field(None, description="time: first moment of test")

    @pydantic.model_validator(mode="after")
    def _dates(self) -> SplitConfig:
        dates = self.validation_from is not None and self.test_from is not None
        if (self.kind == "time") != dates or (
            self.kind == "leave_one_out" and (self.validation_from or self.test_from)
        ):
            raise ValueError(
                "`validation_from` and `test_from` go with kind: time, both of them, and with nothing else"
            )
        return self


class PseudonymiseConfig(StrictModel):
    """HMAC-SHA-256 of user and item ids. The key is read where it is needed and never written."""

    key_env: str | None = Field(None, description="environment variable that holds the key")
    key_file: str | None = Field(None, description="file that holds the key")

    @pydantic.model_validator(mode="after")
    def _one(self) -> PseudonymiseConfig:
        if (self.key_env is None) == (self.key_file is None):
            raise ValueError("give exactly one of `key_env` and `key_file`")
        return self


class DataConfig(StrictModel):
    interactions: InteractionsConfig
    items: ItemsConfig | None = None
    users: UsersConfig | None = None
    repeats: Literal["earliest", "all"] = Field("earliest", description="of repeated (user, item) pairs")
    exclude_history: bool = Field(True, description="never recommend what the user already has")
    exclude_recent_seconds: int = Field(
        0,
        ge=0,
        description="with exclude_history: false, do not recommend what the user had in the last so many seconds, by "
        "the times of its events: what is bought again is seldom bought twice in one basket",
    )
    split: SplitConfig = SplitConfig()
    max_bad_row_rate: float = Field(0.02, ge=0, le=1)
    pseudonymise: PseudonymiseConfig | None = None
    frozen_schema: str | None = Field(
        None,
        description="directory with sequences.pbtxt and items.pbtxt (a run writes its own to OUT/schema) to hold the "
        "data against, instead of inferring a schema",
    )

    @pydantic.model_validator(mode="after")
    def _recent(self) -> DataConfig:
        if not self.exclude_recent_seconds:
            return self
        if self.exclude_history:
            raise ValueError(
                "`exclude_recent_seconds` goes with `exclude_history: false`: otherwise nothing that the user has is "
                "recommended, however long ago it was"
            )
        if self.interactions.time_format == "order":
            raise ValueError(
                "`exclude_recent_seconds` should be left out with `time_format: order`, in which there are no seconds"
            )
        return self
