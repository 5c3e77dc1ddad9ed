"""What can go wrong."""

from __future__ import annotations

from typing import Any

from .reconnect import status_advice


class BondError(Exception):
    """Any error of this package."""


class Refused(BondError):
    """The server refused a request, or a subscription to a topic.

    `status` is the HTTP status (of a subscription, the one that the same refusal has over REST), `code` the stable code of the problem document, `detail` says what to fix. `advice` says what to do, and
    is empty where the same request may succeed later, after `retry_after` seconds at the earliest.
    """

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float = 0.0) -> None:
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code", "")
        self.detail: str = problem.get("detail", "")
        self.advice: str = status_advice(status) or ""
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {self.detail}")


class Garbled(BondError):
    """The server's answer cannot be read; a proxy between may have given it. The same request may succeed later."""


class Closed(BondError):
    """The server ended a subscription for good: to connect again would be of no use.

    `code` is the WebSocket close code (1008, or 4500 to 4999), or the HTTP status where the handshake was refused. `reason` is what the
    server said, `advice` what to do.
    """

    def __init__(self, code: int, reason: str, advice: str = "") -> None:
        self.code = code
        self.reason = reason
        self.advice = advice
        super().__init__(f"{code} {reason}" + (f" ({advice})" if advice else ""))
