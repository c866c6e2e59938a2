"""An export, asked in this process: what a server would answer, without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from serving.client.input_batches import batch_inputs, user_row
from serving.client.metadata import SignatureSpec, TensorSpec
from serving.client.requests import HistoryEvent, UserRequest
from serving.export.exporter import read_metadata
from serving.server.runtime import custom_ops
from trainer.errors import TowersError, first_line

_USERS_AT_ONCE, _TEXTS_AT_ONCE = 64, 64


@dataclass(frozen=True)
class Answer:
    """One user's list, best first."""

    item_ids: list[str]
    scores: np.ndarray  # float32 [items]


class ExportedModel:
    """A SavedModel of `serving.export.exporter`, of this or an earlier version of the code.

    Args:
      directory: the SavedModel's.

    Attributes:
      metadata: what `serving.export.exporter.export` noted with it.

    Raises:
      TowersError: it is none, or cannot be loaded.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.metadata = read_metadata(directory)
        custom_ops.register()
        try:
            self._model = tf.saved_model.load(str(directory))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise TowersError(f"{directory}: cannot be loaded ({first_line(error)}). Export the model again.") from None

    def recommend(
        self,
        requests: Sequence[UserRequest],
        on_update: Callable[[int], None] | None = None,
        *,
        reuse_vectors: bool = True,
    ) -> list[Answer]:
        """`recommend` for each request.

        What a request says beyond the inputs that the model has is left out.

        Args:
          requests: any number.
          on_update: told how many were answered.
          reuse_vectors: encodes a text once that is said more than once, and has `recommend_embedded` answer, where the
            model has that; False asks `recommend` itself, texts and all.
        """
        requests = list(requests)
        name = "recommend"
        if reuse_vectors:
            name, requests = self._with_vectors(requests)
        signature = self._model.signatures[name]
        spec = _spec(signature)
        answers: dict[int, Answer] = {}  # by the request's place
        # Histories of one length together: padding is computed like events.
        order = np.argsort([len(request.events) for request in requests], kind="stable")
        for first in range(0, len(order), _USERS_AT_ONCE):
            places = order[first : first + _USERS_AT_ONCE].tolist()
            rows = [user_row(requests[place], str) for place in places]
            rows = [{key: value for key, value in row.items() if key in spec.inputs} for row in rows]
            found = _call(signature, batch_inputs(rows, spec))
            for place, ids, scores in zip(places, found["item_id"], found["score"], strict=True):
                kept = ids != b""
                answers[place] = Answer([item_id.decode() for item_id in ids[kept]], scores[kept])
            if on_update:
                on_update(len(answers))
        return [answers[place] for place in range(len(requests))]

    def _with_vectors(self, requests: list[UserRequest]) -> tuple[str, list[UserRequest]]:
        """The signature to call, and the requests with vectors in place of texts if it takes them."""
        reuse: dict[str, Any] | None = self.metadata.get("text_vectors")
        if not reuse or reuse["embedded"].get("recommend") not in self._model.signatures:
            return "recommend", requests
        read = reuse["max_history"]
        texts = {event.text for request in requests for event in request.events[-read:]}
        texts |= {request.query for request in requests}
        vectors = dict(self._encoded(reuse["encode"], sorted(texts - {""}, key=len)))

        def said(event: HistoryEvent) -> HistoryEvent:
            return replace(event, text="", text_embedding=vectors[event.text]) if event.text else event

        def unsaid(event: HistoryEvent) -> HistoryEvent:
            return replace(event, text="") if event.text else event

        return reuse["embedded"]["recommend"], [
            replace(
                request,
                history=[*map(unsaid, request.events[:-read]), *map(said, request.events[-read:])],
                query="",
                query_embedding=vectors[request.query] if request.query else None,
            )
            for request in requests
        ]

    def _encoded(self, name: str, texts: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        signature = self._model.signatures[name]
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[first : first + _TEXTS_AT_ONCE]
            found = _call(signature, {"text": np.array([text.encode() for text in some], object)})
            yield from zip(some, found["embedding"], strict=True)


def _spec(signature: Any) -> SignatureSpec:
    inputs = {
        name: TensorSpec(
            np.dtype(object) if spec.dtype == tf.string else np.dtype(spec.dtype.as_numpy_dtype),
            tuple(-1 if size is None else size for size in spec.shape),
            spec.dtype.name,
        )
        for name, spec in signature.structured_input_signature[1].items()
    }
    return SignatureSpec(inputs, {})


def _call(signature: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    types = {name: spec.dtype for name, spec in signature.structured_input_signature[1].items()}
    tensors = {name: tf.constant(value.tolist(), types[name], value.shape) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in signature(**tensors).items()}
