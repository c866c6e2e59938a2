"""What only the asyncio client does. `test_retries.py` and `test_client.py` run with both."""

import asyncio
import time

import grpc
import pytest

from serving.client import AsyncPredictionClient, AsyncRecommenderClient, Retry, ServingError, Tls
from tests.serving.certificates import Authority
from tests.serving.client.scripted_server import ITEMS, ScriptedServer


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


def test_calls_run_at_the_same_time_over_one_connection(server):
    async def run():
        async with AsyncRecommenderClient(server.address, timeout=10) as client:
            await client.metadata()
            server.delay = 0.3
            began = time.monotonic()
            lists = await asyncio.gather(*(client.recommend(user_id=f"u{number}") for number in range(8)))
            return lists, time.monotonic() - began

    lists, seconds = asyncio.run(run())
    assert [[item.item_id for item in items] for items in lists] == [list(ITEMS)] * 8
    assert seconds < 8 * 0.3 / 2
    assert len(server.peers) == 1


def test_the_loop_goes_on_while_a_call_waits(server):
    """Between two attempts too."""
    server.fail("UNAVAILABLE")
    server.delay = 0.15

    async def run():
        ticks = 0
        async with AsyncRecommenderClient(
            server.address, timeout=10, retry=Retry(attempts=2, initial_backoff=0.1)
        ) as client:
            task = asyncio.create_task(client.recommend(user_id="u"))
            while not task.done():
                await asyncio.sleep(0.01)
                ticks += 1
            return ticks, await task

    ticks, items = asyncio.run(run())
    assert items
    assert ticks > 5


def test_a_cancelled_call_ends_at_once(server):
    server.delay = 1.0

    async def run():
        async with AsyncRecommenderClient(server.address, timeout=10) as client:
            await client.metadata()
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.recommend(user_id="u"), 0.1)
            return time.monotonic() - began

    assert asyncio.run(run()) < 0.9


def test_made_outside_of_a_loop_and_kept_to_one(server):
    client = AsyncPredictionClient(server.address, "recommender", timeout=10)

    async def ask():
        return (await client.metadata()).version

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(ask()) == 1
    with pytest.raises(ServingError, match="belongs to the event loop of its first call"):
        asyncio.run(ask())
    loop.run_until_complete(client.close())
    loop.close()


def test_closed_before_the_first_call(server):
    async def run():
        client = AsyncRecommenderClient(server.address)
        await client.close()
        with pytest.raises(ServingError, match="the client is closed"):
            await client.recommend(user_id="u")

    asyncio.run(run())


def test_closed_while_a_call_is_under_way(server):
    async def run():
        client = AsyncRecommenderClient(server.address, timeout=10)
        await client.recommend(user_id="u")
        server.delay = 0.5
        call = asyncio.create_task(client.recommend(user_id="u"))
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(ServingError, match="the client is closed"):
            await call

    asyncio.run(run())


def test_tls(tmp_path):
    authority = Authority("servers")
    key, certificate = authority.issue("server")
    roots = tmp_path / "roots.pem"
    roots.write_text(authority.certificate)

    async def run(server):
        async with AsyncRecommenderClient(server.address, timeout=10, tls=Tls(roots)) as client:
            return await client.recommend(user_id="u")

    with ScriptedServer(credentials=grpc.ssl_server_credentials([(key.encode(), certificate.encode())])) as server:
        assert [item.item_id for item in asyncio.run(run(server))] == list(ITEMS)
