"""The client: REST calls, and events that survive a lost connection."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .errors import Closed, Refused
from .models import Created, Event, Stream, Token

DEFAULT_URL = "http://127.0.0.1:8000"
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0

_Answer = TypeVar("_Answer", Created, Stream, Token)


class Client:
    """A client of one server. Use it as `async with Client() as client`.

    `url` is the server's REST base URL, `api_key` a key of its (`bond_…`) where it asks for one.
    Calls raise `Refused` where the server refuses, and `httpx.TransportError` where it cannot be reached.
    """

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None, timeout: float = 10.0) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections to the REST interface."""
        await self._http.aclose()

    async def create(self, wish: str | dict[str, Any], *, ttl_sec: int | None = None) -> Created:
        """Creates a stream from a sentence or a spec; the same wish gives the same stream."""
        body: dict[str, Any] = {"natural_language": wish} if isinstance(wish, str) else {"spec": wish}
        if ttl_sec is not None:
            body["ttl_sec"] = ttl_sec
        return _read(Created, await self._call("POST", "/v1/streams", body))

    async def list(self) -> list[Stream]:
        """Your streams."""
        streams: list[Stream] = []
        path: str | None = "/v1/streams"
        while path:
            response = await self._send("GET", path)
            streams += [_read(Stream, item) for item in response.json()]
            path = response.links.get("next", {}).get("url")
        return streams

    async def delete(self, stream_id: str) -> None:
        """Gives up your claim on a stream; with the last claim it ends."""
        await self._call("DELETE", f"/v1/streams/{stream_id}")

    async def refresh(self, stream_id: str) -> Token:
        """A fresh token for a stream."""
        return _read(Token, await self._call("POST", f"/v1/streams/{stream_id}/token", {}))

    async def subscribe(self, stream_id: str, *, start: str | None = None, control: bool = False) -> AsyncIterator[Event]:
        """The stream's events as they come, for ever.

        A lost connection is made again and goes on after the last event seen. `start` is a `from` of the protocol (`now-60s`, a Unix
        time, or `{epoch}:{seq}`). With `control`, heartbeats, statuses and gaps are events too. Raises `Closed` where the server says
        not to come back.
        """
        position, wait = start, FIRST_WAIT
        while True:
            try:
                token = await self.refresh(stream_id)
                async for event in _connection(token.ws_url, position):
                    wait = FIRST_WAIT
                    if "seq" in event and "epoch" in event:
                        position = f"{event['epoch']}:{event['seq']}"
                    elif not control:
                        continue
                    yield event
            except (ConnectionClosed, OSError, httpx.TransportError) as lost:
                _raise_if_final(lost)
            except InvalidStatus as lost:
                if lost.response.status_code < 500:
                    raise Closed(lost.response.status_code, "the connection was refused") from lost
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        response = await self._http.request(method, path, json=body)
        if response.is_error:
            raise Refused(response.status_code, _problem(response))
        return response

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._send(method, path, body)).json()
        return answer


async def listen(wish: str | dict[str, Any], *, url: str = DEFAULT_URL, api_key: str | None = None) -> AsyncIterator[Event]:
    """Creates a stream from a sentence or a spec, and yields its events for ever."""
    async with Client(url, api_key) as client:
        created = await client.create(wish)
        async for event in client.subscribe(created.stream_id):
            yield event


async def _connection(ws_url: str, position: str | None) -> AsyncIterator[Event]:
    query = {"control": "true"} | ({"from": position} if position else {})
    async with connect(f"{ws_url}&{urlencode(query)}", proxy=None) as socket:
        async for frame in socket:
            yield json.loads(frame, parse_float=Decimal)
        raise ConnectionClosed(socket.protocol.close_rcvd, socket.protocol.close_sent)


def _raise_if_final(lost: Exception) -> None:
    received = getattr(lost, "rcvd", None)
    if received is not None and (received.code == 1008 or received.code >= 4500):
        raise Closed(received.code, received.reason) from lost


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": response.text}


def _read(kind: type[_Answer], answer: dict[str, Any]) -> _Answer:
    """Takes the known fields; a newer server may send more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in answer.items() if name in names})
