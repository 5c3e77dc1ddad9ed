"""The client: REST calls, and events that survive a lost connection."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from . import topics
from .connection import LOSSES, events, rest
from .errors import Garbled, Refused
from .exact import to_json
from .models import Created, Event, Published, Stream, Token
from .reconnect import FIRST_ATTEMPTS, Backoff, Seen, announced, is_data, retry_after

DEFAULT_URL = "http://127.0.0.1:8000"

PUBLISH_SECONDS = 60.0
"""For how long `publish` tries again; a server takes over from another in a quarter of it."""

_Answer = TypeVar("_Answer", Created, Published, Stream, Token)


class Client:
    """A client of one server. Use it as `async with Client() as client`.

    `url` is the server's REST base URL, `api_key` a key of its (`bond_…`) where it asks for one; for topics it may be a JWT.
    Calls are made once: they raise `Refused` where the server refuses, `Garbled` where its answer cannot be read, and
    `httpx.TransportError` where it cannot be reached. `subscribe`, `topic` and `publish` try again by themselves.
    """

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None, timeout: float = 10.0) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._url, self._api_key = url.rstrip("/"), api_key
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
            streams += [_read(Stream, item) for item in _json(response)]
            path = response.links.get("next", {}).get("url")
        return streams

    async def delete(self, stream_id: str) -> None:
        """Gives up your claim on a stream; with the last claim it ends."""
        await self._call("DELETE", f"/v1/streams/{stream_id}")

    async def refresh(self, stream_id: str) -> Token:
        """A fresh token for a stream."""
        return _read(Token, await self._call("POST", f"/v1/streams/{stream_id}/token", {}))

    async def subscribe(self, stream_id: str, *, start: str | None = None, control: bool = False) -> AsyncGenerator[Event, None]:
        """The stream's events as they come, for ever, each number once.

        A lost connection is made again and goes on after the last event seen; while that gets nowhere the waits grow. `start` is a
        `from` of the protocol (`now-60s`, a Unix time, or `{epoch}:{seq}`). With `control`, heartbeats, statuses and gaps are events too.
        Raises `Closed` or `Refused` where it would be of no use to come back; both have `code` and `advice`.
        """
        seen, backoff = Seen(start), Backoff()
        while True:
            asked = 0.0
            try:
                token = await self.refresh(stream_id)
                async for event in events(token.ws_url, seen.position):
                    if is_data(event):
                        if not seen.take(event):
                            continue
                        backoff.progress()
                    else:
                        asked = announced(event)
                        if not control:
                            continue
                    yield event
            except LOSSES as lost:
                await rest(backoff, lost, asked)

    def topic(
        self,
        name: str,
        *,
        token: topics.Token = None,
        subtopics: Mapping[str, Any] | None = None,
        rate: str | None = None,
        background: bool = False,
    ) -> topics.Topic:
        """A published topic such as `prices.IN1234567890`: `async for` over it gives its states, over `.events()` its events.

        `token` is a token, or a function (`async` or not) that makes a fresh one for each connection; without it the client's `api_key`
        serves. `subtopics` lets through the events that it names, as in `{"levels": "L1,L2", "trades": True}`. `rate` (`high`, `normal`,
        `low`, `background`) and `background` thin events out; the states stay whole, and alerts come at once.
        """
        ws_url = f"ws{self._url.removeprefix('http')}"
        return topics.Topic(name, ws_url, token or self._api_key, subtopics, rate, background)

    async def publish(
        self,
        topic: str,
        events: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        if_seq: int | None = None,
        within: float = PUBLISH_SECONDS,
    ) -> Published:
        """Publishes a batch, all of it or nothing: `[{"type": "delta", "payload": {"bid": Decimal("99.50")}}]`.

        The type is `snapshot`, `delta` (where it is left out) or `alert`; `meta` and `correlation_id` may be added. The batch is sent again
        under one idempotency key while the server cannot be reached or is busy, for `within` seconds at most (it is forgotten after five
        minutes): it is there once. With `if_seq` it is appended only after this number; else `Refused` has the code `CONFLICT`.
        """
        body: dict[str, Any] = {"events": list(events)} | ({} if if_seq is None else {"if_seq": if_seq})
        headers = {"content-type": "application/json", "idempotency-key": key or uuid.uuid4().hex}
        path, content = f"/v1/topics/{quote(topic, safe='')}/events", to_json(body)
        backoff, deadline = Backoff(), time.monotonic() + within
        while True:
            try:
                return _read(Published, _json(await self._checked("POST", path, headers=headers, content=content)))
            except (httpx.TransportError, Refused, Garbled) as lost:
                if time.monotonic() >= deadline:
                    raise
                await rest(backoff, lost)

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return await self._checked(method, path, json=body)

    async def _checked(self, method: str, path: str, **request: Any) -> httpx.Response:
        response = await self._http.request(method, path, **request)
        if response.is_error:
            asked = retry_after(response.headers.get("retry-after"), time.time())
            raise Refused(response.status_code, _problem(response), asked)
        return response

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = await self._send(method, path, body)
        return _json(response) if response.content else None


async def listen(
    wish: str | dict[str, Any], *, url: str = DEFAULT_URL, api_key: str | None = None
) -> AsyncGenerator[Event, None]:
    """Creates a stream from a sentence or a spec, and yields its events for ever, as `Client.subscribe` does.

    A server that cannot be reached at first is told of at once; one that is busy is asked a few times.
    """
    async with Client(url, api_key) as client:
        created = await _create(client, wish)
        async for event in client.subscribe(created.stream_id):
            yield event


async def _create(client: Client, wish: str | dict[str, Any]) -> Created:
    backoff = Backoff()
    for _ in range(1, FIRST_ATTEMPTS):
        try:
            return await client.create(wish)
        except (Refused, Garbled) as busy:
            await rest(backoff, busy)
    return await client.create(wish)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": response.text}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise Garbled("the answer is not JSON") from error


def _read(kind: type[_Answer], answer: Any) -> _Answer:
    """Takes the known fields; a newer server may send more."""
    names = {field.name for field in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in answer.items() if name in names})
    except (AttributeError, TypeError) as error:
        raise Garbled(f"the answer is no {kind.__name__}") from error
