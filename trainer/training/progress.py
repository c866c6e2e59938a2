"""Progress of a training loop on the standard error stream: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
OnEpoch = Callable[[dict[str, Any]], None]
OnUpdate = Callable[[str], None]

SECONDS_BETWEEN_UPDATES = 5.0


@dataclass(frozen=True)
class EpochProgress(Generic[T]):
    """Reports the progress of one epoch while its batches are consumed.

    Attributes:
      title: text in front of the figures.
      total: number of batches of the epoch.
      done: how many of them an earlier process has consumed.
      count_examples: how many examples a batch has.
      on_update: called with one line every few seconds. Without it, a bar is drawn if the standard error stream is a
        terminal.
    """

    title: str
    total: int
    done: int
    count_examples: Callable[[T], int]
    on_update: OnUpdate | None = None

    def track(self, batches: Iterable[T]) -> Iterator[T]:
        """Passes on the remaining batches of the epoch and reports steps, examples a second and the remaining time."""
        if self.on_update is not None:
            return self._with_lines(batches, self.on_update)
        if sys.stderr.isatty():
            return self._with_bar(batches)
        return iter(batches)

    def _with_lines(self, batches: Iterable[T], on_update: OnUpdate) -> Iterator[T]:
        started = last_update = time.monotonic()
        steps = examples = 0
        for batch in batches:
            yield batch
            steps, examples = steps + 1, examples + self.count_examples(batch)
            now = time.monotonic()
            if now - last_update >= SECONDS_BETWEEN_UPDATES:
                last_update = now
                on_update(self._line(steps, examples, now - started))

    def _line(self, steps: int, examples: int, elapsed: float) -> str:
        step = self.done + steps
        remaining = datetime.timedelta(seconds=round(max(self.total - step, 0) * elapsed / steps))
        return f"{self.title}, step {step}/{self.total}, {examples / elapsed:,.0f} examples/s, {remaining} left"

    def _with_bar(self, batches: Iterable[T]) -> Iterator[T]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(self.title, total=self.total, completed=self.done, rate="")
            started, examples = time.monotonic(), 0
            for batch in batches:
                yield batch
                examples += self.count_examples(batch)
                progress.update(task, advance=1, rate=f"{examples / (time.monotonic() - started):,.0f} examples/s")


def format_record(record: dict[str, Any]) -> str:
    """An epoch's record in one line."""
    parts = []
    for key, value in record.items():
        if isinstance(value, float):
            value = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        parts.append(f"{key} {value}")
    return ", ".join(parts)


def print_epoch(title: str) -> OnEpoch:
    """An `on_epoch` that prints one line."""
    return lambda record: print(f"{title}: {format_record(record)}", file=sys.stderr, flush=True)
