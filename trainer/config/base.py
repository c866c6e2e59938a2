"""Base class of all sections of a configuration, and the type of keys that name columns."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

FEATURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _as_mapping(value: Any) -> Any:
    """`[author, year]` is short for `{author: author, year: year}`, and `author` for `[author]`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        value = {str(column): column for column in value}
    return value


def check_feature_names(value: dict[str, Any]) -> dict[str, Any]:
    """Returns the mapping if its keys can be names of features.

    Raises:
      ValueError: a key cannot be the name of a feature.
    """
    for name in value:
        if not FEATURE_NAME.fullmatch(name):
            raise ValueError(
                f"a feature name should begin with a letter and hold letters, digits and underscores, because it "
                f"becomes a tensor's name; write `feature_name: column`. Received: {name!r}"
            )
    return value


# Feature name -> column in the file. YAML may also give a list of columns: each then names its feature too.
Columns = Annotated[
    dict[str, str],
    pydantic.BeforeValidator(_as_mapping),
    pydantic.AfterValidator(check_feature_names),
    Field(default_factory=dict),
]


class StrictModel(BaseModel):
    """A section: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
