"""What the sections of a configuration have in common: strict models, and columns by feature name."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

FEATURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _as_mapping(value: Any) -> Any:
    """`[author, year]` is short for `{author: author, year: year}`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        value = {str(column): column for column in value}
    return value


def check_feature_names(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not FEATURE_NAME.fullmatch(name):
            raise ValueError(
                f"a feature name should be letters, digits and underscores (it becomes a tensor's name); "
                f"write `feature_name: column`. Received: {name!r}"
            )
    return value


Columns = Annotated[
    dict[str, str],
    pydantic.BeforeValidator(_as_mapping),
    pydantic.AfterValidator(check_feature_names),
    Field(default_factory=dict, description="feature name -> column in the file; a list means both are the same"),
]


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
