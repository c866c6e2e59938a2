"""What a recommender answers, as lists of items."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from serving.wire.errors import ServingError


@dataclass(frozen=True)
class Recommendation:
    """An item and why it stands where it does.

    Attributes:
        item_id: the item.
        score: orders the list; 0 in a fallback, where nothing was scored.
        retrieval_score: the two towers', where the model tells it.
        reason_history_position: which event of the request's history weighed most; -1 if none did, or `explain` was not
            asked for. None where the model does not tell.
    """

    item_id: str
    score: float
    retrieval_score: float | None = None
    reason_history_position: int | None = None


class RecommendationList(list[Recommendation]):
    """Best first.

    Attributes:
        version: of the model that answered; None in a fallback.
        failure: what the call ended with, where these are the fallback's items; None where a model answered.
    """

    def __init__(
        self, items: Iterable[Recommendation] = (), version: int | None = None, failure: ServingError | None = None
    ) -> None:
        super().__init__(items)
        self.version = version
        self.failure = failure

    @property
    def is_fallback(self) -> bool:
        """Whether no model answered: these are popular items, the same for everybody."""
        return self.failure is not None


def recommendation_lists(
    outputs: Mapping[str, np.ndarray], batch: int, returned: Callable[[str], str]
) -> list[list[Recommendation]]:
    """Rows of `item_id` and `score`, [B, K] both. `returned` turns the model's ids into the caller's.

    Raises:
        ServingError: FAILED_PRECONDITION: the outputs are no such rows.
    """
    check_outputs(outputs, ("item_id", "score"), batch)
    item_ids = outputs["item_id"]
    if item_ids.dtype != object:
        raise ServingError(
            "FAILED_PRECONDITION", f"output `item_id` should be of strings. It is of {item_ids.dtype.name}"
        )
    columns = [item_ids.tolist(), outputs["score"].tolist()]
    for name in ("retrieval_score", "reason_history_position"):
        columns.append(outputs[name].tolist() if name in outputs else [[None] * len(row) for row in columns[0]])
    try:
        return [
            [
                Recommendation(returned(item_id.decode("utf-8", "replace")), *rest)
                for item_id, *rest in zip(*row, strict=True)
                if item_id  # the model pads with "" where fewer items are allowed
            ]
            for row in zip(*columns, strict=True)
        ]
    except ValueError:  # of zip
        shapes = ", ".join(f"{name} {outputs[name].shape}" for name in sorted(outputs))
        raise ServingError("FAILED_PRECONDITION", f"outputs should be of one shape. Received: {shapes}") from None


def check_outputs(outputs: Mapping[str, np.ndarray], names: tuple[str, ...], batch: int) -> None:
    """Raises ServingError unless all are there, each [batch, columns]."""
    if not all(name in outputs for name in names):
        raise ServingError(
            "FAILED_PRECONDITION",
            f"the signature should return {' and '.join(names)}. It returns: {', '.join(sorted(outputs))}",
        )
    for name in names:
        if outputs[name].ndim != 2 or len(outputs[name]) != batch:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"output `{name}` should have the shape [{batch}, columns]. Received: {outputs[name].shape}",
            )
