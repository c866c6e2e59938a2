"""The states of admission, on a simulated clock, and the bounds they keep for a simulated server."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from serving.server.admission.admission import OVERLOADED_SECONDS, PROBE_SECONDS, Admission, State


class TestStates:
    """Eight threads, and four calls that may wait. A probe has 32 calls, of which four may be refused."""

    @pytest.fixture(autouse=True)
    def _begin(self):
        self.now = 100.0
        self.refusals = 0
        self.admission = Admission(8, 4, self.count, lambda: self.now)

    def count(self):
        self.refusals += 1

    def ask(self, calls, times=1):
        """The set of answers to `times` calls that come while `calls` are in flight."""
        return {self.admission.refuses(calls) for _ in range(times)}

    def begin_probe(self):
        assert self.ask(12) == {True}
        self.now += OVERLOADED_SECONDS

    def test_calls_wait_until_the_queue_is_full_and_a_refusal_begins_an_overload(self):
        assert self.ask(11) == {False}
        assert self.ask(12) == {True}
        assert self.admission.state is State.OVERLOADED
        assert self.ask(4) == {True}
        assert self.ask(3) == {False}
        assert self.refusals == 2

    def test_an_overload_lasts_until_the_probe(self):
        assert self.ask(12) == {True}
        self.now += OVERLOADED_SECONDS - 0.01
        assert self.ask(4) == {True}
        self.now += 0.01
        assert self.ask(7) == {False}
        assert self.admission.state is State.PROBING

    def test_a_probe_with_too_many_refusals_returns_to_the_overload(self):
        self.begin_probe()
        assert self.ask(8, 4) == {True}
        assert self.ask(7) == {False}
        assert self.ask(8) == {True}
        assert self.admission.state is State.OVERLOADED
        assert self.ask(4) == {True}

    def test_a_probe_with_few_refusals_ends_the_overload(self):
        self.begin_probe()
        assert self.ask(8, 4) == {True}
        assert self.ask(7, 28) == {False}
        assert self.ask(11) == {False}
        assert self.admission.state is State.NORMAL

    def test_a_probe_with_few_calls_ends_by_time(self):
        self.begin_probe()
        assert self.ask(8) == {True}
        self.now += PROBE_SECONDS
        assert self.ask(11) == {False}

    def test_an_overload_ends_while_no_call_comes(self):
        assert self.ask(12, 50) == {True}
        self.now += OVERLOADED_SECONDS + PROBE_SECONDS
        assert self.ask(11) == {False}

    @pytest.mark.parametrize(("callers", "refused"), [(8, False), (40, True)])
    def test_callers_that_ask_again_at_once_are_answered_if_there_is_a_thread_for_each(self, callers, refused):
        """Each caller asks again after an answer, which takes 10 ms, or 1 ms after a refusal."""
        assert self.ask(12) == {True}
        next_call = [self.now] * callers
        in_flight: list[float] = []  # when each ends
        late_refusals = 0
        for millisecond in range(5_000):
            self.now = 100.0 + millisecond / 1000
            in_flight = [end for end in in_flight if end > self.now]
            for caller in range(callers):
                if next_call[caller] <= self.now:
                    if self.admission.refuses(len(in_flight)):
                        next_call[caller] = self.now + 0.001
                        late_refusals += self.now >= 100.0 + OVERLOADED_SECONDS + PROBE_SECONDS
                    else:
                        next_call[caller] = self.now + 0.010
                        in_flight.append(next_call[caller])
        assert (late_refusals > 0) == refused

    def test_with_one_thread_and_no_queue_the_thread_still_answers(self):
        admission = Admission(1, 0, self.count, lambda: self.now)
        assert [admission.refuses(calls) for calls in (0, 1, 0)] == [False, True, False]


class Call(NamedTuple):
    due: float
    seconds: float | None  # None if it was refused


def simulate(capacity: float, phases: list[tuple[float, float]]) -> list[list[Call]]:
    """The calls of each phase, on two processors that eight threads share. Calls come at random (Poisson).

    Args:
        capacity: calls a second.
        phases: load, as a multiple of the capacity, and seconds.
    """
    processors, threads, waiting = 2, 8, 16
    random = np.random.default_rng(0)
    now = 0.0
    admission = Admission(threads, waiting, lambda: None, lambda: now)
    bounds = np.cumsum([seconds for _, seconds in phases])
    arrivals = np.concatenate(
        [
            np.sort(random.uniform(end - seconds, end, random.poisson(load * capacity * seconds)))
            for (load, seconds), end in zip(phases, bounds, strict=True)
        ]
    )
    calls: list[list[Call]] = [[] for _ in phases]
    in_flight: list[list[float]] = []  # (work left, due); the first `threads` of them run, the others wait

    def advance(until: float) -> None:
        nonlocal now
        while in_flight:
            running = in_flight[:threads]
            speed = min(1.0, processors / len(running))
            first = min(running)
            end = now + first[0] / speed
            for call in running:
                call[0] -= (min(end, until) - now) * speed
            if end > until:
                break
            now = end
            in_flight.remove(first)
            calls[int(np.searchsorted(bounds, first[1]))].append(Call(first[1], now - first[1]))
        now = until

    for due in arrivals.tolist():
        advance(due)
        if admission.refuses(len(in_flight)):
            calls[int(np.searchsorted(bounds, due))].append(Call(due, None))
        else:
            in_flight.append([processors / capacity * random.uniform(0.7, 1.3), due])
    advance(float(bounds[-1]) + 1000)
    return calls


def percentile(calls: list[Call], share: float) -> float:
    return float(np.percentile([call.seconds for call in calls if call.seconds is not None], share))


@pytest.mark.parametrize("capacity", [100, 300])
def test_bounds_of_a_threefold_overload(capacity):
    """Answers are at most five times as late as unloaded, and half a load is answered again within five seconds."""
    unloaded, before, overload, after = simulate(capacity, [(0.1, 10), (0.5, 10), (3.0, 30), (0.5, 10)])
    assert all(call.seconds is not None for call in [*unloaded, *before])
    assert percentile(overload, 99) < 5 * percentile(unloaded, 99)
    answers = sum(call.seconds is not None for call in overload)
    assert answers > 0.9 * capacity * 30  # the processors do not idle
    start = 10 + 10 + 30
    assert all(call.seconds is not None for call in after if call.due > start + 5)


def test_a_server_with_a_high_load_returns_to_normal():
    """Four fifths of the capacity, before and after an overload."""
    before, _, after = simulate(300, [(0.8, 10), (3.0, 10), (0.8, 15)])
    recovered = [call for call in after if call.due > 20 + 5]
    assert all(call.seconds is not None for call in [*before, *recovered])
