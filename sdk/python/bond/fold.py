"""The state of a published topic, folded from its events.

Only rules stand here: there is no socket and no clock in this module.
"""

from __future__ import annotations

from typing import Any

from .models import Event, TopicState

DATA = ("snapshot", "delta", "alert")
"""The types of messages that have a number of their own, or stand for one."""


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` applied by RFC 7396. Neither of them is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


class Place:
    """Where a reader of raw events stands in a topic. `position` is the epoch and the number of the last event that it has."""

    def __init__(self) -> None:
        self.position: tuple[str | None, int] | None = None

    def take(self, message: Event) -> bool:
        """Whether the message is an event that was not given yet."""
        kind, place = message["type"], (message.get("epoch"), message.get("seq", 0))
        if kind == "gap" or (kind == "ack" and self.position is None):
            self.position = place
        if kind not in DATA or not is_after(self.position, message):
            return False
        self.position = place
        return True


def is_after(last: tuple[str | None, int] | None, message: Event) -> bool:
    """Whether the message says more than what came up to `last`. A snapshot that the server made may repeat the last number."""
    if last is None or message["epoch"] != last[0]:
        return True
    made = message["type"] == "snapshot" and message["meta"].get("synthetic") is True
    seq: int = message["seq"]
    return seq > last[1] or (made and seq == last[1])


class Fold:
    """A topic's state as far as it is known."""

    def __init__(self) -> None:
        self._state: Any = None
        self._last: tuple[str | None, int] | None = None
        self._is_whole = True

    @property
    def position(self) -> tuple[str | None, int] | None:
        """The number that the state belongs to. Between a gap and the snapshot after it there is none: alerts alone may come there."""
        return self._last if self._is_whole else None

    def take(self, message: Event) -> TopicState | None:
        """The state after this message, where the message is an event or ends the topic."""
        kind = message["type"]
        if kind == "gap" or (kind == "status" and message.get("state") == "ended"):
            self._state, self._last, self._is_whole = None, None, kind == "status"
            return _told(message, "ended", None) if kind == "status" else None
        if kind not in DATA or not is_after(self._last, message):
            return None
        if self._last is not None and self._last[0] != message["epoch"]:
            self._state = None
        self._last = (message["epoch"], message["seq"])
        self._fold(kind, message["payload"])
        return _told(message, kind, self._state)

    def _fold(self, kind: str, payload: Any) -> None:
        if kind == "alert":
            return
        self._state = payload if kind == "snapshot" else merge_patch(self._state, payload)
        self._is_whole = True


def _told(message: Event, kind: str, state: Any) -> TopicState:
    return TopicState(
        topic=message["topic"],
        kind=kind,
        state=state,
        payload=message["payload"],
        epoch=message["epoch"],
        seq=message["seq"],
        ts=message["ts"],
        meta=message["meta"],
    )
