"""One WebSocket connection: its events, and what its end means."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from .errors import Closed, Garbled, Refused
from .models import Event
from .reconnect import close_advice, retry_after, status_advice

LOSSES = (WebSocketException, OSError, EOFError, asyncio.TimeoutError, httpx.RequestError, Refused, Garbled)
"""What ends a connection, or an attempt at one: see `asked_wait` for which of them are final."""


async def events(ws_url: str, position: str | None) -> AsyncIterator[Event]:
    """The messages of one connection, until it ends with one of `LOSSES`."""
    query = {"control": "true"} | ({"from": position} if position else {})
    async with connect(f"{ws_url}&{urlencode(query)}", proxy=None) as socket:
        while True:
            yield _read(await socket.recv())


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
        event = json.loads(frame, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Garbled("a frame is not JSON") from error
    if not isinstance(event, dict):
        raise Garbled("a frame is not a JSON object")
    return event
