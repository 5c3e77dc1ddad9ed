"""A published topic: its events and its folded states, over lost connections."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .connection import LOSSES, messages, rest
from .errors import Closed, Refused
from .fold import DATA, Fold, Place
from .models import Event, TopicState
from .reconnect import Backoff, announced, bounded

Token = str | Callable[[], str | Awaitable[str]] | None
"""A token, or what makes a fresh one for each connection."""

Position = tuple[str | None, int] | None

_ASKED = "subscribe"
_STATUSES = {"AUTH_REQUIRED": 401, "FORBIDDEN": 403, "NOT_FOUND": 404, "RATE_LIMIT_EXCEEDED": 429}


@dataclass(frozen=True)
class Topic:
    """A topic of a server, made by `Client.topic`. Iterating over it gives its states, as `states` does."""

    name: str
    ws_url: str
    """The server's base URL for WebSockets."""
    token: Token = None
    subtopics: Mapping[str, Any] | None = None
    rate: str | None = None
    background: bool = False

    def __aiter__(self) -> AsyncIterator[TopicState]:
        return self.states()

    async def states(self) -> AsyncGenerator[TopicState, None]:
        """The topic's state after each event as it comes, for ever, beginning with the state as it is.

        A lost connection is made again, and goes on after the last state; where events in between cannot be had, or were thinned, the next
        state is whole all the same. A topic that is deleted gives a state of the kind `ended`. Raises `Closed` or `Refused` where it would be
        of no use to come back.
        """
        fold = Fold()
        async for message in self._messages(lambda: fold.position, {}):
            state = fold.take(message)
            if state is not None:
                yield state

    async def events(self, *, rewind: int = 0, control: bool = False) -> AsyncGenerator[Event, None]:
        """The topic's events as the server sends them, for ever, each number once; lost connections as for `states`.

        They begin with a snapshot of the state, or with `rewind` with so many of the last events. With `control`, acks, gaps, statuses and
        heartbeats are events too.
        """
        place = Place()
        first = {"rewind": rewind} if rewind else {}
        async for message in self._messages(lambda: place.position, first):
            if place.take(message) or (control and message["type"] not in DATA):
                yield message

    async def _messages(self, position: Callable[[], Position], first: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """Everything the server says, over all connections."""
        backoff = Backoff()
        while True:
            asked = 0.0
            try:
                ask = self._subscribe(position(), first)
                async for message in messages(self._url(), [ask], await self._fresh_token()):
                    self._check(message)
                    if message["type"] in DATA:
                        backoff.progress()
                    asked = max(asked, announced(message))
                    yield message
            except LOSSES as lost:
                self._check_token(lost)
                await rest(backoff, lost, asked)

    def _url(self) -> str:
        query = {"rate": self.rate} if self.rate else {}
        query |= {"background": "true"} if self.background else {}
        return f"{self.ws_url}/ws?{urlencode(query)}"

    def _subscribe(self, position: Position, first: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"type": "subscribe", "topic": self.name, "correlation_id": _ASKED}
        if self.subtopics:
            message["subtopics"] = dict(self.subtopics)
        if position is None:
            return message | first
        epoch, seq = position
        return message | {"resume_from_seq": seq} | ({"epoch": epoch} if epoch else {})

    async def _fresh_token(self) -> str | None:
        token = self.token() if callable(self.token) else self.token
        return await token if inspect.isawaitable(token) else token

    def _check(self, message: Event) -> None:
        """Raises where the topic is refused: then nothing of it will come."""
        if message["type"] != "error":
            return
        details = message.get("details") or {}
        if message.get("correlation_id") != _ASKED and details.get("topic") != self.name:
            return
        status = _STATUSES.get(message["code"], 503 if message.get("retryable") else 400)
        wait = details.get("retry_after_ms", 0)
        raise Refused(status, message | {"detail": message["message"]}, bounded(wait / 1000))

    def _check_token(self, lost: Exception) -> None:
        """Raises where the token has expired, and there is nothing that makes another."""
        received = getattr(lost, "rcvd", None)
        if received is not None and received.reason.startswith("AUTH_EXPIRED") and not callable(self.token):
            advice = "give `topic` a function as its token, which makes a fresh one"
            raise Closed(received.code, received.reason, advice) from lost
