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


@dataclass(frozen=True)
class Published:
    """Where a batch was appended."""

    topic: str
    epoch: str
    first_seq: int
    last_seq: int


@dataclass(frozen=True)
class TopicState:
    """The state of a published topic after one of its events."""

    topic: str
    kind: str
    """What led to it: `snapshot`, `delta`, `alert`, or `ended` where the topic was deleted."""
    state: Any
    """The folded state; none where nothing but alerts was published yet. It is never changed afterwards."""
    payload: Any
    """What the event itself says: an alert leaves the state as it was."""
    epoch: str | None
    seq: int
    ts: str
    meta: dict[str, Any]
