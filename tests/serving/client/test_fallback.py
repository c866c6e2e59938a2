"""Popular items where no model answers, and nowhere else."""

import pytest

from serving.client import HistoryEvent, RecommenderClient, Retry, ServingError, UserRequest
from serving.popular_items import write_popular_items
from serving.pseudonyms import pseudonym
from tests.serving.awaited import Awaited
from tests.serving.client.scripted_server import ITEMS, ScriptedServer

POPULAR = ["p1", "p2", "p3", "p4"]
QUICK = Retry(attempts=2, initial_backoff=0.001)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def client_of(request):
    def make(address, **options):
        return request.param(address, **{"timeout": 10, "retry": QUICK, "fallback": POPULAR, **options})

    return make


def item_ids(items):
    return [item.item_id for item in items]


def test_a_model_that_answers_needs_none(client_of, server):
    server.fail("UNAVAILABLE")  # once, and two attempts
    with client_of(server.address) as client:
        items = client.recommend(user_id="u")
    assert item_ids(items) == list(ITEMS)
    assert (items.is_fallback, items.failure, items.version) == (False, None, 1)


def test_no_server(client_of):
    with client_of("127.0.0.1:1") as client:
        items = client.recommend(user_id="u", history=["p3", HistoryEvent("x")], exclude=["p1"], k=10)
        assert item_ids(items) == ["p2", "p4"]
        assert items.is_fallback
        assert items.failure.code == "UNAVAILABLE"
        assert "127.0.0.1:1" in items.failure.message
        assert items.version is None
        assert item_ids(client.recommend(user_id="u", k=1)) == ["p1"]


def test_unavailable_after_all_attempts(client_of, server):
    server.fail(*["UNAVAILABLE"] * 2)
    with client_of(server.address) as client:
        assert client.recommend(user_id="u").is_fallback
        assert server.predicted() == 2
        assert not client.recommend(user_id="u").is_fallback


def test_a_server_with_too_many_calls_is_not_asked_again(client_of, server):
    server.fail("RESOURCE_EXHAUSTED")
    with client_of(server.address) as client:
        items = client.recommend(user_id="u")
        assert (items.is_fallback, items.failure.code) == (True, "RESOURCE_EXHAUSTED")
        assert server.predicted() == 1


def test_the_deadline(client_of, server):
    with client_of(server.address) as client:
        client.metadata()
        server.delay = 0.5
        items = client.recommend(user_id="u", timeout=0.1)
    assert item_ids(items) == POPULAR
    assert items.failure.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "PERMISSION_DENIED", "INTERNAL", "NOT_FOUND"])
def test_any_other_failure_is_raised(client_of, server, code):
    server.fail(code)
    with client_of(server.address) as client, pytest.raises(ServingError) as caught:
        client.recommend(user_id="u")
    assert caught.value.code == code


def test_a_bad_request_is_refused_with_or_without_a_server(client_of, server):
    for address in (server.address, "127.0.0.1:1"):
        with client_of(address) as client, pytest.raises(ServingError) as caught:
            client.recommend(user_id="u", exclude="p1")
        assert caught.value.code == "INVALID_ARGUMENT"


def test_each_user_of_a_batch_has_an_own_list(client_of):
    requests = [UserRequest("u1", history=["p1"]), UserRequest("u2", exclude=["p2"]), UserRequest()]
    with client_of("127.0.0.1:1") as client:
        lists = client.recommend_many(requests, k=2)
    assert [item_ids(items) for items in lists] == [["p2", "p3"], ["p1", "p3"], ["p1", "p2"]]
    assert all(items.is_fallback for items in lists)


def test_the_history_may_stay(client_of):
    with client_of("127.0.0.1:1", fallback_excludes_history=False) as client:
        assert item_ids(client.recommend(history=["p1"], exclude=["p2"])) == ["p1", "p3", "p4"]


def test_allowed_categories_are_never_broken(client_of):
    with client_of("127.0.0.1:1") as client, pytest.raises(ServingError) as caught:
        client.recommend(allowed_categories=["novel"])
    assert caught.value.code == "UNAVAILABLE"


def test_the_asset_of_an_exported_model(client_of, tmp_path):
    path = write_popular_items(tmp_path, ["p9", "p8"])
    for fallback in (path, str(path), tmp_path):
        with client_of("127.0.0.1:1", fallback=fallback) as client:
            assert item_ids(client.recommend()) == ["p9", "p8"]


def test_pseudonyms(client_of, tmp_path):
    """The list holds the model's ids; the caller excludes and recognises by own ones."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    popular = [pseudonym(key.read_bytes(), item_id) for item_id in POPULAR]
    with client_of("127.0.0.1:1", fallback=popular, pseudonym_key_file=str(key), known_item_ids=["p2", "p3"]) as client:
        assert item_ids(client.recommend(exclude=["p1"])) == ["p2", "p3", popular[3]]


@pytest.mark.parametrize(
    ("fallback", "message"),
    [([], "`fallback` should hold at least one"), ([5], "`fallback` should hold strings"), ("no/such", "no/such")],
)
def test_a_fallback_that_is_none_is_refused_at_once(client_of, fallback, message):
    with pytest.raises(ServingError, match=message):
        client_of("127.0.0.1:1", fallback=fallback)
