"""Lists of recommended items, from the outputs of a recommender."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from serving.wire.errors import ServingError


@dataclass(frozen=True)
class Recommendation:
    """A recommended item.

    Attributes:
        item_id: the item.
        score: the list is ordered by it, unless the request sets `diversity`; 0 in a fallback, which has no scores.
        retrieval_score: the dot product of the two towers' vectors; None if the signature does not return it.
        reason_history_position: position of the event of the request's history that raised the retrieval score most;
            -1 if none did, or the request did not set `explain`. None if the signature does not return it.
    """

    item_id: str
    score: float
    retrieval_score: float | None = None
    reason_history_position: int | None = None


class RecommendationList(list[Recommendation]):
    """Recommended items, best first.

    Attributes:
        version: the version of the model that answered; None in a fallback.
        failure: the error because of which the fallback answered; None if a model answered.
    """

    def __init__(
        self, items: Iterable[Recommendation] = (), version: int | None = None, failure: ServingError | None = None
    ) -> None:
        super().__init__(items)
        self.version = version
        self.failure = failure

    @property
    def is_fallback(self) -> bool:
        """Whether no model answered: the items are then popular items, not chosen for this user."""
        return self.failure is not None


def recommendation_lists(
    outputs: Mapping[str, np.ndarray], batch: int, caller_id: Callable[[str], str]
) -> list[list[Recommendation]]:
    """Turns a signature's outputs into a list of recommendations for each row.

    Args:
        outputs: `item_id` and `score`, [B, K] each, and the other outputs of the signature.
        batch: the number of rows, B.
        caller_id: turns the model's ids into the caller's.

    Raises:
        ServingError: FAILED_PRECONDITION: the outputs have other names, shapes or types.
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
                Recommendation(caller_id(item_id.decode("utf-8", "replace")), *rest)
                for item_id, *rest in zip(*row, strict=True)
                if item_id  # the model pads with "" where fewer items are allowed
            ]
            for row in zip(*columns, strict=True)
        ]
    except ValueError:  # raised by `zip`: rows or columns differ in length
        shapes = ", ".join(f"{name} {outputs[name].shape}" for name in sorted(outputs))
        raise ServingError("FAILED_PRECONDITION", f"outputs should be of one shape. Received: {shapes}") from None


def check_outputs(outputs: Mapping[str, np.ndarray], names: tuple[str, ...], batch: int) -> None:
    """Raises ServingError unless the outputs have these names, each [batch, columns]."""
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
