"""Deadlines, retries and connections of both clients, against a server that fails on command."""

import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.client import KeepAlive, RecommenderClient, Retry, ServingError
from tests.serving.awaited import Awaited
from tests.serving.client.scripted_server import ITEMS, ScriptedServer

QUICK = Retry(attempts=3, initial_backoff=0.001, max_backoff=0.002)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def client_of(request):
    def make(server, timeout=10.0, **options):
        return request.param(server.address, timeout=timeout, **options)

    return make


def test_unavailable_is_tried_again(client_of, server):
    server.fail("UNAVAILABLE", "UNAVAILABLE")
    with client_of(server, retry=QUICK) as client:
        assert [item.item_id for item in client.recommend(user_id="u")] == list(ITEMS)
    assert server.predicted() == 3


def test_no_more_often_than_attempts(client_of, server):
    server.fail(*["UNAVAILABLE"] * 5)
    with (
        client_of(server, retry=QUICK) as client,
        pytest.raises(ServingError, match=r"on command \(tried 3 times\)") as caught,
    ):
        client.recommend(user_id="u")
    assert caught.value.code == "UNAVAILABLE"
    assert "no model server" not in caught.value.message  # one answered
    assert server.predicted() == 3


@pytest.mark.parametrize(
    "code",
    ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED", "UNKNOWN", "CANCELLED", "INVALID_ARGUMENT"],
)
def test_nothing_else_is_tried_again(client_of, server, code):
    server.fail(code)
    with client_of(server, retry=QUICK) as client, pytest.raises(ServingError) as caught:
        client.recommend(user_id="u")
    assert caught.value.code == code
    assert server.predicted() == 1


def test_one_attempt(client_of, server):
    server.fail("UNAVAILABLE")
    with client_of(server, retry=Retry(attempts=1)) as client, pytest.raises(ServingError) as caught:
        client.recommend(user_id="u")
    assert caught.value.message == "on command"
    assert server.predicted() == 1


def test_the_deadline_holds_for_all_attempts_together(client_of, server):
    """Two answers of 0.5 s each do not fit into 0.8 s, though each does."""
    server.fail("UNAVAILABLE", "UNAVAILABLE")
    with client_of(server, retry=QUICK) as client:
        client.metadata()
        server.delay = 0.5
        with pytest.raises(ServingError, match=r"within 0\.8 s: Deadline Exceeded; before that: on command") as caught:
            client.recommend(user_id="u", timeout=0.8)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert server.predicted() == 2


def test_no_wait_beyond_the_deadline(client_of, server, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    server.fail("UNAVAILABLE")
    with client_of(server, retry=Retry(attempts=2, initial_backoff=60, max_backoff=60)) as client:
        began = time.monotonic()
        with pytest.raises(ServingError, match="on command") as caught:
            client.recommend(user_id="u")
        assert time.monotonic() - began < 5
    assert caught.value.code == "UNAVAILABLE"


def test_waits_are_spread_from_zero_to_a_bound_that_doubles():
    retry = Retry(attempts=200, initial_backoff=0.1, max_backoff=1.0)
    for attempt, bound in ((1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (199, 1.0)):
        waits = [retry.wait(attempt) for _ in range(400)]
        assert min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound
        assert statistics.mean(waits) == pytest.approx(bound / 2, rel=0.2)
    assert retry.wait(200) is None


def test_a_server_that_comes_back_is_found_again(client_of, server):
    """Also after pauses between attempts to connect had time to grow."""
    port = int(server.address.rpartition(":")[2])
    with client_of(server, retry=Retry(attempts=1000, initial_backoff=0.05, max_backoff=0.1)) as client:
        client.recommend(user_id="u")
        server.__exit__()
        with pytest.raises(ServingError, match="no model server answers") as caught:
            client.recommend(user_id="u", timeout=1.5)
        assert caught.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")  # of an attempt that just began
        with ScriptedServer(port) as again:
            assert client.recommend(user_id="u")
            assert again.predicted() == 1


def test_threads_share_one_connection(server):
    with RecommenderClient(server.address, timeout=10) as client, ThreadPoolExecutor(8) as threads:
        lists = list(threads.map(lambda number: client.recommend(user_id=f"u{number}"), range(40)))
    assert all(len(items) == len(ITEMS) for items in lists)
    assert len(server.peers) == 1
    assert server.predicted() == 40


def test_a_closed_client_says_so(client_of, server):
    client = client_of(server)
    client.close()
    with pytest.raises(ServingError, match="the client is closed"):
        client.recommend(user_id="u")


def test_a_client_that_is_closed_while_it_calls_says_so(server):
    client = RecommenderClient(server.address, timeout=10)
    client.recommend(user_id="u")
    server.delay = 0.5
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.recommend, user_id="u")
        time.sleep(0.2)
        client.close()
        with pytest.raises(ServingError, match="the client is closed"):
            call.result()


def test_wait_until_available(client_of, server):
    server.states = ["LOADING", "LOADING", "AVAILABLE"]
    with client_of(server) as client:
        assert client.wait_until_available(timeout=10) == 1
    assert server.calls == ["GetModelStatus"] * 3


def test_waiting_goes_on_while_a_server_stops(client_of, server):
    server.fail_status(*["UNAVAILABLE"] * 4)
    with client_of(server, retry=Retry(attempts=1)) as client:
        assert client.wait_until_available(timeout=20) == 1
        server.fail_status("NOT_FOUND")
        with pytest.raises(ServingError) as caught:
            client.wait_until_available(timeout=20)
    assert caught.value.code == "NOT_FOUND"


def test_waiting_in_vain(client_of):
    with ScriptedServer() as server:
        pass
    with client_of(server) as client, pytest.raises(ServingError, match=r"within 0\.3 s: no answer from 127") as caught:
        client.wait_until_available(timeout=0.3)
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_a_label_is_available_when_it_has_metadata(client_of, server):
    """GetModelStatus ignores labels."""
    with client_of(server, version_label="canary") as client:
        assert client.wait_until_available() == 1
    assert server.calls == ["GetModelStatus", "GetModelMetadata"]
    assert [spec.version_label for spec in server.specs] == ["", "canary"]


def test_wait_for_a_server_that_is_not_there_yet(client_of):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = ScriptedServer(port)
    starter = threading.Timer(0.3, server.__enter__)
    starter.start()
    try:
        with client_of(server) as client:
            assert client.wait_until_available(timeout=20) == 1
    finally:
        starter.join()
        server.__exit__()


def test_waiting_ends_with_the_states(client_of, server):
    server.states = ["LOADING"]
    with client_of(server) as client, pytest.raises(ServingError, match=r"within 0\.3 s: versions 1: LOADING \["):
        client.wait_until_available(timeout=0.3)


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, None), ({"version": 7}, ("version", 7)), ({"version_label": "canary"}, ("version_label", "canary"))],
)
def test_the_version_that_is_asked(client_of, server, options, named):
    with client_of(server, **options) as client:
        client.recommend(user_id="u")
    assert server.calls == ["GetModelMetadata", "Predict"]
    for spec in server.specs:
        which = spec.WhichOneof("version_choice")
        assert named == (which and (which, spec.version.value if which == "version" else spec.version_label))


def test_one_call_may_ask_another_version(client_of, server):
    with client_of(server, version_label="stable") as client:
        client.predict("recommend", {"user_id": ["u"]}, version=3)
        client.predict("recommend", {"user_id": ["u"]})
        client.metadata(version_label="canary")
    asked = [spec.version_label or spec.version.value for spec in server.specs]
    assert asked == [3, 3, "stable", "stable", "canary"]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Retry(attempts=0), "`attempts=0`"),
        (lambda: Retry(attempts=1.5), "`attempts=1.5`"),
        (lambda: Retry(initial_backoff=-1), "`initial_backoff=-1`"),
        (lambda: Retry(max_backoff=float("nan")), "`max_backoff=nan`"),
        (lambda: KeepAlive(interval=0), "`interval=0`"),
        (lambda: KeepAlive(timeout="1"), "`timeout='1'`"),
        (lambda: RecommenderClient("a:1", timeout=float("inf")), "`timeout=inf`"),
        (lambda: RecommenderClient("a:1", version=1, version_label="a"), "one of `version` and `version_label`"),
        (lambda: RecommenderClient("a:1", version="1"), "`version='1'`"),
        (lambda: RecommenderClient("a:1", version_label=""), "`version_label=''`"),
    ],
)
def test_wrong_settings(make, named):
    with pytest.raises(ServingError, match=named) as caught:
        make()
    assert caught.value.code == "INVALID_ARGUMENT"
