"""The original Bond: streams from a sentence or a spec, over REST and one WebSocket per stream."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from conftest import Server

FIELDS = {
    "ts", "window_start", "window_end", "symbol", "price_avg", "price_open", "price_high", "price_low", "price_close",
    "bid_avg", "ask_avg", "volume_sum", "tweets", "custom_count", "raw_data",
}  # fmt: skip


def create(rest: httpx.Client, **body: Any) -> dict[str, Any]:
    response = rest.post("/v1/streams", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def take(url: str, count: int, seconds: float = 20) -> list[dict[str, Any]]:
    async with asyncio.timeout(seconds), connect(url, proxy=None) as socket:
        return [json.loads(await socket.recv()) for _ in range(count)]


def test_a_sentence_becomes_a_stream_of_aggregates(rest: httpx.Client) -> None:
    stream = create(rest, natural_language="BTC price + tweets every 1s")
    assert {"stream_id", "ws_url", "spec"} <= stream.keys()
    events = asyncio.run(take(stream["ws_url"], 3))
    for event in events:
        assert event.keys() >= FIELDS
        assert event["symbol"] == "BTC/USDT"
        assert event["raw_data"].keys() >= {"trades", "sources"}
    assert rest.delete(f"/v1/streams/{stream['stream_id']}").status_code == 200


def test_a_spec_of_legacy_types_becomes_a_stream(rest: httpx.Client) -> None:
    spec = {
        "sources": [
            {"type": "ccxt.trades", "exchange": ["binance"], "symbols": ["BTC/USDT"], "mode": "ws"},
            {"type": "x.tweets", "symbols": ["BTC/USDT"]},
        ],
        "interval_sec": 1,
        "transforms": [{"op": "project", "fields": ["price_avg", "tweets"]}],
    }
    stream = create(rest, spec=spec)
    (event,) = asyncio.run(take(stream["ws_url"], 1))
    assert event["price_avg"] > 0
    assert rest.delete(f"/v1/streams/{stream['stream_id']}").json()["deleted"] is True


def test_a_spec_that_names_no_symbol_is_about_bitcoin_and_gives_the_fields_it_asks_for(rest: httpx.Client) -> None:
    spec = {
        "sources": [{"type": "ccxt"}],
        "interval_sec": 1,
        "transforms": [{"op": "project", "fields": ["price", "volume"]}],
    }
    stream = create(rest, spec=spec)
    assert stream["spec"]["symbols"] == ["BTC/USDT"]
    assert any("BTC/USDT" in warning for warning in stream["warnings"])
    (event,) = asyncio.run(take(stream["ws_url"], 1))
    assert event["price"] > 0 and event["volume"] > 0
    assert "price_avg" not in event
    rest.delete(f"/v1/streams/{stream['stream_id']}")


def test_the_id_is_blake2b_over_canonical_json_and_the_same_each_time(rest: httpx.Client) -> None:
    first = create(rest, natural_language="ETH trades every 2s")
    again = create(rest, spec=first["spec"])
    assert again["stream_id"] == first["stream_id"]
    assert len(first["stream_id"]) == 2 * hashlib.blake2b(digest_size=8).digest_size
    assert int(first["stream_id"], 16) >= 0
    rest.delete(f"/v1/streams/{first['stream_id']}")


def test_list_inspect_refresh_metrics_delete(rest: httpx.Client) -> None:
    stream = create(rest, natural_language="SOL price every 1s")
    path = f"/v1/streams/{stream['stream_id']}"
    listed = rest.get("/v1/streams").json()
    assert isinstance(listed, list)
    assert stream["stream_id"] in [item["stream_id"] for item in listed]
    assert rest.get(path).json()["spec"] == stream["spec"]
    token = rest.post(f"{path}/token").json()
    assert {"token", "ws_url", "expires_in_sec"} <= token.keys()
    assert token["expires_in_sec"] == 3600
    asyncio.run(take(token["ws_url"], 2))
    metrics = rest.get(f"{path}/metrics").json()
    assert metrics.keys() >= {
        "uptime_sec", "created_at", "msgs_in", "msgs_out", "dropped", "latency_p50_ms", "latency_p95_ms", "latency_samples",
    }  # fmt: skip
    assert metrics["msgs_in"] > 0 and metrics["msgs_out"] >= 2
    assert rest.delete(path).status_code == 200
    assert rest.get(path).status_code == 404


def test_a_bad_token_is_closed_with_1008(rest: httpx.Client, server: Server) -> None:
    stream = create(rest, natural_language="BTC price every 7s")

    async def refused(url: str) -> int | None:
        async with asyncio.timeout(5), connect(url, proxy=None) as socket:
            await socket.wait_closed()
            return socket.close_code

    assert asyncio.run(refused(f"{server.ws}/ws/{stream['stream_id']}?token=1.abc")) == 1008
    assert asyncio.run(refused(f"{server.ws}/ws/{stream['stream_id']}")) == 1008
    rest.delete(f"/v1/streams/{stream['stream_id']}")


class Listener(threading.Thread):
    """Reads `price_avg` from every frame for two minutes, as clients of the original Bond do."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(daemon=True)
        self.url, self.seconds = url, seconds
        self.prices: list[Any] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self.listen())
        except BaseException as error:
            self.error = error

    async def listen(self) -> None:
        deadline = time.monotonic() + self.seconds
        async with connect(self.url, proxy=None) as socket:
            while time.monotonic() < deadline:
                self.prices.append(json.loads(await asyncio.wait_for(socket.recv(), 10))["price_avg"])


@pytest.fixture(scope="session", autouse=True)
def two_minutes(server: Server) -> Iterator[Listener]:
    """Begins before the other tests and is looked at by one of them, so that the two minutes pass once."""
    with httpx.Client(base_url=server.rest, trust_env=False) as rest:
        stream = create(rest, natural_language="BTC price + tweets every 500 ms")
        listener = Listener(stream["ws_url"], 120)
        listener.start()
        yield listener


def test_for_two_minutes_every_frame_has_price_avg(two_minutes: Listener) -> None:
    two_minutes.join(150)
    assert two_minutes.error is None, two_minutes.error
    assert not two_minutes.is_alive()
    assert len(two_minutes.prices) >= 200
    assert all(price > 0 for price in two_minutes.prices)
