"""Which inputs the towers have and how large they are: all that is needed to build a tower without the tables."""

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
    """Sizes of the item tower's inputs. An input that is absent or switched off has size 0 or no entry."""

    items: int  # the catalogue's size n; rows of a matrix of item vectors are 0 (unknown) and 1..n
    text_width: int = 0
    categorical: dict[str, int] = field(default_factory=dict)  # feature -> number of ids, 0 (missing) included
    multi_valued: dict[str, int] = field(default_factory=dict)
    numeric: dict[str, int] = field(default_factory=dict)  # feature -> number of buckets, 0 (missing) included
    dense: dict[str, int] = field(default_factory=dict)  # feature -> width

    @property
    def content(self) -> bool:
        """Whether anything is known of an item apart from its id."""
        return bool(self.text_width or self.categorical or self.multi_valued or self.numeric or self.dense)


@dataclass(frozen=True)
class UserInputs:
    """Sizes of the user tower's inputs. An input that is absent or switched off has size 0, False or no entry."""

    train_events: int = 0  # how many the train split holds: what `model.dropout: auto` goes by
    text_width: int = 0  # of what the user wrote with an event
    events: int = 0  # kinds of event, 0 (missing) included
    rating: bool = False
    rating_mean: float = 0.0
    rating_std: float = 1.0
    rating_zero: bool = False  # 0 is a rating like others, and not the lack of one
    clock: bool = False  # timestamps are seconds, so gaps between them mean something
    periods: tuple[int, ...] = ()  # moments that cut the train split's time into periods, see `clock.period_ends`
    query_width: int = 0
    context: dict[str, int] = field(default_factory=dict)  # column -> number of ids, 0 (missing) included
    profile: dict[str, int] = field(default_factory=dict)

    @property
    def request(self) -> bool:
        """Whether anything is known of a request apart from the history and the time."""
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
    """The item tower's inputs: those that the table has and the configuration wants."""
    features = config.use_item_features
    read = config.use_item_text and texts is not None and bool((items.text_row >= 0).any())
    return ItemInputs(
        items=len(items),
        text_width=texts.width if read and texts is not None else 0,
        categorical={name: items.sizes[name] for name in sorted(items.categorical)} if features else {},
        multi_valued={name: items.sizes[name] for name in sorted(items.multi_valued)} if features else {},
        numeric={name: items.sizes[name] for name in sorted(items.bucketed)} if features else {},
        dense={name: items.dense[name].shape[1] for name in sorted(items.dense)} if features else {},
    )


def user_inputs(config: ModelConfig, train: SequenceTable, texts: TextVectors | None, clock: bool) -> UserInputs:
    """The user tower's inputs: those that the train split has and the configuration wants.

    Args:
      clock: whether timestamps are seconds (and not order numbers, from which nothing may be derived).
    """
    width = texts.width if texts is not None else 0
    wrote = config.use_event_text and train.text_row is not None and bool((train.text_row >= 0).any())
    asked = config.use_query and train.query_row is not None and bool((train.query_row >= 0).any())
    rated = config.use_event_features and train.rating is not None
    return UserInputs(
        train_events=len(train.item),
        text_width=width if wrote else 0,
        events=train.sizes["event"] if config.use_event_features and train.event is not None else 0,
        rating=rated,
        rating_mean=float(train.rating_mean) if rated else 0.0,
        rating_std=float(train.rating_std) if rated else 1.0,
        rating_zero=train.rating is not None and rated and bool((train.rating == 0).any()),
        clock=clock and config.use_event_features,
        periods=period_ends(train.timestamp) if clock and config.use_event_features else (),
        query_width=width if asked else 0,
        context={name: train.sizes[f"context_{name}"] for name in sorted(train.context)} if config.use_context else {},
        profile={name: train.sizes[f"profile_{name}"] for name in sorted(train.profile)} if config.use_context else {},
    )


def as_dict(inputs: ItemInputs | UserInputs) -> dict[str, Any]:
    return dataclasses.asdict(inputs)
