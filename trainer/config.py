"""Typed, frozen configuration of one dataset and the model trained on it.

A configuration is one YAML file (see `configs/`). Unknown keys are errors, every default is written here once, and
`Config.to_yaml` echoes the whole of it, defaults included, into each run.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from trainer.evaluation.document import (
    BASELINES,
    BY_HISTORY,
    BY_LANGUAGE,
    BY_OWN_TEXT,
    BY_POPULARITY,
    BY_TIME,
    BY_USER,
    METRICS,
    OF_LISTS,
    by_context,
    by_profile,
)

FEATURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _as_mapping(value: Any) -> Any:
    """`[author, year]` is short for `{author: author, year: year}`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        value = {str(column): column for column in value}
    return value


def _check_feature_names(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not FEATURE_NAME.fullmatch(name):
            raise ValueError(
                f"a feature name should be letters, digits and underscores (it becomes a tensor's name); "
                f"write `feature_name: column`. Received: {name!r}"
            )
    return value


Columns = Annotated[
    dict[str, str],
    pydantic.BeforeValidator(_as_mapping),
    pydantic.AfterValidator(_check_feature_names),
    Field(default_factory=dict, description="feature name -> column in the file; a list means both are the same"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableConfig(_Strict):
    """Where a table lies and how it is written."""

    path: str = Field(description="file, glob or directory; relative to --data")
    format: Literal["csv", "jsonl", "parquet"] | None = Field(None, description="default: from the file's suffix")
    delimiter: str = Field(",", min_length=1, max_length=1)


class InteractionsConfig(TableConfig):
    user_id: str
    item_id: str
    time: str
    time_format: Literal["epoch_seconds", "epoch_milliseconds", "iso8601", "order"]
    event: str | None = Field(None, description="column with the kind of event")
    rating: str | None = None
    missing_rating: float | None = Field(None, description="the number that stands for 'not rated'")
    text: Columns = Field(
        description="what the user wrote with or after the event; joined; never seen when predicting it"
    )
    query: Columns = Field(description="what the user asked before the event; known when predicting it")
    context: Columns = Field(description="categorical columns known at request time (device, place, ...)")


class ItemsConfig(TableConfig):
    item_id: str
    repeats: Literal["none", "first"] = Field(
        "none",
        description="first: rows may name an item again, as in a table of events, and its first row counts; "
        "none: such rows are bad ones",
    )
    text: Columns = Field(description="the first is the title people are shown; all are read by the encoder")
    categorical: Columns
    multi_valued: Columns
    separator: str = Field("|", min_length=1, description="between the values of a multi-valued column")
    numeric: Columns
    dense: Annotated[dict[str, Annotated[int, Field(gt=0)]], pydantic.AfterValidator(_check_feature_names)] = Field(
        default_factory=dict, description="column -> length; a JSON list, or numbers divided by the separator"
    )


class UsersConfig(TableConfig):
    user_id: str
    categorical: Columns
    numeric: Columns


class SplitConfig(_Strict):
    """How events are divided. See the design's section on point in time."""

    kind: Literal["leave_one_out", "time"] = "leave_one_out"
    test: bool = Field(True, description="leave_one_out: false holds out validation alone, for the model that ships")
    validation_from: str | None = Field(None, description="time: first moment of validation, as in the time column")
    test_from: str | None = Field(None, description="time: first moment of test")

    @pydantic.model_validator(mode="after")
    def _dates(self) -> SplitConfig:
        dates = self.validation_from is not None and self.test_from is not None
        if (self.kind == "time") != dates or (
            self.kind == "leave_one_out" and (self.validation_from or self.test_from)
        ):
            raise ValueError(
                "`validation_from` and `test_from` go with kind: time, both of them, and with nothing else"
            )
        return self


class PseudonymiseConfig(_Strict):
    """HMAC-SHA-256 of user and item ids. The key is read where it is needed and never written."""

    key_env: str | None = Field(None, description="environment variable that holds the key")
    key_file: str | None = Field(None, description="file that holds the key")

    @pydantic.model_validator(mode="after")
    def _one(self) -> PseudonymiseConfig:
        if (self.key_env is None) == (self.key_file is None):
            raise ValueError("give exactly one of `key_env` and `key_file`")
        return self


class DataConfig(_Strict):
    interactions: InteractionsConfig
    items: ItemsConfig | None = None
    users: UsersConfig | None = None
    repeats: Literal["earliest", "all"] = Field("earliest", description="of repeated (user, item) pairs")
    exclude_history: bool = Field(True, description="never recommend what the user already has")
    exclude_recent_seconds: int = Field(
        0,
        ge=0,
        description="with exclude_history: false, do not recommend what the user had in the last so many seconds, by "
        "the times of its events: what is bought again is seldom bought twice in one basket",
    )
    split: SplitConfig = SplitConfig()
    max_bad_row_rate: float = Field(0.02, ge=0, le=1)
    pseudonymise: PseudonymiseConfig | None = None
    frozen_schema: str | None = Field(
        None,
        description="directory with sequences.pbtxt and items.pbtxt (a run writes its own to OUT/schema) to hold the "
        "data against, instead of inferring a schema",
    )

    @pydantic.model_validator(mode="after")
    def _recent(self) -> DataConfig:
        if not self.exclude_recent_seconds:
            return self
        if self.exclude_history:
            raise ValueError(
                "`exclude_recent_seconds` goes with `exclude_history: false`: otherwise nothing that the user has is "
                "recommended, however long ago it was"
            )
        if self.interactions.time_format == "order":
            raise ValueError(
                "`exclude_recent_seconds` should be left out with `time_format: order`, in which there are no seconds"
            )
        return self


class TextConfig(_Strict):
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


class ModelConfig(_Strict):
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


class RetrievalConfig(_Strict):
    """Training of the two-tower retrieval model."""

    epochs: int = Field(60, gt=0)
    batch_size: int = Field(128, gt=0, description="user sequences a step, at most")
    batch_events: int = Field(2048, gt=0, description="fewer sequences where they would hold more events")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    average_epochs: float = Field(
        2.0, ge=0, description="weights that are validated and kept are averaged over about so many epochs; 0: the last"
    )
    patience: int = Field(8, gt=0, description="epochs without a better validation NDCG@10, at most")
    patience_steps: int = Field(
        600, gt=0, description="fewer epochs where their steps are more than that together, but two at least"
    )
    max_validation_users: int = Field(50_000, gt=0, description="drawn from the seed where there are more")
    loss: Literal["auto", "full_softmax", "sampled_softmax", "triplet"] = Field(
        "auto", description="auto: full_softmax up to full_softmax_limit items, sampled_softmax above"
    )
    full_softmax_limit: int = Field(50_000, gt=0, description="auto: largest catalogue for the full softmax")
    sampled_negatives: int = Field(
        4096, gt=1, description="candidates of a position: up to half from the batch's own items, the others uniform"
    )
    hard_negatives: int | None = Field(
        None, gt=0, description="sampled_softmax, triplet: only so many, the highest-scoring of those drawn, count"
    )
    popularity_smoothing: float = Field(
        0.4, ge=0, description="full_softmax: items are taken to have so many events more, in shares of the mean"
    )
    window_overlap: float = Field(
        0.2, ge=0, lt=1, description="sequences over max_history: share of a window that repeats the one before"
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="how often the state is kept, so that a killed training goes on from there; 0: never"
    )
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto", description="of matrix products; mixed: half; auto: half where the device has instructions for it"
    )
    distribution: Literal["none", "mirrored", "multi_worker"] = Field(
        "none", description="mirrored: over this machine's GPUs; multi_worker: over the machines in TF_CONFIG"
    )
    temperature: float = Field(1.0, gt=0, description="of the softmax over scores; similarity cosine wants 0.05 or so")

    @pydantic.model_validator(mode="after")
    def _drawn(self) -> RetrievalConfig:
        if self.hard_negatives is not None and self.loss not in ("sampled_softmax", "triplet"):
            raise ValueError(
                "`hard_negatives` are the hardest of those drawn: set `loss` to sampled_softmax or triplet, or leave "
                "`hard_negatives` out"
            )
        return self


class RankingConfig(_Strict):
    """Training of the ranking model on what retrieval returns."""

    enabled: bool = True
    candidates: int = Field(100, gt=1, description="retrieved items that are re-ranked")
    events_per_user: int = Field(3, gt=0, description="last train events of a user that are trained on")
    random_negatives: int = Field(10, ge=0, description="random items in training, beside the retrieved ones")
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(3, gt=0)
    batch_size: int = Field(256, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    max_training_users: int = Field(20_000, gt=0)
    neighbours: int = Field(50, gt=0, description="items kept as going together with each item, and as coming next")
    liked_rating: float = Field(4.0, description="a rating from here on says that the item was liked")


class IndexConfig(_Strict):
    kind: Literal["auto", "scann", "brute_force"] = "auto"
    brute_force_limit: int = Field(20_000, ge=0, description="auto: catalogues up to this size are searched exactly")
    recall_target: float = Field(0.98, gt=0, le=1, description="recall@k against exact search on held-out queries")
    k: int = Field(100, gt=0)


class ServingConfig(_Strict):
    model_name: str = Field("recommender", pattern=r"^[A-Za-z0-9_.-]+$")
    k: int = Field(20, gt=0, description="items in one answer")
    max_history: int = Field(50, ge=1, description="only so many last events of a request are read")
    use_ranking: Literal["auto", "always", "never"] = Field("auto", description="auto: if it wins on validation")
    category: str | None = Field(
        None, description="categorical or multi-valued feature of items; a request may allow some of its values only"
    )
    tokens_per_pass: int = Field(
        64,
        ge=0,
        description="short texts are encoded apart from long ones where that spares more tokens of padding than this; "
        "on a GPU, which hardly notices padding, some thousands",
    )


class EvaluationConfig(_Strict):
    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = (1, 5, 10, 20, 100)
    list_length: int = Field(10, gt=0, description="items of a list that coverage, novelty and the like are about")
    example_users: int = Field(6, ge=0, description="users whose history and lists the report shows, texts included")
    candidates: Literal["occurring", "all"] = Field(
        "occurring", description="rank items that occur in any event, or all"
    )
    with_query: bool = Field(False, description="let evaluation see the query said at the held-out event")
    with_timestamp: bool = Field(False, description="let evaluation see the moment of the held-out event")


class RangeConfig(_Strict):
    """Numbers from `min` to `max`; whole ones if both are."""

    min: int | float
    max: int | float
    log: bool = Field(False, description="draw as often between 1 and 10 as between 10 and 100")

    @pydantic.model_validator(mode="after")
    def _rising(self) -> RangeConfig:
        if not self.min < self.max or (self.log and self.min <= 0):
            raise ValueError("`min` should be less than `max`, and with `log` more than 0")
        return self


class TuningConfig(_Strict):
    """What `towers tune` searches."""

    space: dict[str, list[bool] | list[int | float] | list[str] | RangeConfig] = Field(
        default_factory=dict,
        description="`model.KEY` or `retrieval.KEY` -> values to choose from, or a range {min, max, log}",
    )
    trials: int = Field(20, gt=0)
    method: Literal["bayesian", "random"] = "bayesian"


class GatesConfig(_Strict):
    """What a model has to pass before it is pushed."""

    least: dict[str, float] = Field(
        default_factory=dict, description="metric of what is served (`ndcg@10: 0.05`) -> what it has to reach"
    )
    baselines: tuple[str, ...] = Field(
        ("popularity",), description="a model that is shown to be worse than one of these is refused"
    )
    tolerance: float = Field(
        0.02, ge=0, lt=1, description="share of the last blessed model's figure that may be lost, overall"
    )
    slice_tolerance: float = Field(0.05, ge=0, lt=1, description="the same in each slice")
    slices: tuple[str, ...] = Field(
        (BY_HISTORY, BY_POPULARITY, BY_USER), description="slices, as evaluation.json names them by"
    )
    comparison: Literal["refuse_if_worse", "bless_if_not_worse"] = Field(
        "refuse_if_worse",
        description="with the last blessed model: refuse what is shown to lose more than the tolerance, or bless only "
        "what is shown not to, which takes many users",
    )
    max_users: int = Field(5_000, gt=0, description="held-out users that the last blessed model is asked about")
    index_p99_milliseconds: float | None = Field(None, gt=0, description="of one query, as the index was measured")
    skew_users: int = Field(100, gt=0, description="requests whose answers have to be the batch path's")
    skew_tolerance: float = Field(
        0.02, ge=0, description="by which logits may differ, in shares of a logit beyond 1: both sides round"
    )
    drift: float | None = Field(
        0.3, gt=0, le=1, description="largest Jensen-Shannon divergence of a feature from the last blessed run's"
    )


class StepResources(_Strict):
    cpu: float | None = Field(None, gt=0)
    memory: str | None = Field(None, pattern=r"^\d+(\.\d+)?(K|M|G|T|Ki|Mi|Gi|Ti)$")
    accelerator: str | None = None
    accelerator_count: int = Field(1, gt=0)


class KubeflowConfig(_Strict):
    image: str = "interest-towers:0.1.0"
    pipeline_root: str = "gs://YOUR-BUCKET/interest-towers"
    data_root: str = Field("/data", description="what --data is inside the cluster")
    serving_directory: str | None = Field(
        None,
        description="where versions are pushed: gs://, or a directory mounted into the pusher's step; default: "
        "PIPELINE_ROOT/serving/MODEL_NAME",
    )
    resources: dict[str, StepResources] = Field(default_factory=dict, description="step id, or 'default', -> resources")


class Config(_Strict):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(1, ge=0)
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
    def _cosines(self) -> Config:
        if self.retrieval.loss == "triplet" and self.model.similarity != "cosine":
            raise ValueError(
                "`retrieval.loss` triplet compares cosines: set `model.similarity` to cosine, or another loss"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _category(self) -> Config:
        column, items = self.serving.category, self.data.items
        if column is not None and not (items and column in {**items.categorical, **items.multi_valued}):
            raise ValueError(
                f"`serving.category` should be a feature in `data.items.categorical` or `data.items.multi_valued`. "
                f"Received: {column!r}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _gates(self) -> Config:
        """A misspelt name should not be found out after hours of training."""
        evaluation, interactions, users = self.evaluation, self.data.interactions, self.data.users
        metrics = [f"{name}@{k}" for name in METRICS for k in evaluation.cutoffs]
        metrics += [f"{name}@{evaluation.list_length}" for name in OF_LISTS]
        slices = [BY_HISTORY, BY_POPULARITY, BY_USER]
        slices += [BY_OWN_TEXT, BY_LANGUAGE] if interactions.text else []
        slices += [by_profile(name) for name in ({**users.categorical, **users.numeric} if users else {})]
        slices += [by_context(name) for name in interactions.context]
        slices += [BY_TIME] if interactions.time_format != "order" else []
        for key, received, known in (
            ("least", self.gates.least, metrics),
            ("baselines", self.gates.baselines, BASELINES),
            ("slices", self.gates.slices, slices),
        ):
            unknown = [name for name in received if name not in known]
            if unknown:
                raise ValueError(f"`gates.{key}` should name some of: {', '.join(known)}. Received: {unknown[0]!r}")
        return self

    def to_yaml(self) -> str:
        """The whole configuration, defaults included; `load` of it gives an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def to_json(self) -> str:
        return self.model_dump_json()

    def restricted(self, *sections: str) -> Config:
        """The same with every section but these at its default.

        A pipeline step is given only what it depends on, so that a change elsewhere leaves its cached result valid.
        """
        return Config(
            name=self.name, seed=self.seed, data=self.data, **{name: getattr(self, name) for name in sections}
        )

    @classmethod
    def from_json(cls, text: str) -> Config:
        return cls.model_validate_json(text)
