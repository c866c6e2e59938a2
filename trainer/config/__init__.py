"""The configuration of one dataset and the model trained on it: typed, immutable, one module for each section.

A configuration is one YAML file (see `configs/`); `loader` reads it. Unknown keys are errors. Each run stores its whole
configuration, defaults included (`Config.to_yaml`). The guide's reference of keys is made from the descriptions.
"""

from trainer.config.base import FEATURE_NAME, Columns
from trainer.config.data import (
    DataConfig,
    InteractionsConfig,
    ItemsConfig,
    PseudonymiseConfig,
    SplitConfig,
    TableConfig,
    UsersConfig,
)
from trainer.config.evaluation import EvaluationConfig
from trainer.config.gates import GatesConfig
from trainer.config.index import IndexConfig
from trainer.config.kubeflow import KubeflowConfig, StepResources
from trainer.config.model import ModelConfig
from trainer.config.ranking import RankingConfig
from trainer.config.retrieval import RetrievalConfig
from trainer.config.schema import Config
from trainer.config.serving import ServingConfig
from trainer.config.text import TextConfig
from trainer.config.tuning import RangeConfig, TuningConfig

__all__ = [
    "FEATURE_NAME",
    "Columns",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "GatesConfig",
    "IndexConfig",
    "InteractionsConfig",
    "ItemsConfig",
    "KubeflowConfig",
    "ModelConfig",
    "PseudonymiseConfig",
    "RangeConfig",
    "RankingConfig",
    "RetrievalConfig",
    "ServingConfig",
    "SplitConfig",
    "StepResources",
    "TableConfig",
    "TextConfig",
    "TuningConfig",
    "UsersConfig",
]
