"""Topics of one's own: against a server that cuts connections, and against a real `bond up`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bond import Client, Closed, Event, Refused, TopicState
from conftest import ROOT, Server, start
from scripted import Act, Scripted, closed, frames, raw, status, text

BINARY = os.environ.get("BOND_BINARY", str(ROOT / "target/debug/bond"))


def told(kind: str, seq: int, payload: Any = None, **more: Any) -> bytes:
    envelope = {"type": kind, "topic": "prices.X", "epoch": "e", "seq": seq, "ts": "T", "payload": payload, "meta": {}}
    return text(envelope | {"correlation_id": None} | more)


async def states(client: Client, count: int, name: str = "prices.X", **options: Any) -> list[TopicState]:
    found: list[TopicState] = []
    async for state in client.topic(name, **options):
        found.append(state)
        if len(found) == count:
            break
    return found


async def test_a_lost_connection_is_resumed_by_epoch_and_number() -> None:
    first = frames(told("ack", 2), told("snapshot", 2, {"a": 1}, meta={"synthetic": True}), told("delta", 3, {"b": 2}))
    second = frames(told("ack", 3), told("delta", 3, {"b": 9}), told("delta", 4, {"a": None}))
    async with Scripted([first, raw(b""), second]) as server, Client(server.url) as client:
        found = await asyncio.wait_for(states(client, 3), 20)
    assert [(state.seq, state.state) for state in found] == [(2, {"a": 1}), (3, {"a": 1, "b": 2}), (4, {"b": 2})]


async def test_a_token_is_made_anew_for_each_connection() -> None:
    made: list[str] = []

    async def token() -> str:
        made.append(f"t{len(made)}")
        return made[-1]

    expired = closed(1008, "AUTH_EXPIRED: the token has expired")
    script: list[Act] = [frames(told("delta", 1, {"a": 1})), expired, frames(told("delta", 2, {"a": 2}))]
    async with Scripted(script) as server, Client(server.url) as client:
        assert len(await asyncio.wait_for(states(client, 2, token=token), 20)) == 2
    assert made == ["t0", "t1", "t2"]
    async with Scripted([expired]) as server, Client(server.url) as client:
        with pytest.raises(Closed, match="AUTH_EXPIRED"):
            await asyncio.wait_for(states(client, 1, token="t"), 20)


async def test_a_batch_is_sent_again_under_the_same_key() -> None:
    answer = json.dumps({"topic": "prices.X", "epoch": "e", "first_seq": 7, "last_seq": 8}).encode()
    heads: list[str] = []

    def noting(act: Act) -> Act:
        async def noted(head: str, writer: asyncio.StreamWriter) -> None:
            heads.append(next(line for line in head.split("\r\n") if line.startswith("idempotency-key")))
            await act(head, writer)

        return noted

    acts: list[Act | None] = [noting(act) for act in (raw(b""), status(503), status(200, answer))]
    async with Scripted([], rest=acts) as server, Client(server.url) as client:
        published = await asyncio.wait_for(client.publish("prices.X", [{"payload": 1}, {"payload": 2}]), 20)
    assert (published.first_seq, published.last_seq) == (7, 8)
    assert len(heads) == 3 and len(set(heads)) == 1
    async with Scripted([], rest=[status(503)] * 3) as server, Client(server.url) as client:
        with pytest.raises(Refused):
            await client.publish("prices.X", [{"payload": 1}], within=0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("topics")


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    process, server = start(data_dir, BOND_REST_PER_SECOND="1000")
    yield server
    process.terminate()
    assert process.wait(10) == 0


def jwt(data_dir: Path, *words: str) -> str:
    """A token that the server of this directory takes."""
    command = [BINARY, "token", "jwt", "--data-dir", str(data_dir), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_states_are_whole_from_the_first_and_exact(server: Server) -> None:
    async with Client(server.rest) as client:
        bid = Decimal("99.1000")
        await client.publish("prices.A", [{"type": "snapshot", "payload": {"bid": bid, "levels": {"a": 1, "b": 2}}}])
        following = client.topic("prices.A").states()
        first = await asyncio.wait_for(anext(following), 20)
        assert (first.kind, first.seq, str(first.state["bid"])) == ("snapshot", 1, "99.1000")
        published = await client.publish("prices.A", [{"payload": {"levels": {"a": None}}}, {"type": "alert", "payload": "mind"}])
        second, third = [await asyncio.wait_for(anext(following), 20) for _ in range(2)]
        assert second.state == {"bid": bid, "levels": {"b": 2}} and first.state["levels"] == {"a": 1, "b": 2}
        assert (third.kind, third.payload, third.state) == ("alert", "mind", second.state)
        assert (third.epoch, third.seq) == (published.epoch, published.last_seq)
        await following.aclose()


async def test_publishing_only_after_the_expected_number(server: Server) -> None:
    async with Client(server.rest) as client:
        await client.publish("prices.B", [{"payload": {"a": 1}}], if_seq=0)
        with pytest.raises(Refused) as refused:
            await client.publish("prices.B", [{"payload": {"a": 2}}], if_seq=0)
        assert (refused.value.code, refused.value.problem["head"]["seq"]) == ("CONFLICT", 1)


async def test_events_begin_with_the_last_ones_and_subtopics_are_let_through(server: Server) -> None:
    async with Client(server.rest) as client:
        levels = ["L1", "L2", "L3", "L1"]
        await client.publish("prices.C", [{"payload": {"n": n}, "meta": {"subtopic": level}} for n, level in enumerate(levels)])

        async def numbers(count: int, **options: Any) -> list[int]:
            found: list[Event] = []
            async for event in client.topic("prices.C", **options).events(rewind=4):
                found.append(event)
                if len(found) == count:
                    break
            return [event["seq"] for event in found]

        assert await asyncio.wait_for(numbers(4), 20) == [1, 2, 3, 4]
        assert await asyncio.wait_for(numbers(3, subtopics={"levels": "L1", "L3": True}), 20) == [1, 3, 4]


async def test_a_user_follows_his_own_topics_alone(server: Server, data_dir: Path) -> None:
    token = jwt(data_dir, "--user", "u1")
    async with Client(server.rest) as client:
        await client.publish("trading.u1", [{"payload": {"cash": 1}}])
        (own,) = await asyncio.wait_for(states(client, 1, "trading.u1", token=token), 20)
        assert own.state == {"cash": 1}
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(states(client, 1, "trading.u2", token=token), 20)
        assert (refused.value.code, refused.value.status) == ("FORBIDDEN", 403)
        with pytest.raises(Closed):
            await asyncio.wait_for(states(client, 1, "trading.u1", token="no.good.token"), 20)


async def test_a_deleted_topic_ends_and_begins_again(server: Server) -> None:
    async with Client(server.rest) as client:
        await client.publish("prices.D", [{"payload": {"a": 1}}])
        following = client.topic("prices.D").states()
        await asyncio.wait_for(anext(following), 20)
        await client._call("DELETE", "/v1/topics/prices.D")
        ended = await asyncio.wait_for(anext(following), 20)
        assert (ended.kind, ended.state) == ("ended", None)
        await client.publish("prices.D", [{"payload": {"b": 1}}])
        again = await asyncio.wait_for(anext(following), 20)
        assert (again.seq, again.state) == (1, {"b": 1}) and again.epoch != ended.epoch
        await following.aclose()


async def test_in_the_background_alerts_come_at_once_and_the_state_stays_whole(server: Server) -> None:
    async with Client(server.rest) as client:
        await client.publish("prices.E", [{"payload": {"n": 0}}])
        following = client.topic("prices.E", background=True).states()
        await asyncio.wait_for(anext(following), 20)
        await client.publish("prices.E", [{"payload": {"n": n, f"k{n}": n}} for n in range(1, 6)])
        await client.publish("prices.E", [{"type": "alert", "payload": "mind"}, {"payload": {"n": 6, "k1": None}}])
        kinds: list[str] = []
        async for state in following:
            kinds.append(state.kind)
            if state.seq == 8:
                break
        assert state.state == {"n": 6, "k2": 2, "k3": 3, "k4": 4, "k5": 5}
        assert "alert" in kinds and len(kinds) < 7, kinds
        await following.aclose()
