"""What the server answers. Field names are those of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
"""A flat event. Decimals are `decimal.Decimal`, so that every digit is kept; whole numbers are `int`."""


@dataclass(frozen=True)
class Token:
    """A fresh token of a stream."""

    token: str
    ws_url: str
    expires_in_sec: int


@dataclass(frozen=True)
class Stream:
    """A stream that exists."""

    stream_id: str
    running: bool
    spec: dict[str, Any]
    ws_url: str


@dataclass(frozen=True)
class Created:
    """A stream that `create` made or found."""

    stream_id: str
    spec: dict[str, Any]
    ws_url: str
    token: str
    expires_in_sec: int
    created: bool
    """False where the stream ran already."""
    explanation: list[dict[str, Any]]
    """How parts of the sentence became parts of the spec; empty for a spec."""
