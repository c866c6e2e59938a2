"""The calls to a served recommender, as coroutines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.calls.arrays import as_array
from serving.calls.connection import DEFAULT_KEEP_ALIVE, KeepAlive, Tls
from serving.calls.metadata import SignatureSpec, TensorSpec
from serving.calls.prediction import PredictionCalls
from serving.calls.retry import DEFAULT_RETRY, Retry
from serving.errors import ServingError, refused
from serving.pseudonyms import PseudonymKeyError, pseudonym, read_key

_HISTORY = "history_"


@dataclass(frozen=True)
class HistoryEvent:
    """Something the user did. What is unknown stays at its default.

    Attributes:
        item_id: the item.
        text: what the user wrote about it.
        timestamp: epoch seconds; 0 if unknown.
        event: its kind (`view`, `buy`, ...).
        rating: the user's; 0 if there is none.
    """

    item_id: str
    text: str = ""
    timestamp: int = 0
    event: str = ""
    rating: float = 0.0


@dataclass(frozen=True)
class Recommendation:
    """An item and why it stands where it does: `score` orders the list, `retrieval_score` is the two towers'."""

    item_id: str
    score: float
    retrieval_score: float | None = None


class RecommenderCalls(PredictionCalls):
    """What `serving.client` offers, but for the way in which a caller waits."""

    def __init__(
        self,
        address: str,
        model_name: str = "recommender",
        timeout: float = 1.0,
        *,
        version: int | None = None,
        version_label: str | None = None,
        retry: Retry = DEFAULT_RETRY,
        tls: Tls | None = None,
        keep_alive: KeepAlive = DEFAULT_KEEP_ALIVE,
        pseudonym_key_env: str | None = None,
        pseudonym_key_file: str | None = None,
        known_item_ids: Iterable[str] = (),
    ) -> None:
        self._key: bytes | None = None
        if pseudonym_key_env is not None or pseudonym_key_file is not None:
            try:
                self._key = read_key(pseudonym_key_env, pseudonym_key_file)
            except PseudonymKeyError as error:
                raise ServingError("FAILED_PRECONDITION", str(error)) from None
        self._known_item_ids = (
            {self._sent_id("known_item_ids", item_id): item_id for item_id in known_item_ids} if self._key else {}
        )
        super().__init__(
            address,
            model_name,
            timeout,
            version=version,
            version_label=version_label,
            retry=retry,
            tls=tls,
            keep_alive=keep_alive,
        )

    async def _recommend(
        self,
        *,
        user_id: str = "",
        history: Sequence[str | HistoryEvent] = (),
        query: str = "",
        timestamp: int = 0,
        exclude: Iterable[str] = (),
        features: Mapping[str, str | float] | None = None,
        k: int | None = None,
        signature: str = "recommend",
        timeout: float | None = None,
    ) -> list[Recommendation]:
        """Recommends items to one user, best first.

        Everything may be left out: the model then recommends from what it is told. Inputs of the model that no
        argument names are sent as `""` or 0.

        Args:
            user_id: "" for somebody unknown.
            history: oldest first; item ids, or events where more than the item is known.
            query: what the user says or searches now.
            timestamp: epoch seconds of the recommendation; 0 if unknown.
            exclude: item ids that must not come back.
            features: the model's other inputs, such as profile and context columns, by name.
            k: at most this many items; as many as the model returns if left out.
            signature: `recommend`, or `retrieve` for the first stage only.
            timeout: seconds for this call, in place of the client's.

        Raises:
            ServingError: INVALID_ARGUMENT for an input the model does not have.
        """
        if k is not None and (not isinstance(k, int) or k < 1):
            raise refused(f"`k` should be a positive integer. Received: `k={k!r}`")
        events = [HistoryEvent(event) if isinstance(event, str) else event for event in history]
        for event in events:
            if not isinstance(event, HistoryEvent):
                raise refused(f"`history` should hold item ids or HistoryEvent. Received: {event!r}")
        if isinstance(exclude, str):
            raise refused(f"`exclude` should be a list of item ids. Received: {exclude!r}")
        given: dict[str, Any] = {
            "user_id": self._sent_id("user_id", user_id),
            "history_item_id": [self._sent_id("history", event.item_id) for event in events],
            "history_text": [event.text for event in events],
            "history_timestamp": [event.timestamp for event in events],
            "history_event": [event.event for event in events],
            "history_rating": [event.rating for event in events],
            "query_text": query,
            "timestamp": timestamp,
            "exclude_item_id": [self._sent_id("exclude", item_id) for item_id in exclude],
        }
        given = {name: value for name, value in given.items() if _is_said(value)}
        for name, value in (features or {}).items():
            if name in given or name.startswith(_HISTORY):
                raise refused(f"`features` should not hold `{name}`, which has an argument of its own")
            given[name] = value

        prediction = await self._run(
            signature,
            lambda spec: self._inputs(spec, given, len(events)),
            (),
            self._default_choice,
            self._deadline(timeout),
        )
        return self._recommendations(prediction.outputs)[:k]

    def _inputs(self, spec: SignatureSpec, given: Mapping[str, Any], events: int) -> dict[str, np.ndarray]:
        """A batch of one: what is given, and defaults for every other input."""
        surplus = sorted(given.keys() - spec.inputs.keys())
        if surplus:
            raise refused(
                f"model {self.model_name} has no input {', '.join(surplus)}; it has: {', '.join(sorted(spec.inputs))}"
            )
        return {
            name: as_array(name, [given[name]], tensor) if name in given else _default(name, tensor, events)
            for name, tensor in spec.inputs.items()
        }

    def _recommendations(self, outputs: Mapping[str, np.ndarray]) -> list[Recommendation]:
        if "item_id" not in outputs or "score" not in outputs:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"the signature should return item_id and score. It returns: {', '.join(sorted(outputs))}",
            )
        item_ids, scores = outputs["item_id"][0].tolist(), outputs["score"][0].tolist()
        retrieval_scores: list[float | None] = [None] * len(item_ids)
        if "retrieval_score" in outputs:
            retrieval_scores = outputs["retrieval_score"][0].tolist()
        found = []
        for item_id, score, retrieval_score in zip(item_ids, scores, retrieval_scores, strict=True):
            if item_id:  # the model pads with "" where fewer items are allowed
                text = item_id.decode("utf-8", "replace")
                found.append(Recommendation(self._known_item_ids.get(text, text), score, retrieval_score))
        return found

    def _sent_id(self, argument: str, identifier: Any) -> str:
        if not isinstance(identifier, str):
            raise refused(f"`{argument}` should hold strings. Received: {identifier!r}")
        if self._key is None or not identifier:  # "" means nobody, or nothing
            return identifier
        return pseudonym(self._key, identifier)


def _is_said(value: Any) -> bool:
    """Whether an argument differs from its default: only then does the model need an input for it."""
    return any(element not in ("", 0) for element in value) if isinstance(value, list) else value not in ("", 0)


def _default(name: str, spec: TensorSpec, events: int) -> np.ndarray:
    """ "" or 0 for one user; inputs of the history are as long as the history."""
    free = events if name.startswith(_HISTORY) else 0
    shape = [free if size < 0 else size for size in spec.shape or (1,)]
    shape[:1] = [1]
    return np.full(shape, b"" if spec.dtype == object else 0, spec.dtype)
