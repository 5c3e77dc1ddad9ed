"""permessage-deflate as clients in use do it: the Python package `websockets`, Node's `ws`, and a WebSocket of browsers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import PerMessageDeflate

from conftest import Server, start

HERE = Path(__file__).parent
BOOKS = "/raw?symbols=BTC/USDT&channels=orderbook&exchanges=binance&depth=20&compression=true"
CLIENTS = 1_000
EVENTS_EACH = 3


def run_node(kind: str, url: str, count: int) -> dict[str, Any]:
    # Node 20 has the WebSocket of browsers behind this flag, and later versions take it still.
    command = ["node", "--experimental-websocket", str(HERE / "compression.mjs"), kind, url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"NO_PROXY": "*"})
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("kind", ["ws", "browser"])
def test_node_reads_compressed_events_and_is_heard(kind: str, server: Server) -> None:
    told = run_node(kind, server.ws + BOOKS, 5)
    assert told["extensions"].startswith("permessage-deflate"), told["extensions"]
    books = [message for message in told["messages"] if message["type"] == "orderbook"]
    assert books and all(len(book["bids"]) == 20 for book in books)
    assert any(message["type"] == "pong" for message in told["messages"])


def test_pythons_websockets_reads_compressed_events_and_is_heard(server: Server) -> None:
    async def visit() -> list[dict[str, Any]]:
        async with asyncio.timeout(30), connect(server.ws + BOOKS, proxy=None) as socket:
            assert any(isinstance(extension, PerMessageDeflate) for extension in socket.protocol.extensions)
            await socket.send(json.dumps({"type": "ping", "correlation_id": "c" * 200}))
            events: list[dict[str, Any]] = []
            while len(events) < 5 or not any(event["type"] == "pong" for event in events):
                events.append(json.loads(await socket.recv()))
            return events

    assert any(event["type"] == "orderbook" for event in asyncio.run(visit()))


def test_who_does_not_ask_for_it_gets_no_compression(server: Server) -> None:
    async def extensions() -> Any:
        async with connect(f"{server.ws}/stream", proxy=None) as socket:
            return socket.protocol.extensions

    assert asyncio.run(extensions()) == []


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server whose figures nobody else changes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * CLIENTS), hard))
    process, server = start(tmp_path)
    yield server
    process.terminate()
    assert process.wait(20) == 0


async def compressed_frames(url: httpx.URL, count: int) -> list[bytes]:
    """The first compressed frames that a client gets, as they come."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"GET {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
    )
    assert b"permessage-deflate" in await reader.readuntil(b"\r\n\r\n")
    frames: list[bytes] = []
    while len(frames) < count:
        first, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        payload = await reader.readexactly(length)
        if first == 0xC1:
            frames.append(payload)
    writer.close()
    return frames


def inflated(frame: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(zlib.decompressobj(-15).decompress(frame + b"\x00\x00\xff\xff"))
    return event


def compressions(server: Server) -> int:
    text = httpx.get(f"{server.rest}/metrics", headers={"Accept": "text/plain"}, trust_env=False).text
    found = re.search(r"^bond_deflated_frames_total(?:\{\})? (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found.group(1))


def test_a_thousand_clients_cost_one_compression_an_event(own_server: Server) -> None:
    url = httpx.URL(own_server.ws + BOOKS)

    async def visit(clients: int) -> list[list[bytes]]:
        async with asyncio.timeout(120):
            return await asyncio.gather(*(compressed_frames(url, EVENTS_EACH) for _ in range(clients)))

    frames = [frame for of_client in asyncio.run(visit(CLIENTS)) for frame in of_client]
    made = compressions(own_server)
    by_number: dict[tuple[str, int], bytes] = {}
    for frame in set(frames):
        event = inflated(frame)
        assert by_number.setdefault((event["epoch"], event["seq"]), frame) == frame, "everybody gets the same frame"
    newest = inflated(asyncio.run(visit(1))[0][0])["seq"]
    assert len(by_number) <= made <= newest, "one compression for each event that there was, at most"
    assert len(frames) == CLIENTS * EVENTS_EACH > newest, "without sharing there would have been more"
