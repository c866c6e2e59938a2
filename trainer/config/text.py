"""Section `text`: the text encoder, its training, and the store of embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import StrictModel


class TextConfig(StrictModel):
    encoder: str = Field("all-MiniLM-L6-v2", description="that name, a BERT directory, or a KerasNLP preset")
    max_tokens: int = Field(128, ge=8, le=512)
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto", description="in which the pipeline encodes texts; as retrieval.precision"
    )
    tokens_per_batch: int = Field(4096, gt=0, description="a batch of texts holds at most this many tokens")
    trainable_layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0, description="BERT's top layers that are trained with the towers; all: its embeddings too; 0: none, frozen"
    )
    learning_rate: float = Field(2e-5, gt=0, description="of the trainable layers")
    tokens_per_step: int = Field(
        8192, gt=0, description="with trainable layers, a training step encodes at most this many tokens"
    )
    store: str | None = Field(None, description="directory of the embedding store; default: OUT/text_store")
