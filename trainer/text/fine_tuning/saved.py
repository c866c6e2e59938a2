"""The fine-tuned encoder and its text vectors, as they are saved with a retrieval model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.config import Config
from trainer.data.tables import TextVectors
from trainer.errors import TowersError

ENCODER_DIRECTORY, VECTORS_FILE = "encoder", "text_vectors.npy"  # in the model's directory


def fine_tuned_vectors(config: Config, directory: Path, texts: TextVectors | None) -> TextVectors | None:
    """Text vectors of a model's own encoder; `texts` itself where the encoder was not fine-tuned.

    Args:
      config: the model's.
      directory: the model's.
      texts: as the pipeline encoded them.

    Raises:
      TowersError: the vectors cannot be read, or belong to other texts.
    """
    if config.text.trainable_layers == 0 or texts is None:
        return texts
    path = directory / VECTORS_FILE
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TowersError(f"{path}: cannot be read ({error}). Train again.") from None
    if vectors.shape != texts.vectors.shape:
        raise TowersError(
            f"{path}: has vectors of {len(vectors)} texts, but the dataset has {len(texts.vectors)} texts. Use the "
            "dataset of the run that trained the model."
        )
    return TextVectors(vectors=vectors, encoder=str(directory / ENCODER_DIRECTORY))


def fine_tuned_encoder(config: Config, directory: Path) -> str | None:
    """Directory of the encoder that was fine-tuned with a model; None if it was not fine-tuned."""
    return str(directory / ENCODER_DIRECTORY) if config.text.trainable_layers else None
