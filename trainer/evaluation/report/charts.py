"""Plots as SVG inside an HTML page. Each has a description for screen readers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 520  # of a plot in its own units; the page scales it. On a phone a unit is about 0.7 CSS pixels
_LEFT, _RIGHT = 12, 64
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2")
_ids = itertools.count()


@dataclass(frozen=True)
class Dot:
    """A figure of a recommender or run, with its interval if it has one. `kind`: "model" or "baseline"."""

    name: str
    value: float
    interval: Sequence[float] | None
    kind: str


def dots(title: str, rows: Mapping[str, Sequence[Dot]]) -> Markup:
    """Figures on one scale from 0, with intervals as lines. The dots of a row are below its name."""
    all_dots = [dot for row in rows.values() for dot in row]
    high = max([0.0, *(dot.value for dot in all_dots), *(dot.interval[1] for dot in all_dots if dot.interval)])
    ticks = _ticks(0.0, high)
    x = _Scale(0.0, ticks[-1], _LEFT, WIDTH - _RIGHT)
    parts: list[Markup] = []
    y = 4.0
    for name, row in rows.items():
        y += 14
        parts.append(Markup('<text x="{}" y="{}">{}</text>').format(_LEFT, y, name))
        for dot in row:
            y += 14
            if dot.interval:
                parts.append(
                    Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}" stroke-width="3"/>').format(
                        dot.kind, x(dot.interval[0]), x(dot.interval[1]), y, y
                    )
                )
            parts.append(Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="4.5"/>').format(dot.kind, x(dot.value), y))
            parts.append(
                Markup('<text x="{}" y="{}" class="figure {}">{:.4f}</text>').format(
                    WIDTH - _RIGHT + 10, y + 4, dot.kind, dot.value
                )
            )
        y += 10
    description = "; ".join(
        f"{name}, {dot.name} {dot.value:.4f}"
        + (f" ({dot.interval[0]:.4f} to {dot.interval[1]:.4f})" if dot.interval else "")
        for name, row in rows.items()
        for dot in row
    )
    return _figure(title, description, y + 24, [_vertical(x, ticks, 4, y), *parts])


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    from_zero: bool,
    x_names: Sequence[str] | None = None,
) -> Markup:
    """A line plot. The name of each curve stands at its end.

    Args:
      title: of the plot.
      series: name -> points, in rising order.
      x_label, y_label: names of the axes.
      from_zero: whether the vertical axis starts at 0.
      x_names: names of 0, 1, ... on the horizontal axis, if the values there are not numbers.
    """
    points = [point for curve in series.values() for point in curve]
    if not points:
        return Markup("")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_ticks = _ticks(min(xs), max(xs), integers=all(value == int(value) for value in xs))
    if x_names is not None:
        x_ticks = [float(i) for i in range(len(x_names))]
    y_ticks = _ticks(0.0 if from_zero else min(ys), max(ys))
    height = 260
    x = _Scale(min(min(xs), x_ticks[0]), max(max(xs), x_ticks[-1]), 56, WIDTH - 128)
    y = _Scale(y_ticks[0], y_ticks[-1], height - 46, 30)
    parts = [_horizontal(y, y_ticks, 56, WIDTH - 128)]
    for tick in x_ticks:
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle" class="tick">{}</text>').format(
                x(tick), height - 28, x_names[int(tick)] if x_names is not None else _number(tick)
            )
        )
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle" class="axis">{}</text>').format(
            (56 + WIDTH - 128) / 2, height - 8, x_label
        )
    )
    parts.append(Markup('<text x="4" y="12" class="axis">{}</text>').format(y_label))
    ends: list[float] = []
    for i, (name, curve) in enumerate(series.items()):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve)
        dash = _DASHES[i % len(_DASHES)]
        parts.append(
            Markup('<polyline class="series s{}" points="{}" stroke-dasharray="{}"/>').format(i % 7, path, dash)
        )
        end = y(curve[-1][1])
        while any(abs(end - other) < 14 for other in ends):
            end += 14
        ends.append(end)
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" class="name s{}">{}</text>').format(
                x(curve[-1][0]) + 6, end + 4, i % 7, name
            )
        )
    description = "; ".join(
        f"{name} from {curve[0][1]:.4g} at {_number(curve[0][0])} to {curve[-1][1]:.4g} at {_number(curve[-1][0])}"
        for name, curve in series.items()
    )
    return _figure(title, f"{y_label} by {x_label}: {description}", max(height, int(max(ends)) + 10), parts)


def reliability(title: str, points: Sequence[tuple[float, float]]) -> Markup:
    """Observed shares (vertical) by predicted probabilities (horizontal), with the diagonal of perfect calibration."""
    size = 320
    x, y = _Scale(0.0, 1.0, 60, size), _Scale(0.0, 1.0, size - 40, 32)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [_horizontal(y, ticks, 60, size), _vertical(x, ticks, 32, size - 40)]
    parts.append(
        Markup('<line class="grid strong" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x(0.0), y(0.0), x(1.0), y(1.0))
    )
    path = " ".join(f"{x(probability):.1f},{y(share):.1f}" for probability, share in points)
    parts.append(Markup('<polyline class="series s0" points="{}"/>').format(path))
    parts += [Markup('<circle class="model" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x(a), y(b)) for a, b in points]
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle" class="axis">predicted probability</text>').format(
            (60 + size) / 2, size - 4
        )
    )
    parts.append(Markup('<text x="4" y="12" class="axis">share of liked items</text>'))
    description = "; ".join(f"predicted {a:.3f}, observed {b:.3f}" for a, b in points)
    return _figure(title, description, size, parts, width=size + 40)


class _Scale:
    """Maps `low`..`high` to `start`..`end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._step = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._step


def _figure(title: str, description: str, height: float, parts: Sequence[Markup], width: int = WIDTH) -> Markup:
    number = next(_ids)
    return Markup(
        '<svg viewBox="0 0 {w} {h}" role="img" aria-labelledby="plot-{n} description-{n}" style="max-width:{w}px">'
        '<title id="plot-{n}">{title}</title><desc id="description-{n}">{description}</desc>{inside}</svg>'
    ).format(w=width, h=int(height), n=number, title=title, description=description, inside=Markup("").join(parts))


def _vertical(x: _Scale, ticks: Sequence[float], top: float, bottom: float) -> Markup:
    return Markup("").join(
        Markup(
            '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
            '<text x="{0:.1f}" y="{3}" text-anchor="middle" class="tick">{4}</text>'
        ).format(x(tick), top, bottom, bottom + 18, _number(tick))
        for tick in ticks
    )


def _horizontal(y: _Scale, ticks: Sequence[float], left: float, right: float) -> Markup:
    return Markup("").join(
        Markup(
            '<line class="grid" x1="{1}" x2="{2}" y1="{0:.1f}" y2="{0:.1f}"/>'
            '<text x="{3}" y="{4:.1f}" text-anchor="end" class="tick">{5}</text>'
        ).format(y(tick), left, right, left - 8, y(tick) + 4, _number(tick))
        for tick in ticks
    )


def _ticks(low: float, high: float, *, integers: bool = False) -> list[float]:
    """Evenly spaced round numbers, at most seven or so, that cover low..high. `integers`: integers within low..high."""
    if high - low <= 1e-9 * max(1.0, abs(low)):
        high = low + 1.0
    rough = (high - low) / 5
    step = 10.0 ** math.floor(math.log10(rough))
    step *= next(factor for factor in (1, 2, 5, 10) if step * factor >= rough * 0.999)
    if integers:
        step = max(1.0, step)
        first = math.ceil(low / step) * step
        return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _number(value: float) -> str:
    return str(escape(f"{value:.6g}"))
