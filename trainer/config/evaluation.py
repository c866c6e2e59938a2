"""Section `evaluation`: what is measured, and over which candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class EvaluationConfig(StrictModel):
    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = (1, 5, 10, 20, 100)
    list_length: int = Field(10, gt=0, description="items of a list that coverage, novelty and the like are about")
    example_users: int = Field(6, ge=0, description="users whose history and lists the report shows, texts included")
    candidates: Literal["occurring", "all"] = Field(
        "occurring", description="rank items that occur in any event, or all"
    )
    with_query: bool = Field(False, description="let evaluation see the query said at the held-out event")
    with_timestamp: bool = Field(False, description="let evaluation see the moment of the held-out event")
