"""Calls that share a batch: over the wire, and the scheduler by itself where time and threads are held still."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.checks import checked
from serving.errors import ServerError, ServerUsageError, ServingError
from serving.prediction_client import PredictionClient
from serving.server import servable
from serving.server.batch_scheduler import BatchScheduler, Queue, Task
from serving.server.batching import BatchedServable, merge, padded_shapes
from serving.server.batching_parameters import BatchingParameters, read_batching_parameters
from serving.server.flags import parse_flags
from serving.server.statuses import RequestError, invalid_argument

LONG = 10_000_000  # microseconds: a batch that runs before was full


@pytest.fixture(scope="module")
def batching_server(tmp_path_factory, tiny_models, start):
    """`batching_server("max_batch_size { value: 4 }")`: (server, client), one for each set of parameters."""
    made = {}

    def run(parameters):
        if parameters not in made:
            path = tmp_path_factory.mktemp("batching") / "batching.txt"
            path.write_text(parameters)
            server = start(tiny_models(3).parent, "--enable_batching", f"--batching_parameters_file={path}")
            made[parameters] = (server, PredictionClient(server.address, "tiny", timeout=20))
        return made[parameters]

    yield run
    for _, client in made.values():
        client.close()


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


# Over the wire


def test_calls_share_a_batch_and_get_their_own_rows(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(f"max_batch_size {{ value: 6 }} batch_timeout_micros {{ value: {LONG} }}")
    inputs = [[0.0, 2.0], [4.0], [6.0, 8.0, 10.0]]
    answers = call_together([lambda x=x: client.predict("", {"x": x})["y"].tolist() for x in inputs])
    assert answers == [[3.0, 4.0], [5.0], [6.0, 7.0, 8.0]]
    assert sizes == [6]


def test_one_caller_alone_waits_no_longer_than_the_timeout(batching_server):
    _, client = batching_server("batch_timeout_micros { value: 200000 }")
    client.predict("", {"x": [1.0]})
    started = time.monotonic()
    client.predict("", {"x": [1.0]})
    assert 0.15 < time.monotonic() - started < 2


def test_batches_are_filled_up_to_an_allowed_size(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server("max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8")
    assert client.predict("", {"x": [2.0, 4.0, 6.0]})["y"].tolist() == [4.0, 5.0, 6.0]
    assert client.predict("", {"x": np.zeros([5], np.float32)})["y"].shape == (5,)
    assert client.predict("", {"x": np.zeros([0], np.float32)})["y"].shape == (0,)
    assert sizes == [4, 8, 0]


def test_inputs_of_different_widths_are_padded_when_asked_for(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(
        f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }} pad_variable_length_inputs: true"
    )
    texts = [[["a"]], [["b", "c", "d"]], np.empty([1, 0], object)]
    answers = call_together([lambda text=text: client.predict("echo", {"text": text})["text"] for text in texts])
    assert [answer.tolist() for answer in answers] == [[[b"a", b"", b""]], [[b"b", b"c", b"d"]], [[b"", b"", b""]]]
    assert sizes == [3]


@pytest.fixture(scope="module")
def two_histories(tmp_path_factory, start):
    """`two_histories(items, texts, excluded)`: one user's history and exclusions, in padded batches of two calls.

    The answer is what the graph read. It checks its inputs as an export does.
    """

    class Histories(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name="user_id"),
                *(tf.TensorSpec([None, None], tf.string, name=f"{name}_item_id") for name in ("history", "exclude")),
                tf.TensorSpec([None, None], tf.string, name="history_text"),
            ]
        )
        def read(self, user_id, history_item_id, exclude_item_id, history_text):
            inputs = {
                "user_id": user_id,
                "history_item_id": history_item_id,
                "exclude_item_id": exclude_item_id,
                "history_text": history_text,
            }
            inputs = checked(inputs, "user_id")
            events = tf.strings.reduce_join(inputs["history_item_id"] + inputs["history_text"], -1)
            return {"read": events + "-" + tf.strings.reduce_join(inputs["exclude_item_id"], -1)}

    directory = tmp_path_factory.mktemp("histories")
    model = Histories()
    tf.saved_model.save(model, str(directory / "models" / "1"), signatures={"serving_default": model.read})
    path = directory / "batching.txt"
    path.write_text(
        f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {LONG} }} pad_variable_length_inputs: true"
    )
    server = start(directory / "models", "--enable_batching", f"--batching_parameters_file={path}")
    with PredictionClient(server.address, "tiny", timeout=20) as client:

        def predict(items, texts, excluded):
            named = {"history_item_id": items, "history_text": texts, "exclude_item_id": excluded}
            inputs = {name: np.array([list(value)], object).reshape(1, -1) for name, value in named.items()}
            return client.predict("", {"user_id": ["u"], **inputs})["read"].tolist()

        yield predict


@pytest.mark.parametrize("longer", [("abcde", "vwxyz", "a"), ("abc", "xyz", "abcd"), ("", "", "abcdef")])
@pytest.mark.parametrize("malformed", [("abc", "xy", ""), ("ab", "xyz", "abc"), ("a", "", "a")])
def test_whether_a_call_is_refused_does_not_depend_on_its_neighbours(two_histories, monkeypatch, longer, malformed):
    sizes = spy_on_runs(monkeypatch)
    error, answer = call_together([lambda call=call: two_histories(*call) for call in (malformed, longer)])
    assert (error.code, "`history_text` should have the shape" in error.message) == ("INVALID_ARGUMENT", True)
    items, texts, excluded = longer
    read = "".join(item + text for item, text in zip(items, texts, strict=True))
    assert answer == [f"{read}-{excluded}".encode()]
    assert sizes == [2, 1, 1]


def test_two_calls_whose_padding_would_mend_each_other_are_both_refused(two_histories):
    errors = call_together([lambda: two_histories("abc", "xy", ""), lambda: two_histories("ab", "xyz", "")])
    for error in errors:
        assert (error.code, "`history_text` should have the shape" in error.message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    "other", [("de", "vw", "de"), ("de", "vw", "d"), ("def", "uvw", "d"), ("", "", ""), ("", "", "d")]
)
def test_inputs_that_are_equally_wide_by_accident_split_no_batch(two_histories, monkeypatch, other):
    sizes = spy_on_runs(monkeypatch)
    answers = call_together([lambda call=call: two_histories(*call) for call in (("abc", "xyz", "abc"), other)])
    read = "".join(item + text for item, text in zip(*other[:2], strict=True))
    assert answers == [[b"axbycz-abc"], [f"{read}-{other[2]}".encode()]]
    assert sizes == [2]


def test_inputs_of_different_widths_go_to_different_batches_otherwise(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {LONG} }}")
    texts = [[[b"a"]], [[b"b", b"c"]], [[b"d"]], [[b"e", b"f"]]]
    answers = call_together([lambda text=text: client.predict("echo", {"text": text})["text"] for text in texts])
    assert [answer.tolist() for answer in answers] == texts
    assert sizes == [2, 2]


def test_an_output_filter_changes_neither_rows_nor_order(batching_server, tiny_models):
    server, _ = batching_server("")
    request = predict_pb2.PredictRequest(output_filter=["text", "bytes"])
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = "echo"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([["ab"]]))
    with grpc.insecure_channel(server.address) as channel:
        outputs = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10).outputs
    assert (list(outputs["text"].string_val), list(outputs["bytes"].int_val)) == ([b"ab"], [2])


@pytest.mark.parametrize(
    ("signature", "inputs", "code", "told"),
    [
        ("", {"x": np.zeros([5], np.float32)}, "INVALID_ARGUMENT", "Task size 5 is larger than maximum input batch"),
        (
            "two",
            {"a": np.zeros([1], np.float32), "b": np.zeros([3, 2], np.int64)},
            "INVALID_ARGUMENT",
            r"must have equal 0th-dimension size \(a: 1, b: 3\)",
        ),
        ("slow", {"steps": 1}, "INVALID_ARGUMENT", r"must have at least one dimension \(input steps\)"),
        (
            "two",
            {"a": np.zeros([2], np.float32), "b": np.zeros([2, 2], np.int64)},
            "FAILED_PRECONDITION",
            "Batched output tensor has 0 dimensions",
        ),
        ("", {}, "INVALID_ARGUMENT", "input size does not match signature"),
    ],
)
def test_refusals(batching_server, signature, inputs, code, told):
    _, client = batching_server("max_batch_size { value: 4 }")
    with pytest.raises(ServingError, match=told) as caught:
        client.predict(signature, inputs)
    assert caught.value.code == code
    assert client.predict("", {"x": [2.0]})["y"] == [4.0]


def test_a_batch_that_fails_fails_every_call_in_it_alike(batching_server):
    server, client = batching_server(f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }}")
    errors = call_together([lambda: client.predict("refuse", {"message": ["no"]})] * 3)
    assert [error.code for error in errors] == ["INVALID_ARGUMENT"] * 3
    assert len({error.message for error in errors}) == 1
    assert server.scheduler.enqueued_batches == 0


def test_a_value_that_is_refused_is_told_to_its_caller_alone(batching_server):
    _, client = batching_server(f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }}")
    messages = ["", "mine", "yours"]
    answers = call_together(
        [lambda message=message: client.predict("refuse", {"message": [message]}) for message in messages]
    )
    assert answers[0]["message"] == [b""]
    for message, other, error in (("mine", "yours", answers[1]), ("yours", "mine", answers[2])):
        assert error.code == "INVALID_ARGUMENT"
        assert message in error.message
        assert other not in error.message


def test_a_deadline_that_passes_in_the_queue(batching_server):
    server, _ = batching_server(f"batch_timeout_micros {{ value: {LONG} }}")
    with server.core.models["tiny"].acquire() as held:
        signature = held.signatures["serving_default"]
        feeds = {signature.inputs["x"].handle: np.zeros([1], np.float32)}
        with pytest.raises(RequestError, match="waiting in batching queue") as caught:
            held.run(feeds, [signature.outputs["y"].handle], 50)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.scheduler.enqueued_batches == 0
    with PredictionClient(server.address, "tiny", timeout=0.2) as client, pytest.raises(ServingError) as refused:
        client.predict("", {"x": [0.0]})
    assert refused.value.code == "DEADLINE_EXCEEDED"


def test_a_full_queue_refuses_and_every_set_of_inputs_and_outputs_has_its_own(batching_server, held_runs):
    server, _ = batching_server(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"
    )
    with grpc.insecure_channel(server.address) as channel:
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def predict(signature, output_filter=(), **inputs):
            message = predict_pb2.PredictRequest(output_filter=output_filter)
            message.model_spec.name = "tiny"
            message.model_spec.signature_name = signature
            for name, value in inputs.items():
                message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            return call.future(message, timeout=30)

        running = predict("", x=[2.0])
        held_runs.wait_for_begin()
        waiting = [predict("", x=[4.0])]
        wait_until(lambda: server.scheduler.enqueued_batches == 1)
        error = predict("", x=[6.0]).exception(timeout=10)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert error.details() == (
            "The batch scheduling queue to which this task was submitted is full; currently num_enqueued_batches=1,"
            " max_enqueued_batches=1"
        )
        for count, output_filter in enumerate([(), ("text",), ("bytes",)], 2):
            waiting.append(predict("echo", output_filter, text=[["a"]]))
            wait_until(lambda count=count: server.scheduler.enqueued_batches == count)
        held_runs.let_go(1 + len(waiting))
        assert list(running.result().outputs["y"].float_val) == [4.0]
        assert [sorted(future.result().outputs) for future in waiting] == [
            ["y"],
            ["bytes", "text"],
            ["text"],
            ["bytes"],
        ]


def test_hot_swap_under_load_loses_no_call_and_frees_the_old_version(tmp_path, publish, start):
    path = tmp_path / "batching.txt"
    path.write_text("batch_timeout_micros { value: 2000 } num_batch_threads { value: 2 }")
    server = start(publish(1), "--enable_batching", f"--batching_parameters_file={path}")
    with server.core.models["tiny"].acquire() as held:
        old = weakref.ref(held)
    del held
    stop = threading.Event()
    answers: list[list[float]] = [[] for _ in range(4)]

    def call_until_stopped(mine):
        with PredictionClient(server.address, "tiny", timeout=20) as client:
            while not stop.is_set():
                mine.append(float(client.predict("", {"x": [0.0]})["y"][0]))

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(call_until_stopped, mine) for mine in answers]
        try:
            wait_until(lambda: all(mine or future.done() for mine, future in zip(answers, running, strict=True)))
            publish(2)
            wait_until(lambda: old() is None)
            wait_until(lambda: any(future.done() for future in running) or all(mine[-1] == 2.0 for mine in answers))
        finally:
            stop.set()
        for future in running:
            future.result()  # raises what a call raised
    for mine in answers:
        assert (mine[0], mine[-1]) == (1.0, 2.0)
        assert mine == sorted(mine)


def test_warm_up_goes_through_the_batches(publish, start, monkeypatch):
    from tests.serving.server.test_warmup import GOOD, write

    sizes = spy_on_runs(monkeypatch)
    base_path = publish(1)
    write(base_path / "1", [GOOD])
    start(base_path, "--enable_batching")
    assert sizes == [1]


# The scheduler


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


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


QUEUE = Queue("model", ("x",), ("y",))


def test_what_waits_for_a_thread_is_joined_and_a_full_queue_refuses(schedule):
    scheduler = schedule(max_batch_size=4, max_enqueued_batches=2)
    process = Blocking()
    with ThreadPoolExecutor(8) as threads:
        submit = lambda rows: threads.submit(scheduler.run, QUEUE, (), tasks_of(rows), process)  # noqa: E731
        results = [submit(1)]
        assert process.entered.wait(10)
        for rows, queued in ((3, 1), (2, 2), (2, 2)):  # two of them in one batch
            results.append(submit(rows))
            wait_until(lambda queued=queued: scheduler.enqueued_batches == queued)
        time.sleep(0.05)
        with pytest.raises(RequestError, match="is full; currently num_enqueued_batches=2") as caught:
            scheduler.run(QUEUE, (), tasks_of(1), process)
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        other = threads.submit(scheduler.run, Queue("model", ("z",), ("y",)), (), tasks_of(1), process)
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
    queues = [Queue("model", (name,), ()) for name in "ab"]

    def noted(queue):
        return lambda tasks: (order.append(queue.inputs[0]), echo(tasks))

    with ThreadPoolExecutor(8) as threads:
        threads.submit(scheduler.run, QUEUE, (), tasks_of(1), process)
        assert process.entered.wait(10)
        for count, queue in enumerate([queues[0]] * 3 + [queues[1]] * 2, 1):
            threads.submit(scheduler.run, queue, (), tasks_of(1), noted(queue))
            wait_until(lambda count=count: scheduler.enqueued_batches == count)
        process.go.set()
    assert order == ["a", "b", "a", "b", "a"]


def test_draining_waits_for_a_batch_whose_callers_gave_up(schedule):
    scheduler = schedule()
    process = Blocking()
    with pytest.raises(RequestError, match="its batch was run") as caught:
        scheduler.run(QUEUE, (), tasks_of(1, time.monotonic() + 0.05), process)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    with ThreadPoolExecutor(1) as threads:
        drained = threads.submit(scheduler.drain, "model")
        scheduler.drain("another model")
        time.sleep(0.05)
        assert not drained.done()
        process.go.set()
        drained.result(10)


def test_a_defect_is_told_to_every_call_and_the_thread_goes_on(schedule):
    scheduler = schedule(max_batch_size=2, batch_timeout_micros=LONG)

    def fail(tasks):
        raise KeyError("defect")

    with ThreadPoolExecutor(2) as threads:
        failed = [threads.submit(scheduler.run, QUEUE, (), tasks_of(1), fail) for _ in range(2)]
        for future in failed:
            with pytest.raises(RequestError, match="KeyError") as caught:
                future.result(10)
            assert caught.value.code == grpc.StatusCode.INTERNAL
    assert scheduler.run(QUEUE, (), tasks_of(2), echo)[0].tolist() == [0, 1]


def test_every_thread_minds_the_time_when_another_is_busy(schedule):
    """The one that slept towards the first batch's time is busy when the second batch's comes."""
    scheduler = schedule(num_batch_threads=2, batch_timeout_micros=100_000)
    process = Blocking()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(scheduler.run, QUEUE, "first", tasks_of(1), process)
        time.sleep(0.05)
        assert scheduler.run(QUEUE, "second", tasks_of(1, time.monotonic() + 5), echo)[0].tolist() == [0]
        process.go.set()
        first.result(10)


def test_no_thread_is_left(tiny_models):
    scheduler = BatchScheduler(BatchingParameters(num_batch_threads=3, thread_pool_name="leaving"))
    assert sum(thread.name.startswith("leaving") for thread in threading.enumerate()) == 3
    loaded = servable.load(
        "tiny", 3, tiny_models(3), make=lambda *arguments: BatchedServable(*arguments, scheduler=scheduler)
    )
    loaded.close()
    scheduler.stop()
    assert not any(thread.name.startswith("leaving") for thread in threading.enumerate())


# Putting arrays together


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=4).flatmap(
        lambda ranks: st.lists(
            st.tuples(*(st.tuples(*[st.integers(0, 3)] * rank) for rank in ranks)), min_size=1, max_size=4
        )
    )
)
def test_dimensions_of_a_batch_are_equal_where_those_of_every_call_are(calls):
    flat = lambda shapes: [size for shape in shapes for size in shape]  # noqa: E731
    padded = padded_shapes(calls)
    assert [len(shape) for shape in padded] == [len(shape) for shape in calls[0]]
    dimensions = list(zip(flat(padded), *map(flat, calls), strict=True))
    for size, *sizes in dimensions:
        assert size >= max(sizes)
        assert size == sizes[0] or len(set(sizes)) > 1
        for other, *others in dimensions:
            assert (size == other) == (sizes == others)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([np.float32, np.int64, object]).flatmap(
        lambda dtype: st.lists(
            hnp.arrays(
                dtype,
                hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4),
                elements=st.binary(max_size=3) if dtype is object else None,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    st.integers(0, 3),
)
def test_each_part_of_a_merged_batch_is_what_was_put_in_and_the_rest_is_nothing(arrays, more):
    rows = sum(len(array) for array in arrays)
    (width,) = padded_shapes([[array.shape[1:]] for array in arrays])
    merged = merge(arrays, (rows + more if rows else 0, *width))
    start = 0
    for array in arrays:
        part = merged[start : start + len(array)]
        np.testing.assert_array_equal(part[:, : array.shape[1]], array)
        assert all(value in (0, b"") for value in part[:, array.shape[1] :].ravel().tolist())
        start += len(array)
    for row in merged[start:]:
        np.testing.assert_array_equal(row, merged[0])
    assert merged.dtype == arrays[0].dtype


# Parameters


def test_parameters_and_their_defaults(tmp_path):
    assert read_batching_parameters(None) == BatchingParameters()
    assert (BatchingParameters().max_batch_size, BatchingParameters().max_enqueued_batches) == (1000, 10)
    path = tmp_path / "batching.txt"
    path.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 3 }\n"
        'num_batch_threads { value: 2 } thread_pool_name { value: "pool" } # a comment\n'
        "allowed_batch_sizes: [4, 8] pad_variable_length_inputs: true"
    )
    assert read_batching_parameters(path) == BatchingParameters(8, 0, 3, 2, (4, 8), True, "pool")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_batch_size { value: 0 }", "`max_batch_size` should be a whole number from 1. Received: 0"),
        ("batch_timeout_micros { value: -1 }", "`batch_timeout_micros` should be"),
        ("num_batch_threads { value: 0 }", "`num_batch_threads` should be"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4, 8]", "monotonically increasing"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]", "positive"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "last entry was 4; expected 8"),
        ("max_size { value: 8 }", 'no field named "max_size"'),
        ("max_batch_size", "is not a BatchingParameters"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (None, "cannot read"),
    ],
)
def test_bad_parameters_are_told_at_the_start(tmp_path, tiny_models, text, told):
    from serving.server.lifecycle import start_server

    path = tmp_path / "batching.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    flags = [f"--model_base_path={tiny_models(3).parent}", "--port=0", "--enable_batching"]
    with pytest.raises(ServerError) as caught:
        start_server(parse_flags([*flags, f"--batching_parameters_file={path}"]))
    message = str(caught.value)
    assert told in message
    assert str(path) in message
    assert "\n" not in message


def test_a_file_without_the_switch_is_wrong_usage():
    with pytest.raises(ServerUsageError, match="without setting `--enable_batching`"):
        parse_flags(["--model_base_path=/m", "--batching_parameters_file=/p"])


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
