"""Artifact types of this pipeline that TFX has no standard type for."""

from tfx.types import artifact


class Quarantine(artifact.Artifact):
    """Rows that could not be used, as JSON lines, and `counts.json`."""

    TYPE_NAME = "Quarantine"


class TextEmbeddings(artifact.Artifact):
    """Vectors of every distinct text of a run: `keys.npy`, `vectors.npy`, `metadata.json`."""

    TYPE_NAME = "TextEmbeddings"


class Towers(artifact.Artifact):
    """A trained retrieval model (trainer.retrieval)."""

    TYPE_NAME = "Towers"


class Ranker(artifact.Artifact):
    """A trained ranking model (trainer.ranking)."""

    TYPE_NAME = "Ranker"


class VectorIndex(artifact.Artifact):
    """An index over the catalogue's vectors with its measured recall and latency (trainer.index)."""

    TYPE_NAME = "VectorIndex"
