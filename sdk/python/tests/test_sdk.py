"""The SDK against a real `bond up` with simulated venues."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from bond import Client, Closed, Refused, listen
from conftest import Server, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    process, server = start(tmp_path_factory.mktemp("sdk"))
    yield server
    process.terminate()
    assert process.wait(10) == 0


async def test_listen_in_one_line(server: Server) -> None:
    async for event in listen("BTC price + tweets every 1s", url=server.rest):
        assert event["symbol"] == "BTC/USDT"
        assert isinstance(event["price_close"], Decimal | int)
        break


async def test_create_list_refresh_subscribe_delete(server: Server) -> None:
    async with Client(server.rest) as client:
        created = await client.create("ETH trades every 1s")
        assert created.stream_id in [stream.stream_id for stream in await client.list()]
        assert (await client.refresh(created.stream_id)).expires_in_sec == 3600
        numbers: list[int] = []
        async for event in client.subscribe(created.stream_id):
            numbers.append(event["seq"])
            if len(numbers) == 3:
                break
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        await client.delete(created.stream_id)
        assert created.stream_id not in [stream.stream_id for stream in await client.list()]


async def test_a_deleted_stream_ends_the_subscription(server: Server) -> None:
    async with Client(server.rest) as client:
        created = await client.create("SOL price every 1s")
        with pytest.raises((Closed, Refused)):
            async for _ in client.subscribe(created.stream_id):
                await client.delete(created.stream_id)


async def test_what_is_not_understood_says_what_to_fix(server: Server) -> None:
    async with Client(server.rest) as client:
        with pytest.raises(Refused) as refused:
            await client.create("please do something nice")
    assert refused.value.status == 400
    assert refused.value.detail
