"""Calls that meet in a batch, and what the graph then ran."""

from concurrent.futures import ThreadPoolExecutor

from serving.server.runtime import servable
from serving.wire.errors import ServingError

LONG = 10_000_000  # microseconds: a batch that runs before was full


def spy_on_runs(monkeypatch):
    """The batch sizes the graph was run with."""
    sizes = []
    run = servable.Servable.run

    def watched(self, feeds, fetches, timeout_ms):
        sizes.append(len(next(iter(feeds.values()))))
        return run(self, feeds, fetches, timeout_ms)

    monkeypatch.setattr(servable.Servable, "run", watched)
    return sizes


def call_together(calls):
    """What each of the calls returned or raised, made at the same time."""

    def caught(call):
        try:
            return call()
        except ServingError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(caught, calls))
