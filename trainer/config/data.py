"""Section `data`: the tables, their columns, and how events are split."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from trainer.config.base import Columns, StrictModel, check_feature_names


class TableConfig(StrictModel):
    """A table's files and their format."""

    path: str = Field(description="file, glob or directory of the table; relative to `--data`")
    format: Literal["csv", "jsonl", "parquet"] | None = Field(
        None, description="format of the files; by default from their suffix"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="character between the columns of a CSV file")


class InteractionsConfig(TableConfig):
    """The table of interactions: one row for each event of a user with an item."""

    user_id: str = Field(description="column with the user's id")
    item_id: str = Field(description="column with the item's id")
    time: str = Field(description="column with the event's time, or its place in the order of events")
    time_format: Literal["epoch_seconds", "epoch_milliseconds", "iso8601", "order"] = Field(
        description="how the time is written: seconds or milliseconds since 1970 (UTC), ISO 8601, or `order`, a whole "
        "number that orders events without being a time"
    )
    event: str | None = Field(None, description="column with the event's type (view, purchase, ...)")
    rating: str | None = Field(None, description="column with the user's rating of the item, a number")
    missing_rating: float | None = Field(None, description="number in the rating column that means 'not rated'")
    text: Columns = Field(
        description="columns with what the user wrote with or after the event (a review, a comment, tags), joined to "
        "one text; never used to predict this event, only later ones"
    )
    query: Columns = Field(
        description="columns with what the user asked before the event, joined to one text; used to predict this event"
    )
    context: Columns = Field(
        description="categorical columns that are known before the event and sent with a request (device, place, ...)"
    )


class ItemsConfig(TableConfig):
    """The table of items: one row for each item."""

    item_id: str = Field(description="column with the item's id")
    repeats: Literal["none", "first"] = Field(
        "none",
        description="rows with an item id that an earlier row has: `none`: they are bad rows; `first`: they are "
        "allowed, as in a table of events, and the first row of an item is used",
    )
    text: Columns = Field(
        description="text columns, all read by the text encoder; the first is the title that people are shown"
    )
    categorical: Columns = Field(description="columns with one category")
    multi_valued: Columns = Field(description="columns with any number of categories, divided by `separator`")
    separator: str = Field("|", min_length=1, description="text between the values of a multi-valued or dense column")
    numeric: Columns = Field(description="columns with a number; they are read as 16 quantile buckets")
    dense: Annotated[dict[str, Annotated[int, Field(gt=0)]], pydantic.AfterValidator(check_feature_names)] = Field(
        default_factory=dict,
        description="columns with a vector, each with the vector's length; written as a JSON list, or as numbers "
        "divided by `separator`",
    )


class UsersConfig(TableConfig):
    """The table of users: one row for each user."""

    user_id: str = Field(description="column with the user's id")
    categorical: Columns = Field(description="columns with one category (language, region, ...)")
    numeric: Columns = Field(description="columns with a number; they are read as 16 quantile buckets")


class SplitConfig(StrictModel):
    """How events are split into train, validation and test."""

    kind: Literal["leave_one_out", "time"] = Field(
        "leave_one_out",
        description="`leave_one_out`: each user's last event is test, the one before validation, the rest train; "
        "`time`: events are split at two moments",
    )
    test: bool = Field(
        True,
        description="for `leave_one_out`: false holds out validation only, each user's last event; for the model that "
        "ships",
    )
    validation_from: str | None = Field(
        None, description="for `time`: moment at which validation begins, written as in the time column"
    )
    test_from: str | None = Field(
        None, description="for `time`: moment at which validation ends and test begins, written as in the time column"
    )

    @pydantic.model_validator(mode="after")
    def _check_dates(self) -> SplitConfig:
        dates = self.validation_from is not None and self.test_from is not None
        if (self.kind == "time") != dates or (
            self.kind == "leave_one_out" and (self.validation_from or self.test_from)
        ):
            raise ValueError(
                "`validation_from` and `test_from` should both be set with `kind: time`, and neither with another kind"
            )
        return self


class PseudonymiseConfig(StrictModel):
    """Replaces user and item ids by their HMAC-SHA-256. The key is read where it is needed and never written."""

    key_env: str | None = Field(None, description="environment variable that holds the key")
    key_file: str | None = Field(None, description="file that holds the key")

    @pydantic.model_validator(mode="after")
    def _check_one_key(self) -> PseudonymiseConfig:
        if (self.key_env is None) == (self.key_file is None):
            raise ValueError("exactly one of `key_env` and `key_file` should be set")
        return self


class DataConfig(StrictModel):
    """The tables, their columns, and how events are split."""

    interactions: InteractionsConfig
    items: ItemsConfig | None = None
    users: UsersConfig | None = None
    repeats: Literal["earliest", "all"] = Field(
        "earliest",
        description="which events of a user with the same item are used: the earliest, or all",
    )
    exclude_history: bool = Field(True, description="whether items that the user already has are never recommended")
    exclude_recent_seconds: int = Field(
        0,
        ge=0,
        description="with `exclude_history: false`: items of the user's events in the last N seconds are not "
        "recommended: people who buy an item again rarely buy it twice in one basket; 0: no item is excluded",
    )
    split: SplitConfig = SplitConfig()
    max_bad_row_rate: float = Field(
        0.02, ge=0, le=1, description="share of a table's rows that may be unusable; a run with more stops"
    )
    pseudonymise: PseudonymiseConfig | None = None
    frozen_schema: str | None = Field(
        None,
        description="directory with `sequences.pbtxt` and `items.pbtxt` to validate the data against, such as an "
        "earlier run's `OUT/schema`; by default the schema is inferred from the data",
    )

    @pydantic.model_validator(mode="after")
    def _check_exclusions(self) -> DataConfig:
        if not self.exclude_recent_seconds:
            return self
        if self.exclude_history:
            raise ValueError(
                "`exclude_recent_seconds` should be set with `exclude_history: false` only: otherwise every item that "
                "the user has is excluded already"
            )
        if self.interactions.time_format == "order":
            raise ValueError(
                "`exclude_recent_seconds` should be left out with `time_format: order`, which has no seconds"
            )
        return self
