"""Requests to a served recommender, generated from its signatures, whatever their inputs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from serving_in_process import InProcess

from serving.client.metadata import SignatureSpec, TensorSpec
from serving.client.prediction_client import PredictionClient

Request = dict[str, np.ndarray]

# Each word is one token of an English BERT, so the number of words is that of tokens.
WORDS = np.array(  # a list of words reads better than a list of literals
    """
    the a of and in to is it for with book read story love war history space guitar string music sound good great bad
    price cheap new old song play cat dog tea house night day city girl boy life world time
""".split()  # noqa: SIM905
)


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--signature", default="recommend")
    add("--words", type=int, default=16, help="in a query; 0: no text")
    add("--events", type=int, default=8, help="in a history")


@dataclass(frozen=True)
class Texts:
    """Amount of text in a request: words of the query, and of each event of the history."""

    name: str
    query: int = 0
    event: int = 0

    def missing(self, spec: SignatureSpec) -> str:
        """The texts that a signature has no input for; "" if it has all."""
        requested = {"query_text": self.query, "history_text": self.event}
        known = spec.inputs.keys() | ({"query_text"} if "text" in spec.inputs else set())
        return " and ".join(name for name, words in requested.items() if words and name not in known)


@dataclass(frozen=True)
class Recipe:
    """Contents of requests of one kind.

    Attributes:
        items: ids that the model knows.
        events: number of events in each history.
        candidates: number of items to rank, if the signature has this input.
    """

    spec: SignatureSpec
    texts: Texts
    items: Sequence[bytes]
    events: int
    candidates: int

    def make(self, count: int, seed: int) -> list[Request]:
        """`count` requests of one user each. All texts differ, so that no cache answers them."""
        random = np.random.default_rng(seed)
        return [
            {name: self._value(name, tensor, random) for name, tensor in self.spec.inputs.items()} for _ in range(count)
        ]

    def _value(self, name: str, tensor: TensorSpec, random: np.random.Generator) -> np.ndarray:
        columns = self.events if name.startswith("history_") else 0
        if name == "candidate_item_id":
            columns = min(self.candidates, len(self.items))
        free = (1, columns)  # for dimensions of any size
        shape = [
            free[axis] if size == -1 else size
            for axis, size in enumerate((-1,) if tensor.shape is None else tensor.shape)
        ]
        if tensor.dtype != object:
            value = np.zeros(shape, tensor.dtype)
            if name.endswith("timestamp"):
                value += np.arange(value.size).reshape(shape) * 1000 + 1_700_000_000
            elif name == "history_rating":
                value += 4
            return value
        count = int(np.prod(shape))
        strings = np.full(count, b"", object)
        if name in ("history_item_id", "candidate_item_id", "item_id"):
            strings[:] = random.choice(np.array(self.items, object), count, replace=count > len(self.items))
        elif name == "user_id":
            strings[:] = [b"user-%d" % number for number in random.integers(10**6, size=count)]
        else:
            words = {"query_text": self.texts.query, "text": self.texts.query, "history_text": self.texts.event}
            strings[:] = [" ".join(random.choice(WORDS, words.get(name, 0))).encode() for _ in range(count)]
        return strings.reshape(shape)


def known_items(client: PredictionClient | InProcess, signature: str) -> list[bytes]:
    """Ids that the model knows: those that it recommends to an unknown user."""
    unknown_user = Recipe(client.metadata().signatures[signature], Texts("no text"), [b""], 0, 0).make(1, 0)[0]
    answer = client.predict(signature, unknown_user)
    return [item for item in answer["item_id"].reshape(-1).tolist() if item]
