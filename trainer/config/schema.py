"""The whole configuration of one dataset and the model trained on it."""

from __future__ import annotations

import pydantic
import yaml
from pydantic import Field

from trainer.config.base import StrictModel
from trainer.config.data import DataConfig
from trainer.config.evaluation import EvaluationConfig
from trainer.config.gates import GatesConfig
from trainer.config.index import IndexConfig
from trainer.config.kubeflow import KubeflowConfig
from trainer.config.model import ModelConfig
from trainer.config.names import (
    BASELINES,
    BY_HISTORY,
    BY_LANGUAGE,
    BY_OWN_TEXT,
    BY_POPULARITY,
    BY_TIME,
    BY_USER,
    LIST_METRICS,
    METRICS,
    by_context,
    by_profile,
)
from trainer.config.ranking import RankingConfig
from trainer.config.retrieval import RetrievalConfig
from trainer.config.serving import ServingConfig
from trainer.config.text import TextConfig
from trainer.config.tuning import TuningConfig


class Config(StrictModel):
    """The whole configuration of one dataset and the model trained on it."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description="name of the dataset: lower-case letters, digits and underscores; by default its runs are in "
        "`runs/NAME`",
    )
    seed: int = Field(1, ge=0, description="seed of all random numbers: the same seed repeats a run")
    data: DataConfig
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    ranking: RankingConfig = RankingConfig()
    index: IndexConfig = IndexConfig()
    serving: ServingConfig = ServingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    tuning: TuningConfig = TuningConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @pydantic.model_validator(mode="after")
    def _check_triplet_loss(self) -> Config:
        if self.retrieval.loss == "triplet" and self.model.similarity != "cosine":
            raise ValueError(
                "`retrieval.loss: triplet` is a loss of cosines: set `model.similarity` to cosine, or another "
                "`retrieval.loss`"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _check_category(self) -> Config:
        column, items = self.serving.category, self.data.items
        if column is not None and not (items and column in {**items.categorical, **items.multi_valued}):
            raise ValueError(
                f"`serving.category` should be a feature in `data.items.categorical` or `data.items.multi_valued`. "
                f"Received: {column!r}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _check_gates(self) -> Config:
        """Checks the names in `gates`: otherwise a misspelt one would be reported only after hours of training."""
        evaluation, interactions, users = self.evaluation, self.data.interactions, self.data.users
        metrics = [f"{name}@{k}" for name in METRICS for k in evaluation.cutoffs]
        metrics += [f"{name}@{evaluation.list_length}" for name in LIST_METRICS]
        slices = [BY_HISTORY, BY_POPULARITY, BY_USER]
        slices += [BY_OWN_TEXT, BY_LANGUAGE] if interactions.text else []
        slices += [by_profile(name) for name in ({**users.categorical, **users.numeric} if users else {})]
        slices += [by_context(name) for name in interactions.context]
        slices += [BY_TIME] if interactions.time_format != "order" else []
        for key, names, known in (
            ("least", self.gates.least, metrics),
            ("baselines", self.gates.baselines, BASELINES),
            ("slices", self.gates.slices, slices),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(
                    f"every name in `gates.{key}` should be one of: {', '.join(known)}. Received: {unknown[0]!r}"
                )
        return self

    def to_yaml(self) -> str:
        """The configuration as YAML, defaults included; `loader.load` reads an equal one from it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def to_json(self) -> str:
        return self.model_dump_json()

    def restricted(self, *sections: str) -> Config:
        """A copy with `data` and the named sections. All other sections have their defaults.

        A pipeline step receives only the sections that it reads. Its cached result then stays valid if others change.
        """
        return Config(
            name=self.name, seed=self.seed, data=self.data, **{name: getattr(self, name) for name in sections}
        )

    @classmethod
    def from_json(cls, text: str) -> Config:
        return cls.model_validate_json(text)
