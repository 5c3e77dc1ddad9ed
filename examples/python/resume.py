"""A client that resumes, written out: `listen` and `Client.subscribe` of the package do all of this, and wait more carefully.

It connects again after every loss that may pass, and goes on after the last event that it has. Needs `pip install httpx websockets`.

Usage: resume.py [COUNT]
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

SERVER = os.environ.get("BOND_URL", "http://localhost:8000")
PASSES = ("AUTH_EXPIRED", "LIMIT_EXCEEDED", "RATE_LIMIT_EXCEEDED", "SLOW_CONSUMER", "CONNECTION_ERROR", "INTERNAL_ERROR")


def is_final(lost: Exception) -> bool:
    """Whether it is of no use to come back: see "How a connection ends" in docs/protocol.md."""
    if isinstance(lost, httpx.HTTPStatusError):
        status = lost.response.status_code
        return 400 <= status <= 499 and status not in (408, 425, 429)
    if isinstance(lost, ConnectionClosed) and lost.rcvd:
        refused = lost.rcvd.code == 1008 and not lost.rcvd.reason.startswith(PASSES)
        return refused or 4500 <= lost.rcvd.code <= 4999
    return False


async def trades(http: httpx.AsyncClient, sentence: str) -> AsyncIterator[dict[str, Any]]:
    """The trades of a stream for ever, each once."""
    created = await http.post("/v1/streams", json={"natural_language": sentence})
    stream_id = created.raise_for_status().json()["stream_id"]
    epoch, seq, wait = "", 0, 0.2
    while True:
        try:
            # A fresh token for each connection: the last one may have expired.
            token = (await http.post(f"/v1/streams/{stream_id}/token")).raise_for_status().json()
            position = f"&from={epoch}:{seq}" if epoch else ""
            async with connect(f"{token['ws_url']}&control=true{position}") as socket:
                while True:
                    event = json.loads(await socket.recv())
                    if event["type"] == "gap":
                        print(f"a gap: events up to {event['epoch']}:{event['to_seq']} cannot be had", file=sys.stderr)
                    # Resuming may bring an event again.
                    if event["type"] == "trade" and (event["epoch"] != epoch or event["seq"] > seq):
                        epoch, seq, wait = event["epoch"], event["seq"], 0.2
                        yield event
        except (WebSocketException, OSError, EOFError, httpx.TransportError, httpx.HTTPStatusError) as lost:
            if is_final(lost):
                raise
            print(f"connection lost ({lost!r}); connecting again in {wait:.1f} s", file=sys.stderr)
        # A random part keeps clients that were lost together from coming back together.
        await asyncio.sleep(wait * (0.5 + random.random() / 2))
        wait = min(wait * 2, 30)


async def main(count: int) -> None:
    async with httpx.AsyncClient(base_url=SERVER) as http:
        async for event in trades(http, "BTC trades tick by tick"):
            print(f"{event['epoch']}:{event['seq']}", event["price"], sep="\t", flush=True)
            count -= 1
            if count == 0:
                return


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
