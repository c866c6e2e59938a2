"""Section `model`: the item tower and the user tower."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class ModelConfig(StrictModel):
    """The item tower and the user tower."""

    dim: int = Field(128, gt=0, description="length of item and user vectors")
    text_dim: int = Field(
        64, gt=0, description="length of whitened text vectors, which keep the directions of the largest variance"
    )
    layers: int = Field(2, ge=1, description="number of transformer blocks in the user tower")
    heads: int = Field(2, ge=1, description="number of attention heads in each block; `dim` should be a multiple")
    max_history: int = Field(50, ge=1, description="number of latest events of a user that the user tower reads")
    dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = Field(
        "auto",
        description="dropout rate in the user tower; `auto`: 0.5 up to 200,000 train events, 0.2 from a million on, "
        "and in between falling with the logarithm of their number",
    )
    id_dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="share of item ids that training replaces by the unknown id, so that text and features suffice for "
        "new items",
    )
    min_id_count: int = Field(
        1,
        ge=0,
        description="number of train events from which an item's id has an embedding of its own; ids with fewer share "
        "that of unknown ids",
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot",
        description="score of a user and an item: dot product or cosine of their vectors; cosine needs a "
        "`retrieval.temperature` near 0.05",
    )
    side_dropout: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of positions at which training hides inputs that may be missing later: text, type, rating "
        "and time gap of events, the query, the time of the request",
    )
    use_item_id: bool = Field(True, description="whether the item tower has embeddings of item ids")
    use_item_text: bool = Field(True, description="whether the item tower reads the items' texts")
    use_item_features: bool = Field(
        True, description="whether the item tower reads categorical, multi-valued, numeric and dense columns"
    )
    use_item_reviews: bool = Field(
        True, description="whether embeddings of item ids start from what users wrote about the item in train events"
    )
    use_item_neighbours: bool = Field(
        True,
        description="whether embeddings of item ids start from the items that users took shortly before and after it "
        "in train events; applies where they do not start from reviews",
    )
    use_event_text: bool = Field(True, description="whether the user tower reads the text of events")
    use_event_features: bool = Field(True, description="whether the user tower reads event types, ratings and times")
    use_query: bool = Field(True, description="whether the user tower reads queries")
    use_context: bool = Field(True, description="whether the user tower reads context columns and user columns")
