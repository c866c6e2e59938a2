"""Section `model`: the two towers (trainer/towers)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class ModelConfig(StrictModel):
    """The two towers (trainer/towers)."""

    dim: int = Field(128, gt=0, description="width of item and user vectors")
    text_dim: int = Field(64, gt=0, description="directions of the text vectors that the towers read")
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    max_history: int = Field(50, ge=1)
    dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = Field(
        "auto", description="auto: 0.5 up to 200,000 train events, less the more there are, 0.2 from a million on"
    )
    id_dropout: float = Field(0.3, ge=0, lt=1, description="share of item ids hidden in training, so content is learnt")
    min_id_count: int = Field(1, ge=0, description="ids with fewer train events share one embedding, as unknown ids do")
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="cosine goes with a retrieval.temperature near 0.05"
    )
    side_dropout: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share hidden in training of what stands beside the items and may be missing later: texts, ratings "
        "and gaps of events, queries, request times",
    )
    use_item_id: bool = True
    use_item_text: bool = True
    use_item_features: bool = True
    use_item_reviews: bool = Field(
        True, description="item id embeddings start from what users wrote about the item in training"
    )
    use_item_neighbours: bool = Field(
        True,
        description="where there are no reviews to start from, item id embeddings start from which items users took "
        "around the same time in training",
    )
    use_event_text: bool = True
    use_event_features: bool = Field(True, description="event type, rating, time gaps")
    use_query: bool = True
    use_context: bool = Field(True, description="context and profile columns")
