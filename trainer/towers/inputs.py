"""The inputs of the towers and their sizes, from which a tower can be built without the tables."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trainer.config import ModelConfig
from trainer.data.batches import BatchColumns
from trainer.data.tables import ItemTable, SequenceTable, TextVectors
from trainer.towers.clock import period_ends


@dataclass(frozen=True)
class ItemInputs:
    """Sizes of the item tower's inputs. An input that is missing or disabled has size 0 or no entry."""

    items: int  # the catalogue's size n; rows of a matrix of item vectors are 0 (unknown) and 1..n
    text_width: int = 0
    categorical: dict[str, int] = field(default_factory=dict)  # feature -> number of ids, 0 (missing) included
    multi_valued: dict[str, int] = field(default_factory=dict)
    numeric: dict[str, int] = field(default_factory=dict)  # feature -> number of buckets, 0 (missing) included
    dense: dict[str, int] = field(default_factory=dict)  # feature -> width

    @property
    def content(self) -> bool:
        """Whether the tower reads anything but ids."""
        return bool(self.text_width or self.categorical or self.multi_valued or self.numeric or self.dense)


@dataclass(frozen=True)
class UserInputs:
    """Sizes of the user tower's inputs. An input that is missing or disabled has size 0, False or no entry."""

    train_events: int = 0  # number of events in the train split; decides `model.dropout: auto`
    text_width: int = 0  # of texts of events
    events: int = 0  # number of event types, 0 (missing) included
    rating: bool = False
    rating_mean: float = 0.0
    rating_std: float = 1.0
    rating_zero: bool = False  # whether 0 is a rating; otherwise requests use it for a missing one
    clock: bool = False  # whether timestamps are seconds, from which gaps are computed
    periods: tuple[int, ...] = ()  # moments between periods, see `clock.period_ends`
    query_width: int = 0
    context: dict[str, int] = field(default_factory=dict)  # column -> number of ids, 0 (missing) included
    profile: dict[str, int] = field(default_factory=dict)

    @property
    def request(self) -> bool:
        """Whether the tower reads features of a request other than the history and the time."""
        return bool(self.query_width or self.context or self.profile)

    @property
    def columns(self) -> BatchColumns:
        """The columns that batches for the user tower have."""
        return BatchColumns(
            text=bool(self.text_width),
            event=bool(self.events),
            rating=self.rating,
            timestamp=self.clock,
            query=bool(self.query_width),
            context=tuple(self.context),
            profile=tuple(self.profile),
        )


def item_inputs(config: ModelConfig, items: ItemTable, texts: TextVectors | None) -> ItemInputs:
    """The item tower's inputs: those that the table has and the configuration enables."""
    features = config.use_item_features
    reads_text = config.use_item_text and texts is not None and bool((items.text_row >= 0).any())
    return ItemInputs(
        items=len(items),
        text_width=texts.width if reads_text and texts is not None else 0,
        categorical={name: items.sizes[name] for name in sorted(items.categorical)} if features else {},
        multi_valued={name: items.sizes[name] for name in sorted(items.multi_valued)} if features else {},
        numeric={name: items.sizes[name] for name in sorted(items.bucketed)} if features else {},
        dense={name: items.dense[name].shape[1] for name in sorted(items.dense)} if features else {},
    )


def user_inputs(config: ModelConfig, train: SequenceTable, texts: TextVectors | None, clock: bool) -> UserInputs:
    """The user tower's inputs: those that the train split has and the configuration enables.

    Args:
      clock: whether timestamps are seconds; numbers that only order events are not read.
    """
    width = texts.width if texts is not None else 0
    reads_text = config.use_event_text and train.text_row is not None and bool((train.text_row >= 0).any())
    reads_query = config.use_query and train.query_row is not None and bool((train.query_row >= 0).any())
    reads_rating = config.use_event_features and train.rating is not None
    return UserInputs(
        train_events=len(train.item),
        text_width=width if reads_text else 0,
        events=train.sizes["event"] if config.use_event_features and train.event is not None else 0,
        rating=reads_rating,
        rating_mean=float(train.rating_mean) if reads_rating else 0.0,
        rating_std=float(train.rating_std) if reads_rating else 1.0,
        rating_zero=train.rating is not None and reads_rating and bool((train.rating == 0).any()),
        clock=clock and config.use_event_features,
        periods=period_ends(train.timestamp) if clock and config.use_event_features else (),
        query_width=width if reads_query else 0,
        context={name: train.sizes[f"context_{name}"] for name in sorted(train.context)} if config.use_context else {},
        profile={name: train.sizes[f"profile_{name}"] for name in sorted(train.profile)} if config.use_context else {},
    )


def as_dict(inputs: ItemInputs | UserInputs) -> dict[str, Any]:
    """The sizes as JSON can hold them; `ItemInputs(**sizes)` and `UserInputs(**sizes)` restore them."""
    return dataclasses.asdict(inputs)
