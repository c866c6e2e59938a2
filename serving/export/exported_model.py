"""Runs an exported model in this process, with the same answers as a server."""

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
from serving.export.metadata import read_metadata
from serving.server.runtime import custom_ops
from serving.wire.tensors import bytes_array
from trainer.errors import TowersError, first_line

_BATCH_SIZE = 64  # users of a call, and texts of a call


@dataclass(frozen=True)
class Answer:
    """One user's list, best first."""

    item_ids: list[str]
    scores: np.ndarray  # float32 [items]


class ExportedModel:
    """A SavedModel that this or an earlier version of `serving.export.exporter` wrote.

    Args:
      directory: the SavedModel's directory.

    Attributes:
      metadata: see `serving.export.metadata`.

    Raises:
      TowersError: the directory holds no exported model, or it cannot be loaded.
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
        """Recommends items for each request.

        Parts of a request for which the model has no input are ignored.

        Args:
          requests: any number of requests.
          on_update: called with the number of requests answered so far.
          reuse_vectors: encode each distinct text once and call `recommend_embedded`, if the model has it; False calls
            `recommend`, which encodes the texts of each request.
        """
        requests = list(requests)
        name = "recommend"
        if reuse_vectors:
            name, requests = self._with_vectors(requests)
        signature = self._model.signatures[name]
        spec = _spec(signature)
        answers: dict[int, Answer] = {}  # by the request's position
        # Sorted by history length, so that batches need little padding: padding costs as much as events.
        order = np.argsort([len(request.events) for request in requests], kind="stable")
        for first in range(0, len(order), _BATCH_SIZE):
            positions = order[first : first + _BATCH_SIZE].tolist()
            rows = [user_row(requests[position], str) for position in positions]
            rows = [{key: value for key, value in row.items() if key in spec.inputs} for row in rows]
            outputs = _call(signature, batch_inputs(rows, spec))
            for position, ids, scores in zip(positions, outputs["item_id"], outputs["score"], strict=True):
                is_item = ids != b""  # lists are padded with ""
                answers[position] = Answer([item_id.decode() for item_id in ids[is_item]], scores[is_item])
            if on_update:
                on_update(len(answers))
        return [answers[position] for position in range(len(requests))]

    def _with_vectors(self, requests: list[UserRequest]) -> tuple[str, list[UserRequest]]:
        """The signature to call, and the requests, with vectors in place of texts if the signature takes vectors."""
        settings: dict[str, Any] | None = self.metadata.get("text_vectors")
        if not settings or settings["embedded"].get("recommend") not in self._model.signatures:
            return "recommend", requests
        max_events = settings["max_history"]  # only these last events of a history are read
        texts = {event.text for request in requests for event in request.events[-max_events:]}
        texts |= {request.query for request in requests}
        vectors = dict(self._encode_texts(settings["encode"], sorted(texts - {""}, key=len)))

        def with_vector(event: HistoryEvent) -> HistoryEvent:
            return replace(event, text="", text_embedding=vectors[event.text]) if event.text else event

        def without_text(event: HistoryEvent) -> HistoryEvent:
            return replace(event, text="") if event.text else event

        return settings["embedded"]["recommend"], [
            replace(
                request,
                history=[
                    *map(without_text, request.events[:-max_events]),
                    *map(with_vector, request.events[-max_events:]),
                ],
                query="",
                query_embedding=vectors[request.query] if request.query else None,
            )
            for request in requests
        ]

    def _encode_texts(self, name: str, texts: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        signature = self._model.signatures[name]
        for first in range(0, len(texts), _BATCH_SIZE):
            batch = texts[first : first + _BATCH_SIZE]
            outputs = _call(signature, {"text": bytes_array([text.encode() for text in batch])})
            yield from zip(batch, outputs["embedding"], strict=True)


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
