"""Artifact types of the pipeline that are not among TFX's standard types.

Kubeflow imports a type's class by the type's name, in which one dot is allowed. The names are therefore
`tfx_pipeline.<class>`, which the package's `__getattr__` resolves.
"""

from tfx.types import artifact


class Quarantine(artifact.Artifact):
    """Rows that cannot be used, as JSON lines, and `counts.json`."""

    TYPE_NAME = "tfx_pipeline.Quarantine"


class TextEmbeddings(artifact.Artifact):
    """Embeddings of all distinct texts of a run: `keys.npy`, `vectors.npy`, `metadata.json`."""

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
    """The verdict of a gate: `verdict.json` (tfx_pipeline.gates.verdict)."""

    TYPE_NAME = "tfx_pipeline.GateVerdict"
