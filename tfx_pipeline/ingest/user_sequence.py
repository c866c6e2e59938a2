"""One user's interactions as a chronological sequence."""

from __future__ import annotations

from typing import NamedTuple


class Sequence(NamedTuple):
    """A user's events, the oldest first, column by column."""

    user_id: bytes
    time: tuple[int, ...]  # as `cells.times.time_parser` returns it
    item_id: tuple[bytes, ...]
    features: tuple[tuple, ...]  # one tuple an interaction feature


def build(user_id: bytes, events: list[tuple], repeats: str) -> Sequence:
    """Orders a user's interaction records by time; of equal times, by their order in the files.

    With `repeats='earliest'`, later events with an item that the user already has are left out.
    """
    events.sort(key=_time_and_order)
    if repeats == "earliest":
        seen: set[bytes] = set()
        first_events = []
        for event in events:
            if event[3] not in seen:
                seen.add(event[3])
                first_events.append(event)
        events = first_events
    _, time, _, item_id, *features = zip(*events, strict=True)
    return Sequence(user_id, time, item_id, tuple(features))


def _time_and_order(event: tuple) -> tuple[int, int]:
    return event[1:3]
