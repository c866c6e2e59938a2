"""Section `text`: the text encoder, its fine-tuning, and the store of embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class TextConfig(StrictModel):
    """The text encoder, its fine-tuning, and the store of embeddings."""

    encoder: str = Field(
        "all-MiniLM-L6-v2",
        description="the text encoder: `all-MiniLM-L6-v2`, a directory with a BERT model, or the name of a KerasNLP "
        "preset",
    )
    max_tokens: int = Field(128, ge=8, le=512, description="number of tokens after which a text is cut")
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto", description="precision of matrix products while the pipeline encodes texts; as `retrieval.precision`"
    )
    tokens_per_batch: int = Field(
        4096, gt=0, description="largest number of tokens in a batch while the pipeline encodes texts"
    )
    trainable_layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0,
        description="number of BERT's top layers that are fine-tuned with the towers; `all`: all layers and BERT's "
        "embeddings; 0: none",
    )
    learning_rate: float = Field(2e-5, gt=0, description="learning rate of the fine-tuned layers")
    tokens_per_step: int = Field(
        8192, gt=0, description="largest number of tokens that a training step encodes while layers are fine-tuned"
    )
    store: str | None = Field(
        None, description="directory of the store of text embeddings, which runs share; by default `OUT/text_store`"
    )
