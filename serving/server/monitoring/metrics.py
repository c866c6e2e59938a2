"""Counters, histograms and gauges, written for Prometheus in the same form as by TensorFlow Serving.

`prometheus_client` is not used, because it adds `_total` to the name of every counter, and TensorFlow Serving does not.

Each part of the server registers its metrics once, at the start, with the server's `Registry`:
`registry.counter("/towers/serving/text_cache/lookups", ("result",))`, `registry.gauge("/towers/...", cache.__len__)`.
"""

import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

# Label values come from requests. Combinations of values beyond this number are counted under `OTHER`: otherwise
# clients could fill the memory with invented names.
_MAX_CELLS = 1000
OTHER = "other"


class Metric(Protocol):
    kind: str

    def lines(self, name: str) -> list[str]:
        """The metric in Prometheus' text format, without the line that gives its type."""


class Counter:
    """Counts events, separately for each combination of label values."""

    kind = "counter"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], int] = {}

    def add(self, *values: str, by: int = 1) -> None:
        """Adds `by` to the count of these label values."""
        with self._lock:
            if values not in self._cells:
                values = _cell(self._cells, values)
            self._cells[values] = self._cells.get(values, 0) + by

    def lines(self, name: str) -> list[str]:
        with self._lock:
            cells = sorted(self._cells.items())
        return [f"{name}{{{_label_text(self._labels, values)}}} {count}" for values, count in cells]


class Histogram:
    """Counts how many values lie below each of `limits`, separately for each combination of label values."""

    kind = "histogram"

    def __init__(self, labels: Sequence[str], limits: Sequence[float]) -> None:
        self._labels = tuple(labels)
        self._limits = list(limits)
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}  # counts by bucket, and [sum]

    def add(self, value: float, *values: str) -> None:
        """Counts `value` under these label values."""
        bucket = bisect_right(self._limits, value)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                new: tuple[list[int], list[float]] = ([0] * (len(self._limits) + 1), [0.0])
                cell = self._cells.setdefault(_cell(self._cells, values), new)
            cell[0][bucket] += 1
            cell[1][0] += value

    def lines(self, name: str) -> list[str]:
        with self._lock:
            cells = sorted((values, list(counts), total[0]) for values, (counts, total) in self._cells.items())
        written = []
        for values, counts, total in cells:
            labels = _label_text(self._labels, values)
            before = f"{labels}," if labels else ""
            cumulative = 0
            for limit, count in zip([*(f"{limit:g}" for limit in self._limits), "+Inf"], counts, strict=True):
                cumulative += count
                written.append(f'{name}_bucket{{{before}le="{limit}"}} {cumulative}')
            written += [f"{name}_sum{{{labels}}} {total!r}", f"{name}_count{{{labels}}} {cumulative}"]
        return written


class Gauge:
    """A number that is read when Prometheus asks for it."""

    kind = "gauge"

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    def lines(self, name: str) -> list[str]:
        return [f"{name}{{}} {self._read()}"]


class Registry:
    """The metrics of one server, by name. Names are paths, as in TensorFlow."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, labels: Sequence[str] = ()) -> Counter:
        metric = Counter(labels)
        self._add(name, metric)
        return metric

    def histogram(self, name: str, labels: Sequence[str], limits: Sequence[float]) -> Histogram:
        """`limits` should ascend. One more bucket counts the values above the last limit."""
        metric = Histogram(labels, limits)
        self._add(name, metric)
        return metric

    def gauge(self, name: str, read: Callable[[], float]) -> Gauge:
        metric = Gauge(read)
        self._add(name, metric)
        return metric

    def _add(self, name: str, metric: Metric) -> None:
        if name in self._metrics:
            raise ValueError(f"the metric {name} exists already")
        self._metrics[name] = metric

    def text(self) -> str:
        """Every metric in Prometheus' text format."""
        lines = []
        for path, metric in sorted(self._metrics.items()):
            name = re.sub(r"[^a-zA-Z0-9_]", ":", path)
            lines += [f"# TYPE {name} {metric.kind}", *metric.lines(name)]
        return "\n".join(lines) + "\n"


def _cell(cells: dict, values: tuple[str, ...]) -> tuple[str, ...]:
    """The label values under which to count a new combination."""
    return values if len(cells) < _MAX_CELLS else (OTHER,) * len(values)


def _label_text(labels: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
