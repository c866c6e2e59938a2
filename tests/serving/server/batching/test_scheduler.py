"""The scheduler of batches by itself, with batches that block until the test lets them go on."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving.server.batching.batch import QueueKey, Task
from serving.server.batching.batched_servable import BatchedServable
from serving.server.batching.parameters import BatchingParameters
from serving.server.batching.scheduler import BatchScheduler
from serving.server.request_errors import RequestError, invalid_argument
from serving.server.runtime import servable
from tests.serving.batches import LONG
from tests.support.waiting import wait_until

KEY = QueueKey("model", ("x",), ("y",))


def tasks_of(rows, deadline=None):
    return Task([np.arange(rows)], rows, deadline)


def echo(tasks):
    for task in tasks:
        task.outputs = list(task.arrays)


@pytest.fixture
def schedule():
    """`schedule(max_batch_size=4)`: a scheduler, stopped in the end."""
    schedulers = []

    def make(**parameters):
        schedulers.append(BatchScheduler(BatchingParameters(**{"num_batch_threads": 1, **parameters})))
        return schedulers[-1]

    yield make
    for scheduler in schedulers:
        scheduler.stop()


class Blocking:
    """Runs batches, the first only once it is let go."""

    def __init__(self):
        self.entered, self.go, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, tasks):
        self.batches.append([task.rows for task in tasks])
        self.entered.set()
        assert self.go.wait(10)
        echo(tasks)


def test_calls_join_a_waiting_batch_and_a_full_queue_refuses(schedule):
    scheduler = schedule(max_batch_size=4, max_enqueued_batches=2)
    process = Blocking()
    with ThreadPoolExecutor(8) as threads:
        submit = lambda rows: threads.submit(scheduler.run, KEY, (), tasks_of(rows), process)  # noqa: E731
        results = [submit(1)]
        assert process.entered.wait(10)
        for rows, queued in ((3, 1), (2, 2), (2, 2)):  # two of them in one batch
            results.append(submit(rows))
            wait_until(lambda queued=queued: scheduler.enqueued_batches == queued)
        time.sleep(0.05)
        with pytest.raises(RequestError, match="is full; currently num_enqueued_batches=2") as caught:
            scheduler.run(KEY, (), tasks_of(1), process)
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        other = threads.submit(scheduler.run, QueueKey("model", ("z",), ("y",)), (), tasks_of(1), process)
        wait_until(lambda: scheduler.enqueued_batches == 3)  # another queue has its own places
        process.go.set()
        assert [len(result.result(10)[0]) for result in results] == [1, 3, 2, 2]
        other.result(10)
    assert process.batches[0] == [1]
    assert sorted(process.batches[1:]) == [[1], [2, 2], [3]]
    assert scheduler.enqueued_batches == 0


def test_queues_take_turns(schedule):
    scheduler = schedule(max_batch_size=1, max_enqueued_batches=5)
    process, order = Blocking(), []
    keys = [QueueKey("model", (name,), ()) for name in "ab"]

    def noted(key):
        return lambda tasks: (order.append(key.inputs[0]), echo(tasks))

    with ThreadPoolExecutor(8) as threads:
        threads.submit(scheduler.run, KEY, (), tasks_of(1), process)
        assert process.entered.wait(10)
        for count, key in enumerate([keys[0]] * 3 + [keys[1]] * 2, 1):
            threads.submit(scheduler.run, key, (), tasks_of(1), noted(key))
            wait_until(lambda count=count: scheduler.enqueued_batches == count)
        process.go.set()
    assert order == ["a", "b", "a", "b", "a"]


def test_draining_waits_for_a_batch_whose_callers_gave_up(schedule):
    scheduler = schedule()
    process = Blocking()
    with pytest.raises(RequestError, match="its batch was run") as caught:
        scheduler.run(KEY, (), tasks_of(1, time.monotonic() + 0.05), process)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    with ThreadPoolExecutor(1) as threads:
        drained = threads.submit(scheduler.drain, "model")
        scheduler.drain("another model")
        time.sleep(0.05)
        assert not drained.done()
        process.go.set()
        drained.result(10)


def test_every_call_of_a_batch_gets_its_error_and_the_thread_goes_on(schedule):
    scheduler = schedule(max_batch_size=2, batch_timeout_micros=LONG)

    def fail(tasks):
        raise KeyError("defect")

    with ThreadPoolExecutor(2) as threads:
        failed = [threads.submit(scheduler.run, KEY, (), tasks_of(1), fail) for _ in range(2)]
        for future in failed:
            with pytest.raises(RequestError, match="KeyError") as caught:
                future.result(10)
            assert caught.value.code == grpc.StatusCode.INTERNAL
    assert scheduler.run(KEY, (), tasks_of(2), echo)[0].tolist() == [0, 1]


def test_a_batch_runs_in_time_when_another_thread_is_busy(schedule):
    """The one that slept towards the first batch's time is busy when the second batch's comes."""
    scheduler = schedule(num_batch_threads=2, batch_timeout_micros=100_000)
    process = Blocking()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(scheduler.run, KEY, "first", tasks_of(1), process)
        time.sleep(0.05)
        assert scheduler.run(KEY, "second", tasks_of(1, time.monotonic() + 5), echo)[0].tolist() == [0]
        process.go.set()
        first.result(10)


def test_stopping_ends_every_thread(tiny_models):
    scheduler = BatchScheduler(BatchingParameters(num_batch_threads=3, thread_pool_name="leaving"))
    assert sum(thread.name.startswith("leaving") for thread in threading.enumerate()) == 3
    loaded = servable.load(
        "tiny", 3, tiny_models(3), make=lambda *arguments: BatchedServable(*arguments, scheduler=scheduler)
    )
    loaded.close()
    scheduler.stop()
    assert not any(thread.name.startswith("leaving") for thread in threading.enumerate())


def test_an_error_raised_in_several_threads_is_not_the_same_object():
    task = tasks_of(1)
    task.end(invalid_argument("m" * 2000))
    raised = []
    for _ in range(2):
        with pytest.raises(RequestError) as caught:
            task.result()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].message == invalid_argument("m" * 2000).message
