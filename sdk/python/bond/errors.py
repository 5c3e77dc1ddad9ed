"""What can go wrong."""

from __future__ import annotations

from typing import Any


class BondError(Exception):
    """Any error of this package."""


class Refused(BondError):
    """The server refused a request.

    `status` is the HTTP status, `code` the stable code of the problem document, `detail` says what to fix.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code", "")
        self.detail: str = problem.get("detail", "")
        super().__init__(f"{status} {self.code}: {self.detail}")


class Closed(BondError):
    """The server closed a connection in a way that says not to connect again."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}")
