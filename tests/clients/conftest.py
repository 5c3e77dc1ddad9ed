"""Clients against a real `bond up` with simulated venues; those of the original Bond and of 3kk0 are written from their documents alone."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    rest: str
    ws: str


def start(data_dir: Path, ws_port: int = 0, **settings: str) -> tuple[subprocess.Popen[bytes], Server]:
    """Starts `bond up` on free ports, unless one is named, and waits until it says that it serves."""
    binary = os.environ.get("BOND_BINARY", str(ROOT / "target/debug/bond"))
    ready = data_dir / "ready"
    log = (data_dir / "bond.log").open("wb")
    command = [binary, "up", "--rest-port", "0", "--ws-port", str(ws_port)]
    command += ["--data-dir", str(data_dir), "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | settings)
    deadline = time.monotonic() + 60
    while not (ready.exists() and ready.stat().st_size):
        assert process.poll() is None, (data_dir / "bond.log").read_text()
        assert time.monotonic() < deadline, "bond did not become ready"
        time.sleep(0.02)
    banner = ready.read_text()
    rest = re.search(r"http://\S+", banner)
    ws = re.search(r"ws://\S+", banner)
    assert rest and ws, banner
    return process, Server(rest.group().rstrip("/"), ws.group().rstrip("/"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    process, server = start(tmp_path_factory.mktemp("bond"), BOND_MAX_STREAMS="50", BOND_HEARTBEAT_SECONDS="1")
    yield server
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture
def rest(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.rest, trust_env=False, timeout=10) as client:
        yield client
