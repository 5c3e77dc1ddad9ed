"""Every example of `examples/`, by its one command, against a real server; those that resume lose their connections."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT, Server, start

EXAMPLES = ROOT / "examples"
BINARIES = Path(os.environ.get("BOND_BINARY", str(ROOT / "target/debug/bond"))).parent

Command = list[str]


def commands(name: str, *, rust: bool = True) -> list[object]:
    """The same example in each language."""
    shell: Command = [str(EXAMPLES / f"shell/{name.replace('_', '-')}.sh")]
    python: Command = [sys.executable, str(EXAMPLES / f"python/{name}.py")]
    binary: Command = [str(BINARIES / name)]
    both = [pytest.param(shell, id="shell"), pytest.param(python, id="python")]
    return [*both, pytest.param(binary, id="rust")] if rust else both


def run(command: Command, server: str, count: int) -> subprocess.CompletedProcess[str]:
    # websocat is installed beside this Python, and the Python package is not installed at all.
    found = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "sdk/python")}
    settings = os.environ | found | {"BOND_URL": server, "NO_PROXY": "*"}
    done = subprocess.run([*command, str(count)], capture_output=True, text=True, timeout=60, env=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("command", commands("first_stream"))
def test_a_first_stream(command: Command, server: Server) -> None:
    lines = run(command, server.rest, 3).stdout.splitlines()
    assert len(lines) == 3
    assert all("BTC/USDT" in line for line in lines), lines


@pytest.mark.parametrize("command", commands("feed"))
def test_a_feed(command: Command, server: Server) -> None:
    lines = run(command, server.rest, 10).stdout.splitlines()
    assert len(lines) == 10
    assert all("BTC/USDT" in line and ("buy" in line or "sell" in line) for line in lines), lines


@pytest.mark.parametrize("command", commands("topic", rust=False))
def test_a_topic(command: Command, server: Server) -> None:
    lines = [line.split("\t") for line in run(command, server.rest, 10).stdout.splitlines()]
    positions = [position.split(":") for position, *_ in lines]
    numbers = [int(seq) for _, seq in positions]
    assert numbers == list(range(numbers[0], numbers[0] + 10)), lines
    assert len({epoch for epoch, _ in positions}) == 1, lines
    assert "EUR" in lines[0][2], lines


class Cutter(threading.Thread):
    """Passes connections on to a server, and cuts each after so many bytes of the server's."""

    def __init__(self, port: int, after: int) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.port, self.after, self.cuts = port, after, 0

    def run(self) -> None:
        asyncio.run(self.serve())

    async def serve(self) -> None:
        async with await asyncio.start_server(self.pass_on, sock=self.listener) as listening:
            await listening.serve_forever()

    async def pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        upwards = asyncio.ensure_future(self.copy(client, to_server, sys.maxsize))
        with suppress(OSError):
            is_cut = await self.copy(server, to_client, self.after)
            self.cuts += is_cut
        upwards.cancel()
        for writer in (to_client, to_server):
            writer.transport.abort()

    async def copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int) -> bool:
        """Copies until the source ends, or nothing is left that may be copied: whether it was that."""
        while left > 0 and (data := await source.read(min(left, 4096))):
            left -= len(data)
            sink.write(data)
            await sink.drain()
        return left == 0


@pytest.fixture(scope="module")
def cut_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Cutter]]:
    """A server whose WebSockets lead through a cutter."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cutter = Cutter(port, after=8_000)
    cutter.start()
    process, server = start(tmp_path_factory.mktemp("cut"), ws_port=port, WS_HOST=cutter.address)
    yield server, cutter
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.parametrize("command", commands("resume"))
def test_a_client_that_resumes(command: Command, cut_server: tuple[Server, Cutter]) -> None:
    server, cutter = cut_server
    cutter.cuts = 0
    done = run(command, server.rest, 100)
    positions = [line.split("\t")[0].split(":") for line in done.stdout.splitlines()]
    assert len(positions) == 100
    assert len({epoch for epoch, _ in positions}) == 1, positions
    numbers = [int(seq) for _, seq in positions]
    assert numbers == list(range(numbers[0], numbers[0] + 100)), "no event is missing, and none comes twice"
    assert cutter.cuts >= 2 and done.stderr.count("connection lost") >= 2, done.stderr
