"""One WebSocket connection: its events, and what its end means."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from .errors import Closed, Garbled, Refused
from .exact import from_json, to_json
from .models import Event
from .reconnect import Backoff, close_advice, retry_after, status_advice

_log = logging.getLogger("bond")

LOSSES = (WebSocketException, OSError, EOFError, asyncio.TimeoutError, httpx.RequestError, Refused, Garbled)
"""What ends a connection, or an attempt at one: see `asked_wait` for which of them are final."""


async def events(ws_url: str, position: str | None) -> AsyncIterator[Event]:
    """The messages of one connection, until it ends with one of `LOSSES`."""
    query = {"control": "true"} | ({"from": position} if position else {})
    async for event in messages(f"{ws_url}&{urlencode(query)}"):
        yield event


async def messages(url: str, first: Sequence[dict[str, Any]] = (), token: str | None = None) -> AsyncIterator[Event]:
    """Says the first messages, and gives those of the server until the connection ends with one of `LOSSES`."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with connect(url, proxy=None, additional_headers=headers) as socket:
        # What came before an early close is still read; the close is told by the next `recv`.
        with suppress(ConnectionClosed):
            for message in first:
                await socket.send(to_json(message))
        while True:
            yield _read(await socket.recv())


async def rest(backoff: Backoff, lost: Exception, announced: float = 0.0) -> None:
    """Waits before the next attempt; raises where there should be none."""
    asked = max(asked_wait(lost), announced)
    wait = backoff.wait(random.random(), asked)
    _log.warning("connection lost (%s: %r); connecting again in %.1f s", type(lost).__name__, str(lost), wait)
    await asyncio.sleep(wait)


def asked_wait(lost: Exception) -> float:
    """How many seconds the server asks to wait before the next attempt. Raises `Closed` or `Refused` where there should be none."""
    if isinstance(lost, Refused):
        if lost.advice:
            raise lost
        return lost.retry_after
    if isinstance(lost, InvalidStatus):
        return _handshake_wait(lost)
    if isinstance(lost, ConnectionClosed) and lost.rcvd is not None:
        advice = close_advice(lost.rcvd.code, lost.rcvd.reason)
        if advice:
            raise Closed(lost.rcvd.code, lost.rcvd.reason, advice) from lost
    return 0.0


def _handshake_wait(lost: InvalidStatus) -> float:
    status = lost.response.status_code
    advice = status_advice(status)
    if advice:
        raise Closed(status, "the connection was refused", advice) from lost
    # A header that came twice asks for nothing that can be relied on.
    asked = lost.response.headers.get_all("retry-after")
    return retry_after(asked[0] if len(asked) == 1 else None, time.time())


def _read(frame: str | bytes) -> Event:
    try:
        event = from_json(frame)
    except (ValueError, RecursionError) as error:
        raise Garbled("a frame is not JSON") from error
    if not isinstance(event, dict):
        raise Garbled("a frame is not a JSON object")
    return event
