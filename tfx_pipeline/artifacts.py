"""Artifact types of this pipeline that TFX has no standard type for.

On Kubeflow a type's name is the path its class is imported from, and may hold one dot: hence `tfx_pipeline.<class>`,
which the package's `__getattr__` resolves.
"""

from tfx.types import artifact


class Quarantine(artifact.Artifact):
    """Rows that could not be used, as JSON lines, and `counts.json`."""

    TYPE_NAME = "tfx_pipeline.Quarantine"


class TextEmbeddings(artifact.Artifact):
    """Vectors of every distinct text of a run: `keys.npy`, `vectors.npy`, `metadata.json`."""

    TYPE_NAME = "tfx_pipeline.TextEmbeddings"


class Towers(artifact.Artifact):
    """A trained retrieval model (trainer.retrieval.model)."""

    TYPE_NAME = "tfx_pipeline.Towers"


class Ranker(artifact.Artifact):
    """A trained ranking model (trainer.ranking.model)."""

    TYPE_NAME = "tfx_pipeline.Ranker"


class VectorIndex(artifact.Artifact):
    """An index over the catalogue's vectors with its measured recall and latency (trainer.index)."""

    TYPE_NAME = "tfx_pipeline.VectorIndex"


class GateVerdict(artifact.Artifact):
    """What a gate found: `verdict.json` (tfx_pipeline.gates.verdict)."""

    TYPE_NAME = "tfx_pipeline.GateVerdict"
