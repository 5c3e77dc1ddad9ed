"""When to connect again, how long to wait before, and which events came already.

Only rules stand here: there is no socket, no clock and no chance in this module; they come in as values.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before the first attempt to connect again, and the most that doubling makes of them."""

LONGEST_ASKED = 300.0
"""The most seconds that a server may ask for, by `Retry-After` or `reconnect`; what it asks beyond is cut."""

FIRST_ATTEMPTS = 5
"""How often `listen` asks for its stream where the server is busy; later it asks without end."""

_KEY = "check the API key or token, and that it covers what was asked for"
_GONE = "there is no such stream; create it again"
_PASSES = {
    "AUTH_EXPIRED",
    "LIMIT_EXCEEDED",
    "RATE_LIMIT_EXCEEDED",
    "SLOW_CONSUMER",
    "CONNECTION_ERROR",
    "INTERNAL_ERROR",
}
_REFUSED = {"AUTH_REQUIRED": _KEY, "AUTH_INVALID": _KEY, "FORBIDDEN": _KEY, "NOT_FOUND": _GONE}
_STATUSES = {401: _KEY, 403: _KEY, 404: _GONE, 410: _GONE}


def close_advice(code: int, reason: str) -> str | None:
    """What to do after a close that is final; none where the client should connect again.

    A reason of Bond begins with its stable code, as in `AUTH_EXPIRED: the token has expired`.
    """
    if code == 1008:
        stable = reason.partition(":")[0]
        return None if stable in _PASSES else _REFUSED.get(stable, "the server refuses this client; see the reason")
    if code == 4510:
        return "the stream was deleted or has ended; create it again"
    return "the server says not to connect again; see the reason" if 4500 <= code <= 4999 else None


def status_advice(status: int) -> str | None:
    """What to do after an HTTP status that is final; none where the same request may succeed later."""
    if status in (408, 425, 429) or not 400 <= status <= 499:
        return None
    return _STATUSES.get(status, "correct the request; the same one will be refused again")


def retry_after(value: str | None, now: float) -> float:
    """The seconds that a `Retry-After` header asks for, given as seconds or as a date. One that cannot be read asks for none."""
    text = (value or "").strip()
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return bounded(seconds)


def announced(event: dict[str, Any]) -> float:
    """The seconds that a server asks for before it closes, by the message `reconnect`."""
    after = event.get("after_ms")
    return bounded(after / 1000) if event.get("type") == "reconnect" and isinstance(after, int) else 0.0


def bounded(seconds: float) -> float:
    """A wait that a server asked for, within what it may ask for."""
    return min(max(seconds, 0.0), LONGEST_ASKED)


class Backoff:
    """A wait that doubles with every attempt that got nowhere."""

    def __init__(self) -> None:
        self._next = FIRST_WAIT

    def progress(self) -> None:
        """An event of the stream came. That something else came, such as a heartbeat, says nothing of the stream."""
        self._next = FIRST_WAIT

    def wait(self, chance: float, asked: float = 0.0) -> float:
        """How long to wait now: what the server asked for, and a part of our own wait by `chance`, at least half of it.

        The chance (0 to 1) keeps clients that were lost together from coming back together.
        """
        wait = asked + self._next * (0.5 + 0.5 * chance)
        self._next = min(self._next * 2, LONGEST_WAIT)
        return wait


class Seen:
    """Which numbers of a stream were given already. `start` is where the caller wants to begin."""

    def __init__(self, start: str | None = None) -> None:
        self.position = start
        """The `from` to connect with."""
        epoch, _, seq = (start or "").rpartition(":")
        self._first = (epoch, int(seq)) if epoch and seq.isdecimal() else ("", 0)
        self._last: dict[str, tuple[str, int]] = {}

    def take(self, event: dict[str, Any]) -> bool:
        """Whether the event is new: its number is above the last of its topic and epoch."""
        topic, epoch, seq = str(event.get("topic", "")), event["epoch"], event["seq"]
        last_epoch, last = self._last.get(topic, self._first)
        if epoch == last_epoch and seq <= last:
            return False
        self._last[topic] = (epoch, seq)
        self.position = f"{epoch}:{seq}"
        return True


def is_data(event: dict[str, Any]) -> bool:
    """Whether it is an event of the stream, with a number."""
    return isinstance(event.get("epoch"), str) and isinstance(event.get("seq"), int)
