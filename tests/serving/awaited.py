"""The asyncio client as a blocking one, so that one test serves both."""

from __future__ import annotations

import asyncio
from typing import Any

from serving.client import AsyncRecommenderClient


class Awaited:
    """An AsyncRecommenderClient and its event loop: every method runs to its end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._client = AsyncRecommenderClient(*arguments, **named)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            coroutine = method(*arguments, **named)
            assert asyncio.iscoroutine(coroutine)
            return self._loop.run_until_complete(coroutine)

        return call

    def __enter__(self) -> Awaited:
        self._loop.run_until_complete(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run_until_complete(self._client.__aexit__(*error))
        self._loop.close()
