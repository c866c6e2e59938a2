"""Makes a version ready for calls: loads its graph, replays its warm-up requests, enables the cache of text vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import config_pb2

from serving.server.batching.batched_servable import BatchedServable
from serving.server.batching.scheduler import BatchScheduler
from serving.server.runtime import servable
from serving.server.runtime.servable import Servable
from serving.server.runtime.text_cache import TextCache
from serving.server.runtime.text_reuse import TextReuse
from serving.server.runtime.warm_up_replay import replay_warm_up


@dataclass(frozen=True)
class VersionLoader:
    """Loads versions of any model of the server.

    Attributes:
        session: configuration of the TensorFlow sessions.
        warm_up: whether to replay a version's warm-up requests.
        scheduler: batches the calls; None if each call runs by itself.
        text_cache: vectors of recent texts; None if they are not cached.
    """

    session: config_pb2.ConfigProto
    warm_up: bool
    scheduler: BatchScheduler | None
    text_cache: TextCache | None

    def __call__(self, name: str, version: int, directory: Path) -> Servable:
        """The version in `directory`.

        Raises:
            RequestError: it cannot be loaded, or does not answer a warm-up request.
        """
        loaded = servable.load(name, version, directory, self.session, self._make)
        if self.warm_up:
            try:
                replay_warm_up(loaded, directory)
            except BaseException:
                loaded.close()
                raise
        if self.text_cache is not None:  # only now: the warm-up requests should run every signature itself
            loaded.text_reuse = TextReuse.from_metadata(loaded, directory, self.text_cache)
        return loaded

    def _make(self, *arguments: Any) -> Servable:
        if self.scheduler is None:
            return Servable(*arguments)
        return BatchedServable(*arguments, scheduler=self.scheduler)
