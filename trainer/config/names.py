"""Names of metrics, baselines and slices: configurations refer to them, evaluation computes them."""

BASELINES = (
    "popularity",
    "recent popularity",
    "own items",
    "item-kNN",
    "matrix factorisation",
    "text neighbours",
)
METRICS = ("hit_rate", "recall", "ndcg", "mrr", "map")  # at each cutoff; defined in `trainer.evaluation.metrics`
# Of the lists of `evaluation.list_length` items; defined in `trainer.evaluation.lists`.
LIST_METRICS = ("coverage", "gini", "novelty", "popularity_lift", "cold_share", "diversity")
# Criteria of slices. History, user and own text are those of a user; popularity and time are those of a held-out event.
BY_HISTORY, BY_USER, BY_TIME = "history", "user", "time"
BY_POPULARITY = "popularity of the item"
BY_OWN_TEXT, BY_LANGUAGE = "own text", "language of own text"


def by_profile(column: str) -> str:
    """The name of the slices by a column of the users table."""
    return f"profile: {column}"


def by_context(column: str) -> str:
    """The name of the slices by a context column."""
    return f"context: {column}"
