"""The rules of connecting again, as tables."""

from __future__ import annotations

import pytest

from bond.reconnect import Backoff, Seen, announced, close_advice, retry_after, status_advice


@pytest.mark.parametrize(
    "code, reason",
    [
        *((code, "") for code in (1000, 1001, 1002, 1005, 1006, 1009, 1011, 1012, 1013, 1014, 4000, 4008, 4009, 4013, 4499)),
        (1008, "AUTH_EXPIRED: the token has expired; connect again with a new one"),
        (1008, "INTERNAL_ERROR: redis does not answer"),
        (1008, "LIMIT_EXCEEDED: 100 connections"),
        (1008, "RATE_LIMIT_EXCEEDED"),
    ],
)
def test_a_client_comes_back_after(code: int, reason: str) -> None:
    assert close_advice(code, reason) is None


@pytest.mark.parametrize(
    "code, reason, advice",
    [
        (1008, "AUTH_INVALID: not a token", "API key"),
        (1008, "AUTH_REQUIRED: no token", "API key"),
        (1008, "FORBIDDEN: another owner's", "API key"),
        (1008, "NOT_FOUND: no such stream", "create it again"),
        (1008, "", "see the reason"),
        (4500, "", "see the reason"),
        (4510, "the stream has ended", "create it again"),
        (4999, "", "see the reason"),
    ],
)
def test_final_ends_say_what_to_do(code: int, reason: str, advice: str) -> None:
    assert advice in (close_advice(code, reason) or "")


def test_statuses() -> None:
    passing = {code: status_advice(code) for code in (302, 408, 425, 429, 500, 502, 503, 504)}
    assert set(passing.values()) == {None}
    assert all(status_advice(code) for code in (400, 401, 403, 404, 410, 422))
    assert "create it again" in (status_advice(404) or "")


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("86400", 300.0),
        ("9" * 400, 300.0),
        ("Thu, 01 Jan 1970 00:20:07 GMT", 7.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("-7", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, now=1200.0) == seconds


def test_a_planned_close_says_when_to_come_back() -> None:
    assert announced({"type": "reconnect", "after_ms": 1500}) == 1.5
    assert announced({"type": "reconnect", "after_ms": 10**9}) == 300.0
    assert announced({"type": "reconnect", "after_ms": "x"}) == 0.0
    assert announced({"type": "heartbeat", "after_ms": 1500}) == 0.0


def test_the_wait_doubles_to_a_bound_until_there_is_progress() -> None:
    backoff = Backoff()
    assert [backoff.wait(1.0) for _ in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert backoff.wait(0.0) == 15.0
    backoff.progress()
    assert (backoff.wait(0.0), backoff.wait(0.0, asked=7.0)) == (0.1, 7.2)


def test_each_number_of_a_topic_and_epoch_is_given_once() -> None:
    seen = Seen("e:2")
    came = [("a", "e", 1), ("a", "e", 2), ("a", "e", 3), ("a", "e", 3), ("b", "e", 3), ("a", "e", 5), ("a", "f", 1), ("a", "f", 1)]
    taken = [seen.take({"topic": topic, "epoch": epoch, "seq": seq}) for topic, epoch, seq in came]
    assert taken == [False, False, True, False, True, True, True, False]
    assert seen.position == "f:1"


@pytest.mark.parametrize("start", [None, "now-60s", "1700000000.5"])
def test_another_start_drops_nothing(start: str | None) -> None:
    seen = Seen(start)
    assert seen.position == start
    assert seen.take({"topic": "a", "epoch": "e", "seq": 1})
