"""Topics of one's own: the demo, and the client of the older bond-trading platform, written from its README."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from conftest import ROOT, Server, start

BINARY = os.environ.get("BOND_BINARY", str(ROOT / "target/debug/bond"))
HERE = Path(__file__).parent
TOPICS = ["prices.IN1234567890", "auctions.auction_001", "trading.user_123", "risk.user_123", "mobile.user_123"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("topics")


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    process, server = start(data_dir, BOND_STATIC_TOKENS="valid_token:user_123", BOND_REST_PER_SECOND="500")
    yield server
    process.terminate()
    assert process.wait(10) == 0


async def moving(url: str) -> list[dict[str, Any]]:
    """What a path says until each of its topics has moved twice."""
    said: list[dict[str, Any]] = []
    async with asyncio.timeout(40), connect(url, proxy=None) as socket:
        while sum(message["type"] == "delta" for message in said) < 2 or ("/risk/" in url and said[-1]["type"] != "alert"):
            said.append(json.loads(await socket.recv()))
    return said


def test_the_demo_moves_on_all_five_paths(server: Server, data_dir: Path) -> None:
    command = [BINARY, "demo", "topics", "--url", server.rest, "--data-dir", str(data_dir), "--seconds", "50"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert demo.stdout
    try:
        urls = []
        while len(urls) < 5:
            line = demo.stdout.readline()
            assert line, "the demo has ended"
            urls += re.findall(r"ws://\S+", line)

        async def follow_all() -> list[list[dict[str, Any]]]:
            return await asyncio.gather(*map(moving, urls))

        said = dict(zip(urls, asyncio.run(follow_all()), strict=True))
    finally:
        demo.terminate()
    assert demo.wait(10) == 0
    for url, messages in said.items():
        assert messages[0]["type"] == "snapshot" and messages[0]["meta"] == {"synthetic": True}, url
        moved = [message for message in messages if message["type"] in ("delta", "alert")]
        assert all(message["meta"]["simulated"] is True for message in moved), url
    families = {message["topic"].partition(".")[0] for messages in said.values() for message in messages}
    assert families >= {"prices", "auctions", "trading", "portfolio", "risk", "mobile"}


def test_the_demo_stops_by_itself(server: Server, data_dir: Path) -> None:
    command = [BINARY, "demo", "topics", "--url", server.rest, "--data-dir", str(data_dir), "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"ws://\S+/ws/\S+\?token=\S+", done.stdout)) == 5


def test_the_older_platforms_client_reads_every_message(server: Server) -> None:
    ends = threading.Event()

    def publish() -> None:
        with httpx.Client(base_url=server.rest, trust_env=False, timeout=10) as rest:
            n = 0
            while not ends.wait(0.2):
                n += 1
                for topic in TOPICS:
                    event = {"payload": {"n": n}, "meta": {"subtopic": "L1"}}
                    rest.post(f"/v1/topics/{topic}/events", json={"events": [event]}).raise_for_status()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        client = ["node", str(HERE / "bondx.mjs"), server.ws]
        done = subprocess.run(client, cwd=HERE, capture_output=True, text=True, timeout=60)
    finally:
        ends.set()
        publisher.join()
    assert done.returncode == 0, done.stderr
    for path, types in json.loads(done.stdout).items():
        assert {"ack", "pong", "delta"} <= set(types), path
