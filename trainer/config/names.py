"""Names of metrics, baselines and slices: configurations refer to them, evaluation computes them."""

BASELINES = (
    "popularity",
    "recent popularity",
    "own items",
    "item-kNN",
    "matrix factorisation",
    "text neighbours",
)
METRICS = ("hit_rate", "recall", "ndcg", "mrr", "map")  # at each cutoff; `metrics` defines them
LIST_METRICS = ("coverage", "gini", "novelty", "popularity_lift", "cold_share", "diversity")  # `lists` defines them
BY_HISTORY, BY_USER, BY_TIME = "history", "user", "time"  # what slices are by
BY_POPULARITY = "popularity of the item"  # the slices that are about held-out items, and not about users
BY_OWN_TEXT, BY_LANGUAGE = "own text", "language of own text"


def by_profile(column: str) -> str:
    return f"profile: {column}"


def by_context(column: str) -> str:
    return f"context: {column}"
