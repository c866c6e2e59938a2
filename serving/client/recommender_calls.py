"""Coroutines that call a served recommender."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client.connection import DEFAULT_KEEP_ALIVE, KeepAlive, Tls
from serving.client.fallback import Fallback
from serving.client.identifiers import Identifiers
from serving.client.input_batches import Row, batch_inputs, user_row
from serving.client.prediction_calls import Prediction, PredictionCalls
from serving.client.requests import HistoryEvent, UserRequest, check_strings
from serving.client.results import RecommendationList, check_outputs, recommendation_lists
from serving.client.retry import DEFAULT_RETRY, Retry
from serving.wire.errors import ServingError, invalid_argument
from serving.wire.scores import NO_SCORE
from serving.wire.tensors import bytes_array


class RecommenderCalls(PredictionCalls):
    """The methods of both recommender clients; the clients differ only in how they wait."""

    def __init__(
        self,
        address: str,
        model_name: str = "recommender",
        timeout: float = 1.0,
        *,
        fallback: Sequence[str] | str | os.PathLike[str] | None = None,
        fallback_excludes_history: bool = True,
        version: int | None = None,
        version_label: str | None = None,
        retry: Retry = DEFAULT_RETRY,
        tls: Tls | None = None,
        keep_alive: KeepAlive = DEFAULT_KEEP_ALIVE,
        pseudonym_key_env: str | None = None,
        pseudonym_key_file: str | None = None,
        known_item_ids: Iterable[str] = (),
    ) -> None:
        self._identifiers = Identifiers(pseudonym_key_env, pseudonym_key_file, known_item_ids)
        self._fallback = None if fallback is None else Fallback(fallback, fallback_excludes_history)
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
        history: Iterable[str | HistoryEvent] = (),
        query: str = "",
        timestamp: int = 0,
        exclude: Iterable[str] = (),
        allowed_categories: Iterable[str] = (),
        diversity: float = 0.0,
        explain: bool = False,
        features: Mapping[str, Any] | None = None,
        query_embedding: Sequence[float] | np.ndarray | None = None,
        k: int | None = None,
        signature: str = "recommend",
        timeout: float | None = None,
    ) -> RecommendationList:
        """Recommends items to one user. The other arguments are the attributes of `UserRequest`.

        Args:
            k: at most this many items; by default all that the model, or the fallback, returns.
            signature: `recommend`; `recommend_embedded` with vectors in place of texts; `retrieve` for retrieval
                without ranking.
            timeout: seconds for this call, in place of the client's.

        Raises:
            ServingError: INVALID_ARGUMENT if the model lacks an input.
        """
        request = UserRequest(
            user_id=user_id,
            history=history,
            query=query,
            timestamp=timestamp,
            exclude=exclude,
            allowed_categories=allowed_categories,
            diversity=diversity,
            explain=explain,
            features=features,
            query_embedding=query_embedding,
        )
        (items,) = await self._recommend_many([request], k=k, signature=signature, timeout=timeout)
        return items

    async def _recommend_many(
        self,
        requests: Iterable[UserRequest],
        *,
        k: int | None = None,
        signature: str = "recommend",
        timeout: float | None = None,
    ) -> list[RecommendationList]:
        """Recommends items to several users in one call: a list for each, best first. Arguments: see `recommend`."""
        _check_k(k)
        requests = list(requests)
        if not requests:
            return []
        rows = self._user_rows(requests)
        try:
            prediction = await self._run_rows(signature, rows, timeout)
        except ServingError as failure:
            if self._fallback is None or not self._fallback.answers(failure, requests):
                raise
            return [self._fallback.recommend(request, k, failure, self._identifiers) for request in requests]
        lists = recommendation_lists(prediction.outputs, len(rows), self._identifiers.caller_id)
        return [RecommendationList(items[:k], prediction.version) for items in lists]

    async def _rank(
        self, request: UserRequest, item_ids: Iterable[str], *, timeout: float | None = None
    ) -> RecommendationList:
        """Scores items for a user with the signature `rank`. Items that the model does not know are left out.

        Args:
            request: the user.
            item_ids: the candidates, in any order.

        Returns:
            The candidates, best first.
        """
        candidates = {self._identifiers.model_id(item_id): item_id for item_id in check_strings("item_ids", item_ids)}
        if not candidates:
            raise invalid_argument("`item_ids` should hold at least one item id")
        (row,) = self._user_rows([request])
        prediction = await self._run_rows("rank", [row | {"candidate_item_id": list(candidates)}], timeout)
        # The scores are in the candidates' order. A server that batches calls may have padded them; padding is cut off.
        outputs = {
            name: values[:, : len(candidates)] for name, values in prediction.outputs.items() if values.ndim == 2
        }
        outputs["item_id"] = bytes_array([item_id.encode() for item_id in candidates])[np.newaxis]
        (items,) = recommendation_lists(outputs, 1, lambda item_id: candidates.get(item_id, item_id))
        scored = [item for item in items if item.score != NO_SCORE]
        return RecommendationList(sorted(scored, key=lambda item: -item.score), prediction.version)

    async def _similar_items(
        self,
        item_ids: Iterable[str],
        *,
        exclude: Iterable[str] = (),
        k: int | None = None,
        timeout: float | None = None,
    ) -> list[RecommendationList]:
        """Finds the items most similar to each item, with the signature `similar_items`: a list for each, best first.

        Args:
            item_ids: items of the catalogue; the list of an unknown item is empty.
            exclude: ids of items that must not be returned.
            k: at most this many items; by default all that the model returns.
        """
        _check_k(k)
        excluded = [self._identifiers.model_id(item_id) for item_id in check_strings("exclude", exclude)]
        rows = self._item_rows(item_ids)
        for row in rows:
            row |= {"exclude_item_id": excluded} if excluded else {}
        prediction = await self._run_rows("similar_items", rows, timeout)
        lists = recommendation_lists(prediction.outputs, len(rows), self._identifiers.caller_id)
        return [RecommendationList(items[:k], prediction.version) for items in lists]

    async def _encode_text(self, texts: Iterable[str], *, timeout: float | None = None) -> np.ndarray:
        """Vectors of texts, float32 [texts, width]; zeros for an empty text."""
        return await self._encode("encode_text", [{"text": text} for text in check_strings("texts", texts)], timeout)

    async def _encode_user(self, requests: Iterable[UserRequest], *, timeout: float | None = None) -> np.ndarray:
        """The user tower's vectors of users, float32 [users, width]."""
        return await self._encode("encode_user", self._user_rows(requests), timeout)

    async def _encode_item(
        self,
        item_ids: Iterable[str],
        *,
        features: Iterable[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
    ) -> np.ndarray:
        """The item tower's vectors of items, float32 [items, width].

        Args:
            item_ids: ids of catalogue items, or of new items that `features` describe; "" for an item without an id.
            features: for each item a mapping from the model's input names to the columns that the item tower reads.
        """
        rows = self._item_rows(item_ids)
        if features is not None:
            features = list(features)
            if len(features) != len(rows) or any("item_id" in columns for columns in features):
                raise invalid_argument(
                    f"`features` should hold one mapping for each of the {len(rows)} items, without `item_id`"
                )
            rows = [row | dict(columns) for row, columns in zip(rows, features, strict=True)]
        return await self._encode("encode_item", rows, timeout)

    async def _encode(self, signature: str, rows: list[Row], timeout: float | None) -> np.ndarray:
        outputs = (await self._run_rows(signature, rows, timeout)).outputs
        check_outputs(outputs, ("embedding",), len(rows))
        return outputs["embedding"]

    async def _run_rows(self, signature: str, rows: Sequence[Row], timeout: float | None) -> Prediction:
        deadline = self._deadline(timeout)
        return await self._run(signature, lambda spec: batch_inputs(rows, spec), (), self._default_choice, deadline)

    def _user_rows(self, requests: Iterable[UserRequest]) -> list[Row]:
        rows = []
        for request in requests:
            if not isinstance(request, UserRequest):
                raise invalid_argument(f"`requests` should hold UserRequest. Received: {request!r}")
            rows.append(user_row(request, self._identifiers.model_id))
        return rows

    def _item_rows(self, item_ids: Iterable[str]) -> list[Row]:
        return [{"item_id": self._identifiers.model_id(item_id)} for item_id in check_strings("item_ids", item_ids)]


def _check_k(k: int | None) -> None:
    if k is not None and (not isinstance(k, int) or k < 1):
        raise invalid_argument(f"`k` should be a positive integer. Received: `k={k!r}`")
