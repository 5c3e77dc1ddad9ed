#!/usr/bin/env python3
"""Topics of one's own, beside a server on the library centrifuge at the same work: k6's load of followers, and what a connection costs.

Usage: topics.py [--connections N] [--seconds N] [--bond PATH] [--k6 PATH] [--centrifuge PATH]. It needs Python alone; without k6 or the peer
their part is left out, and said so. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
SECRET = "benchmark-only-0123456789-abcdefghij"

TOPICS, RATE = 10, 20
"""Of k6's load: how many topics there are, and the events a second of each."""

PRIVATE_RATE = 200
"""The events a second, in all, to private topics."""

AT_ONCE = 64
"""How many connections are opened at the same time."""


def token(user: str) -> str:
    """A JWT as an issuer makes it."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"sub": user, "user_id": user, "role": "trader", "exp": int(time.time()) + 3600}
    signed = ".".join(part(json.dumps(value).encode()) for value in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{part(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


class Bond:
    """A `bond up` on free ports."""

    name, trading, portfolio = "bond", "trading.u{}", "portfolio.u{}"

    def __init__(self, binary: str, directory: str) -> None:
        ready = Path(directory) / "ready"
        settings = {
            "BOND_JWT_SECRET": SECRET,
            "BOND_STATIC_TOKENS": "valid_token:user_123",
            "BOND_REST_PER_SECOND": "100000",
        }
        command = [binary, "up", "--rest-port", "0", "--ws-port", "0", "--sim-rate", "1", "--data-dir", directory, "--ready-file", str(ready)]
        with (Path(directory) / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        while not (ready.exists() and ready.stat().st_size):
            if self.process.poll() is not None:
                sys.exit((Path(directory) / "log").read_text("utf-8"))
            time.sleep(0.05)
        urls = {word.partition("://")[0]: word for word in ready.read_text("utf-8").split() if "://" in word}
        self.ws, rest = urls["ws"].rstrip("/"), urlsplit(urls["http"])
        self._rest = http.client.HTTPConnection(rest.hostname or "", rest.port, timeout=30)

    def path(self, user: int) -> str:
        return f"/ws/trading/u{user}?token={token(f'u{user}')}"

    def hello(self, _: int) -> list[str]:
        return []

    def prepare(self, users: int) -> None:
        """Each private topic has a state."""
        names = [name.format(user) for user in range(users) for name in (self.trading, self.portfolio)]
        for at in range(0, len(names), 100):
            events = [{"type": "snapshot", "payload": {"cash": at}}]
            answer = self._post("/v1/publish", {"topics": names[at : at + 100], "events": events})
            assert all("last_seq" in result for result in answer["results"]), answer

    def publish(self, pattern: str, topics: int, rate: int, seconds: int) -> None:
        # The server may have closed what was idle meanwhile; the first request opens it anew.
        self._rest.close()
        start = time.monotonic()
        for number in range(rate * seconds):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            payload = {"t": round(time.time() * 1000, 3), "bid": number + 0.25}
            self._post(f"/v1/topics/{pattern.format(number % topics)}/events", {"events": [{"payload": payload}]})

    def _post(self, path: str, body: object) -> dict[str, list[dict[str, object]]]:
        self._rest.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = self._rest.getresponse()
        answer: dict[str, list[dict[str, object]]] = json.loads(response.read())
        assert response.status == 200, answer
        return answer


class Centrifuge:
    """The peer; it takes orders on standard input."""

    name, trading, portfolio = "centrifuge", "trading.u{}", "portfolio.u{}"

    def __init__(self, binary: str, _: str) -> None:
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.ws = f"ws://{self.process.stdout.readline().split()[1]}"

    def path(self, _: int) -> str:
        return "/ws"

    def hello(self, user: int) -> list[str]:
        channels = [name.format(user) for name in (self.trading, self.portfolio)]
        subscribe = [{"id": at + 2, "subscribe": {"channel": channel}} for at, channel in enumerate(channels)]
        return [json.dumps(message) for message in [{"id": 1, "connect": {}}, *subscribe]]

    def prepare(self, users: int) -> None:
        """One event in the history of each channel."""
        for name in (self.trading, self.portfolio):
            self.publish(name, users, users, 1)

    def publish(self, pattern: str, topics: int, rate: int, seconds: int) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"topics {pattern.replace('{}', '%d')} {topics} {rate} {seconds}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().startswith("published")


Server = Bond | Centrifuge


@contextmanager
def running(kind: type[Bond] | type[Centrifuge], binary: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bond-topics-") as directory:
        server = kind(binary, directory)
        try:
            yield server
        finally:
            server.process.terminate()
            server.process.wait(20)


@dataclass
class Connection(asyncio.Protocol):
    """One WebSocket, as cheaply as a load needs it. Frames of the server are not masked."""

    request: bytes
    hello: list[str]
    latencies: list[float]
    buffer: bytearray = field(default_factory=bytearray)
    messages: int = 0
    is_open: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            assert self.buffer.startswith(b"HTTP/1.1 101"), bytes(self.buffer[:end])
            del self.buffer[: end + 4]
            self.is_open = True
            self.transport.write(b"".join(map(masked, self.hello)))
        while self.is_open and (frame := self.next_frame()) is not None:
            opcode, payload = frame
            if opcode == 9:
                self.transport.write(b"\x8a" + bytes([0x80 | len(payload)]) + bytes(4) + payload)
            elif opcode == 1:
                self.take(payload)

    def next_frame(self) -> tuple[int, bytes] | None:
        if len(self.buffer) < 2:
            return None
        opcode, length, begin = self.buffer[0] & 15, self.buffer[1], 2
        if length == 126:
            if len(self.buffer) < 4:
                return None
            length, begin = struct.unpack(">H", self.buffer[2:4])[0], 4
        if len(self.buffer) < begin + length:
            return None
        payload = bytes(self.buffer[begin : begin + length])
        del self.buffer[: begin + length]
        return opcode, payload

    def take(self, payload: bytes) -> None:
        now = time.time() * 1000
        self.messages += payload.count(b"\n") + 1
        if (at := payload.find(b'"t":')) >= 0:
            self.latencies.append(now - float(payload[at + 4 : payload.index(b",", at)]))


def masked(text: str) -> bytes:
    """A text frame of a client; the mask is zero, since nothing depends on it here."""
    body = text.encode()
    assert len(body) < 126
    return b"\x81" + bytes([0x80 | len(body)]) + bytes(4) + body


async def connect(server: Server, user: int, latencies: list[float]) -> Connection:
    where = urlsplit(server.ws)
    head = f"GET {server.path(user)} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(head.encode(), server.hello(user), latencies), where.hostname, where.port
    )
    # Two snapshots, or the answers to connect and two subscribes.
    wanted = 2 if isinstance(server, Bond) else 3
    while connection.messages < wanted:
        await asyncio.sleep(0.002)
    return connection


async def private_topics(server: Server, users: int, seconds: int) -> list[str]:
    """One row: memory, time to connect, latency."""
    before = resident(server.process.pid)
    await asyncio.to_thread(server.prepare, users)
    await asyncio.sleep(1)
    with_topics = resident(server.process.pid)
    latencies: list[float] = []
    began, connections = time.monotonic(), []
    for at in range(0, users, AT_ONCE):
        connections += await asyncio.gather(*(connect(server, user, latencies) for user in range(at, min(at + AT_ONCE, users))))
    connecting = time.monotonic() - began
    await asyncio.sleep(2)
    connected = resident(server.process.pid)
    await asyncio.to_thread(server.publish, server.trading, users, PRIVATE_RATE, seconds)
    await asyncio.sleep(1)
    loaded = resident(server.process.pid)
    for connection in connections:
        connection.transport.abort()
    latencies.sort()
    quantiles = [f"{latencies[int(len(latencies) * share)]:.1f} ms" for share in (0.5, 0.99)] if latencies else ["-", "-"]
    memory = [f"{(with_topics - before) / (2 * users) / 1024:.2f}", f"{(connected - with_topics) / users / 1024:.2f}"]
    memory.append(f"{(loaded - with_topics) / users / 1024:.2f}")
    return [server.name, *memory, f"{connecting / users * 1000:.2f} ms", *quantiles, f"{len(latencies)} of {PRIVATE_RATE * seconds}"]


def k6_load(server: Server, k6: str, seconds: int) -> tuple[list[str], bool]:
    """One row, and whether the targets were met."""
    pattern = "prices.T{}" if isinstance(server, Bond) else "T{}"
    length = seconds + 8
    publisher = threading.Thread(target=server.publish, args=(pattern, TOPICS, TOPICS * RATE, length), daemon=True)
    publisher.start()
    with tempfile.TemporaryDirectory() as directory:
        summary = Path(directory) / "summary.json"
        settings = {"WS_URL": server.ws, "PEER": server.name, "TOPICS": str(TOPICS), "SECONDS": str(seconds)}
        command = [k6, "run", "--quiet", "--no-usage-report", "--summary-trend-stats", "med,p(95),p(99)", "--summary-export", str(summary)]
        done = subprocess.run([*command, str(HERE / "k6/topics.js")], env=os.environ | settings, capture_output=True, text=True)
        if not summary.exists():
            sys.exit(done.stdout + done.stderr)
        metrics = json.loads(summary.read_text("utf-8"))["metrics"]
    publisher.join()

    def share(name: str) -> str:
        return f"{metrics[name]['value'] * 100:.2f} %" if name in metrics else "-"

    def times(name: str) -> str:
        return " / ".join(f"{metrics[name][at]:.0f}" for at in ("med", "p(95)", "p(99)")) if name in metrics else "-"

    received = str(metrics["received"]["count"]) if "received" in metrics else "0"
    row = [server.name, share("connected"), times("latency"), times("between"), share("dropped"), received]
    return [*row, "all kept" if done.returncode == 0 else "not kept"], done.returncode == 0


def table(head: list[str], rows: list[list[str]]) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--bond", default=str(HERE.parent / "target/release/bond"))
    parser.add_argument("--k6", default=str(HERE / "peers/bin/k6"))
    parser.add_argument("--centrifuge", default=str(HERE / "peers/bin/centrifuge"))
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    peers: list[tuple[type[Bond] | type[Centrifuge], str]] = [(Bond, asked.bond), (Centrifuge, asked.centrifuge)]
    for _, binary in peers:
        if not Path(binary).exists():
            print(f"left out, as it is not built: {binary}")
    peers = [(kind, binary) for kind, binary in peers if Path(binary).exists()]
    is_kept = True
    if Path(asked.k6).exists():
        rows = []
        for kind, binary in peers:
            with running(kind, binary) as server:
                row, kept = k6_load(server, asked.k6, asked.seconds)
                rows.append(row)
                is_kept = is_kept and (kept or kind is not Bond)
        head = ["k6, 200 connections", "connected", "latency ms p50/p95/p99", "between ms p50/p95/p99", "dropped", "received", "targets"]
        table(head, rows)
    else:
        print(f"k6 is left out, as it is not built: {asked.k6}")
    rows = []
    for kind, binary in peers:
        with running(kind, binary) as server:
            rows.append(asyncio.run(private_topics(server, asked.connections, asked.seconds)))
    head = [f"{asked.connections} connections, two private topics each", "KB per topic", "KB per connection", "after the load"]
    table([*head, "to connect", "p50", "p99", "events"], rows)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
