"""The SDK against a server that fails in the ways servers and proxies fail, on real sockets."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from bond import Closed, Garbled, Refused, blocking, listen
from scripted import STREAM, Act, Scripted, closed, events, frames, raw, status, text

HEARTBEAT = text({"type": "heartbeat"})
LOSSES: dict[str, Act] = {
    **{f"closed {code}": closed(code) for code in (1000, 1001, 1012, 1013, 4000, 4008)},
    "token expired": closed(1008, "AUTH_EXPIRED: the token has expired"),
    "fault of the server": closed(1008, "INTERNAL_ERROR: redis does not answer"),
    **{f"handshake {code}": status(code) for code in (429, 500, 502, 503)},
    "handshake cut": raw(b""),
    "handshake garbage": raw(b"<html>starting</html>"),
    "frame garbage": frames(text("<html>")),
    "frame of another kind": frames(text([1, 2])),
    "bad frame": frames(b"\xff\xff"),
}
FAULTS: dict[str, Act] = {
    **{f"status {code}": status(code) for code in (429, 500, 502, 503)},
    "page of a proxy": status(503, b"<html>down</html>"),
    "cut": raw(b""),
    "garbage": raw(b"<html>starting</html>"),
    "not JSON": status(200, b"<html>"),
    "not an object": status(200, b"[]"),
    "nothing": status(200),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_loss_is_followed_by_a_resume(loss: str) -> None:
    async with Scripted([events(1, 2, 3), LOSSES[loss], events(2, 3, 4, 5)]) as server:
        assert await asyncio.wait_for(server.numbers(5), 20) == [1, 2, 3, 4, 5]
    assert len(server.opened) == 3
    assert "from=e%3A3" in server.opened[2] and "token=t5" in server.opened[2]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_rest_is_asked_again(fault: str) -> None:
    async with Scripted([events(1, 2), events(3)], rest=[None, FAULTS[fault]]) as server:
        assert await asyncio.wait_for(server.numbers(3), 20) == [1, 2, 3]


@pytest.mark.parametrize(
    "code, reason", [(1008, "AUTH_INVALID: not a token"), (1008, "NOT_FOUND"), (4500, ""), (4510, "the stream has ended"), (4999, "")]
)
async def test_a_final_close_is_told(code: int, reason: str) -> None:
    async with Scripted([events(1), closed(code, reason), events(2)]) as server:
        with pytest.raises(Closed) as end:
            await asyncio.wait_for(server.numbers(2), 20)
    assert (end.value.code, end.value.reason) == (code, reason)
    assert end.value.advice and end.value.advice in str(end.value)


async def test_a_final_status_is_told() -> None:
    async with Scripted([status(404)]) as server:
        with pytest.raises(Closed) as end:
            await asyncio.wait_for(server.numbers(1), 20)
    assert end.value.code == 404 and end.value.advice
    async with Scripted([], rest=[status(404, b'{"code": "NOT_FOUND", "detail": "no such stream"}')]) as server:
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(server.numbers(1), 20)
    assert (refused.value.code, bool(refused.value.advice)) == ("NOT_FOUND", True)


async def test_heartbeats_are_no_progress() -> None:
    async with Scripted([frames(HEARTBEAT)] * 1000) as server:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(server.numbers(1), 3)
    # The shortest waits are 0.1, 0.2, 0.4, 0.8 and 1.6 s.
    assert 2 <= len(server.opened) <= 5


@pytest.mark.parametrize("place", ["handshake", "rest", "message"])
async def test_a_server_that_says_when_to_come_back_is_obeyed(place: str) -> None:
    busy = status(503, retry_after="1")
    leaving = frames(text({"type": "reconnect", "after_ms": 1000}))
    first = {"handshake": [busy], "rest": [], "message": [leaving]}[place]
    began = time.monotonic()
    async with Scripted([*first, events(1)], rest=[busy] if place == "rest" else None) as server:
        assert await asyncio.wait_for(server.numbers(1), 20) == [1]
    assert time.monotonic() - began >= 1.0


async def test_numbers_begin_anew_in_a_new_epoch() -> None:
    async with Scripted([events(1, 2, 3), events(1, 2, epoch="f")]) as server:
        assert await asyncio.wait_for(server.numbers(5), 20) == [1, 2, 3, 1, 2]


async def test_what_was_seen_before_the_start_is_not_given_again() -> None:
    async with Scripted([events(1, 2, 3, 4)]) as server:
        assert await asyncio.wait_for(server.numbers(2, start="e:2"), 20) == [3, 4]


async def test_listen_asks_a_busy_server_a_few_times() -> None:
    async with Scripted([events(1)], rest=[status(503), status(200, b"<html>")]) as server:
        async for event in listen("BTC price", url=server.url):
            assert event["seq"] == 1
            break
    async with Scripted([], rest=[status(503)] * 5) as server:
        with pytest.raises(Refused):
            await anext(listen("BTC price", url=server.url))
    async with Scripted([], rest=[status(200, b"<html>")] * 5) as server:
        with pytest.raises(Garbled):
            await anext(listen("BTC price", url=server.url))
    async with Scripted([], rest=[raw(b"")]) as server:
        with pytest.raises(httpx.TransportError):
            await anext(listen("BTC price", url=server.url))


async def test_programs_without_asyncio_go_on_too() -> None:
    def read(url: str) -> tuple[list[int], int]:
        seen: list[int] = []
        try:
            for event in blocking.listen(STREAM, url=url):
                seen.append(event["seq"])
        except Closed as end:
            return seen, end.code
        return seen, 0

    async with Scripted([events(1, 2), closed(1001), events(2, 3), closed(4510)]) as server:
        assert await asyncio.wait_for(asyncio.to_thread(read, server.url), 20) == ([1, 2, 3], 4510)
