"""Progress of a training loop on the standard error stream: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
OnEpoch = Callable[[dict[str, Any]], None]
OnUpdate = Callable[[str], None]

SECONDS_BETWEEN_UPDATES = 5.0


def steps(
    batches: Iterable[T],
    total: int,
    title: str,
    *,
    examples: Callable[[T], int],
    done: int = 0,
    on_update: OnUpdate | None = None,
) -> Iterator[T]:
    """The batches; while they last, how many are done, examples a second and the time left are shown.

    Args:
      batches: what is left of an epoch.
      total: batches of a whole epoch.
      title: what is shown before the figures.
      examples: how many examples a batch has.
      done: batches of the epoch that were done before.
      on_update: is given a line every few seconds. Without it there is a bar, if the standard error stream is a
        terminal.
    """
    if on_update is not None:
        yield from _told(batches, total, title, examples, done, on_update)
    elif sys.stderr.isatty():
        yield from _drawn(batches, total, title, examples, done)
    else:
        yield from batches


def _told(
    batches: Iterable[T], total: int, title: str, examples: Callable[[T], int], done: int, on_update: OnUpdate
) -> Iterator[T]:
    started = last = time.monotonic()
    count = seen = 0
    for batch in batches:
        yield batch
        count, seen = count + 1, seen + examples(batch)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_UPDATES:
            last, elapsed = now, now - started
            left = datetime.timedelta(seconds=round(max(total - done - count, 0) * elapsed / count))
            on_update(f"{title}, step {done + count}/{total}, {seen / elapsed:,.0f} examples/s, {left} left")


def _drawn(batches: Iterable[T], total: int, title: str, examples: Callable[[T], int], done: int) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, rate="")
        started, seen = time.monotonic(), 0
        for batch in batches:
            yield batch
            seen += examples(batch)
            progress.update(task, advance=1, rate=f"{seen / (time.monotonic() - started):,.0f} examples/s")


def line_of(record: dict[str, Any]) -> str:
    """An epoch's record in one line."""
    parts = []
    for key, value in record.items():
        if isinstance(value, float):
            value = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        parts.append(f"{key} {value}")
    return ", ".join(parts)


def print_epoch(title: str) -> OnEpoch:
    """An `on_epoch` that prints one line."""
    return lambda record: print(f"{title}: {line_of(record)}", file=sys.stderr, flush=True)
