"""Progress of a training loop on the standard error stream: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
OnEpoch = Callable[[dict[str, Any]], None]


def steps(batches: Iterable[T], total: int, title: str) -> Iterator[T]:
    """The batches, with a bar while they last if the standard error stream is a terminal."""
    if not sys.stderr.isatty():
        yield from batches
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        for batch in batches:
            yield batch
            progress.advance(task)


def print_epoch(title: str) -> OnEpoch:
    """An `on_epoch` that prints one line."""

    def on_epoch(record: dict[str, Any]) -> None:
        parts = [
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in record.items()
        ]
        print(f"{title}: {', '.join(parts)}", file=sys.stderr, flush=True)

    return on_epoch
