"""Names and kinds of the features that ingestion writes, Transform reads and the towers consume.

All of them are derived from the dataset's configuration, so that no step needs a list of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainer.config import DataConfig

Kind = Literal["bytes", "int", "float"]

TEXT_FEATURES = ("text", "query")  # the features that the text encoder reads
NUM_BUCKETS = 16  # quantile buckets of a numeric column; ids 1..16, 0 = missing


@dataclass(frozen=True)
class Feature:
    """One feature of a raw example.

    Attributes:
      name: key in the tf.Example.
      kind: type of its values.
      scalar: exactly one value; otherwise a list of any length.
    """

    name: str
    kind: Kind
    scalar: bool = False

    @property
    def is_bucketed(self) -> bool:
        """Whether Transform replaces its values by exactly one bucket id, which is 0 for a missing number."""
        return self.kind == "float" and self.name.startswith(("profile_", "numeric_"))

    @property
    def transformed_key(self) -> str:
        """Its key in a transformed tf.Example. TFT writes the values of a ragged tensor under another name."""
        return self.name if self.scalar or self.is_bucketed else f"{self.name}$ragged_values"


def sequence_features(data: DataConfig) -> list[Feature]:
    """Features of a user's example. Lists are aligned: each has one value for every event."""
    features = [
        Feature("user_id", "bytes", scalar=True),
        Feature("target_count", "int", scalar=True),
        Feature("item_id", "bytes"),
        Feature("timestamp", "int"),
    ]
    return features + interaction_features(data) + profile_features(data)


def interaction_features(data: DataConfig) -> list[Feature]:
    """Features of a user's example that come from columns of the interactions table, beside ids and time."""
    interactions = data.interactions
    features = []
    if interactions.event is not None:
        features.append(Feature("event", "bytes"))
    if interactions.rating is not None:
        features.append(Feature("rating", "float"))
    if interactions.text:
        features.append(Feature("text", "bytes"))
    if interactions.query:
        features.append(Feature("query", "bytes"))
    return features + [Feature(f"context_{name}", "bytes") for name in interactions.context]


def profile_features(data: DataConfig) -> list[Feature]:
    """Features of a user's example that come from the users table."""
    if data.users is None:
        return []
    features = [Feature(f"profile_{name}", "bytes", scalar=True) for name in data.users.categorical]
    return features + [Feature(f"profile_{name}", "float") for name in data.users.numeric]


def item_features(data: DataConfig) -> list[Feature]:
    """Features of an item's example."""
    features = [
        Feature("item_id", "bytes", scalar=True),
        Feature("title", "bytes", scalar=True),
        Feature("text", "bytes", scalar=True),
        Feature("train_count", "int", scalar=True),
        Feature("occurs", "int", scalar=True),
    ]
    return features + item_column_features(data)


def item_column_features(data: DataConfig) -> list[Feature]:
    """Features of an item's example that come from columns of the items table, beside id and text."""
    if data.items is None:
        return []
    features = [Feature(f"categorical_{name}", "bytes", scalar=True) for name in data.items.categorical]
    features += [Feature(f"multi_valued_{name}", "bytes") for name in data.items.multi_valued]
    features += [Feature(f"numeric_{name}", "float") for name in data.items.numeric]
    return features + [Feature(f"dense_{name}", "float") for name in data.items.dense]


def has_clock(data: DataConfig) -> bool:
    """Whether timestamps are seconds since 1970. If not, they only order events."""
    return data.interactions.time_format != "order"
