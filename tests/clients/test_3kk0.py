"""3kk0: one socket for all exchanges, with filters, and the raw stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
from websockets.asyncio.client import connect

from conftest import Server

COMMON = {"type", "exchange", "symbol", "ts_event", "ts_exchange", "seq_internal"}
SIX_TYPES = {"trade", "orderbook", "ticker", "funding", "heartbeat", "raw"}

Event = dict[str, Any]


async def gather(
    url: str, message: Event | None, enough: Callable[[list[Event]], bool], seconds: float = 20
) -> list[Event]:
    """Subscribes and reads until there is enough."""
    events: list[Event] = []
    async with asyncio.timeout(seconds), connect(url, proxy=None) as socket:
        if message is not None:
            await socket.send(json.dumps(message))
        while not enough(events):
            events.append(json.loads(await socket.recv()))
    return events


def seen(field: str, *values: str) -> Callable[[list[Event]], bool]:
    return lambda events: set(values) <= {event[field] for event in events}


def subscribe(**filters: Any) -> Event:
    return {"type": "subscribe", **filters}


def test_trades_and_books_of_three_exchanges(server: Server) -> None:
    message = subscribe(
        channels=["trades", "orderbook"], symbols=["BTC/USDT"], exchanges=["binance", "okx", "bybit"], depth=20, raw=False
    )

    def enough(events: list[Event]) -> bool:
        pairs = {(event["type"], event["exchange"]) for event in events}
        return pairs >= {(t, e) for t in ("trade", "orderbook") for e in ("binance", "okx", "bybit")}

    events = asyncio.run(gather(f"{server.ws}/stream", message, enough))
    assert {event["type"] for event in events} <= {"trade", "orderbook", "heartbeat"}
    for event in events:
        if event["type"] == "heartbeat":
            continue
        assert event.keys() >= COMMON
        assert event["symbol"] == "BTC/USDT"
        assert isinstance(event["ts_event"], int)
        if event["type"] == "trade":
            assert event.keys() >= {"price", "size", "side", "trade_id"}
            assert event["side"] in {"buy", "sell", "unknown"} and isinstance(event["trade_id"], str)
        else:
            assert event.keys() >= {"bids", "asks", "update_type", "depth", "sequence", "prev_sequence"}
            assert event["bids"][0][0] < event["asks"][0][0]
            assert len(event["bids"]) <= 20 and event["update_type"] in {"snapshot", "delta"}


def test_numbers_of_a_topic_are_contiguous(server: Server) -> None:
    message = subscribe(channels=["trades"], symbols=["BTC/USDT"], exchanges=["binance"])
    events = asyncio.run(gather(f"{server.ws}/stream", message, lambda events: len(events) >= 30))
    numbers = [event["seq_internal"] for event in events if event["type"] == "trade"]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_wildcards_take_every_exchange_and_symbol(server: Server) -> None:
    message = subscribe(channels=["trades"], symbols=["*"], exchanges="*")

    def enough(events: list[Event]) -> bool:
        return seen("exchange", "binance", "okx", "bybit")(events) and seen("symbol", "BTC/USDT", "ETH/USDT")(events)

    asyncio.run(gather(f"{server.ws}/stream", message, enough))


def test_tickers_and_funding(server: Server) -> None:
    message = subscribe(channels=["ticker", "funding"], symbols=["BTC/USDT"])
    events = asyncio.run(gather(f"{server.ws}/stream", message, seen("type", "ticker", "funding")))
    funding = next(event for event in events if event["type"] == "funding")
    assert funding["symbol"] == "BTC/USDT:USDT"
    assert {event["type"] for event in events} <= SIX_TYPES


def test_heartbeats_come_with_status(server: Server) -> None:
    message = subscribe(channels=["trades"], symbols=["BTC/USDT"], exchanges=["binance"])

    def two(events: list[Event]) -> bool:
        return sum(event["type"] == "heartbeat" for event in events) >= 2

    events = asyncio.run(gather(f"{server.ws}/stream", message, two))
    beat = next(event for event in events if event["type"] == "heartbeat")
    assert (beat["exchange"], beat["symbol"]) == ("system", "")


def test_a_book_has_the_depth_that_was_asked_for(server: Server) -> None:
    message = subscribe(channels=["orderbook"], symbols=["BTC/USDT"], exchanges=["binance"], depth=10)
    events = asyncio.run(gather(f"{server.ws}/stream", message, seen("type", "orderbook")))
    book = next(event for event in events if event["type"] == "orderbook")
    assert book["depth"] == len(book["bids"]) == len(book["asks"]) == 10


def test_raw_adds_the_venues_own_frames(server: Server) -> None:
    message = subscribe(channels=["trades"], symbols=["BTC/USDT"], exchanges=["binance"], raw=True)
    events = asyncio.run(gather(f"{server.ws}/stream", message, seen("type", "raw", "trade")))
    raw = next(event for event in events if event["type"] == "raw")
    assert raw["payload"].keys() == {"type", "data"}


def test_raw_path_streams_without_a_message(server: Server) -> None:
    url = f"{server.ws}/raw?symbol=BTC/USDT&channels=trades,ticker&exchange=binance&exchange=okx&mode=all"
    events = asyncio.run(gather(url, None, seen("exchange", "binance", "okx")))
    assert {event["type"] for event in events} <= SIX_TYPES


def test_metrics_are_json(server: Server, rest: httpx.Client) -> None:
    async def while_subscribed() -> Event:
        async with asyncio.timeout(20), connect(f"{server.ws}/stream", proxy=None) as socket:
            await socket.send(json.dumps(subscribe(channels=["trades"], symbols=["BTC/USDT"], exchanges=["binance"])))
            while json.loads(await socket.recv())["type"] != "trade":
                pass
            metrics: Event = rest.get("/metrics").json()
            return metrics

    metrics = asyncio.run(while_subscribed())
    assert metrics.keys() >= {"active_subscriptions", "messages_per_second", "uptime", "exchange_status"}
    assert metrics["exchange_status"]["binance"] == "connected"
    assert metrics["active_subscriptions"] >= 1
