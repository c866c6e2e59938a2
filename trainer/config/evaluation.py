"""Section `evaluation`: what is measured, and over which candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class EvaluationConfig(StrictModel):
    """What is measured, and over which candidates."""

    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (1, 5, 10, 20, 100), description="list lengths k at which hit rate, recall, NDCG, MRR and MAP are computed"
    )
    list_length: int = Field(
        10, gt=0, description="length of the lists whose coverage, Gini index, novelty, ... are computed"
    )
    example_users: int = Field(
        6, ge=0, description="number of users whose history and recommendations the report shows, texts included"
    )
    candidates: Literal["occurring", "all"] = Field(
        "occurring",
        description="which items are ranked: those that occur in any event of any split, or the whole catalogue",
    )
    with_query: bool = Field(
        False, description="whether the model sees the query of the held-out event when it predicts that event"
    )
    with_timestamp: bool = Field(
        False, description="whether the model sees the time of the held-out event when it predicts that event"
    )
