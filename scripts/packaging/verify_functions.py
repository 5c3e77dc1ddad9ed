#!/usr/bin/env python3
"""Starts the function of each zip once, emulating arm64, and asks that it answer its event. Usage: verify_functions.py DIRECTORY

Functions get their events by the Lambda Runtime API, as from AWS, and meet an empty Redis and tables without items.
"""

import json
import os
import platform
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from queue import Empty
from typing import Callable

from processes import redis, running
from stub import Stub

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "functions" / "tests" / "fixtures"
# Where Debian's cross compiler keeps the C library of arm64.
LIBRARIES = "/usr/aarch64-linux-gnu"
PATIENCE_SECONDS = 60


def fixture(name: str) -> dict:
    """A recorded event."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def health() -> dict:
    """A recorded request, to another path."""
    event = fixture("http")
    event["rawPath"] = "/health"
    event["routeKey"] = "$default"
    event["requestContext"]["http"] |= {"method": "GET", "path": "/health"}
    return event


def status(*expected: int) -> Callable[[dict], bool]:
    """Whether the answer has one of these statuses."""
    return lambda answer: answer.get("statusCode") in expected


# What each function is asked, and what it must answer: no stream and no connection exists.
CASES: dict[str, tuple[Callable[[], dict], Callable[[dict], bool]]] = {
    "api": (health, lambda answer: status(200)(answer) and json.loads(answer["body"])["status"] == "ok"),
    "ws_connect": (lambda: fixture("connect"), status(400, 401, 403)),
    "ws_disconnect": (lambda: fixture("disconnect"), status(200)),
    "ws_message": (lambda: fixture("message"), status(200)),
    "fanout": (
        lambda: {"lane": 0, "number": 1, "budget_ms": 5000, "messages": [], "parcels": []},
        lambda answer: answer == {"deliveries": []},
    ),
}


def environment(address: str, redis_port: int) -> dict[str, str]:
    """What Lambda and the templates tell a function."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "verified",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": "verified",
        "AWS_LAMBDA_LOG_STREAM_NAME": "verified",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "verified",
        "AWS_SECRET_ACCESS_KEY": "verified",
        "AWS_ENDPOINT_URL": f"http://{address}",
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "BOND_REDIS_AUTH_SECRET": "redis-auth",
        "BOND_TOKEN_KEYS_SECRET": "token-keys",
        "BOND_API_KEYS_SECRET": "api-keys",
        "BOND_TABLE_STREAMS": "streams",
        "BOND_TABLE_CONNECTIONS": "connections",
        "BOND_WS_URL": "wss://example.execute-api.eu-central-1.amazonaws.com/v1",
        "BOND_WS_CALLBACK_URL": f"http://{address}/v1",
    }


def command(bootstrap: Path) -> list[str]:
    """Runs an arm64 binary on this machine."""
    native = platform.machine() == "aarch64"
    return [str(bootstrap)] if native else ["qemu-aarch64-static", "-L", LIBRARIES, str(bootstrap)]


def unpacked(archive: Path, directory: Path) -> Path:
    """The zip's one file, executable as Lambda would find it."""
    with zipfile.ZipFile(archive) as opened:
        [entry] = opened.infolist()
        if entry.filename != "bootstrap" or not (entry.external_attr >> 16) & 0o111:
            raise SystemExit(f"{archive.name} does not hold an executable bootstrap")
        bootstrap = Path(opened.extract(entry, directory))
    bootstrap.chmod(0o755)
    return bootstrap


def verify(archive: Path, event: dict, is_right: Callable[[dict], bool], redis_port: int) -> str:
    """Starts the function, and gives how long it took to answer rightly."""
    with tempfile.TemporaryDirectory() as directory, Stub(event) as stub:
        bootstrap, log = unpacked(archive, Path(directory)), Path(directory) / "log"
        begun = time.monotonic()
        with running(command(bootstrap), log, env=environment(stub.address, redis_port)) as process:
            kind, body = answer_of(stub, process)
        took = time.monotonic() - begun
        if kind != "response" or not is_right(json.loads(body)):
            raise SystemExit(f"{archive.name} answered {kind}: {body.decode()}\n{log.read_text(errors='replace')}")
        return f"{archive.name} answered in {took:.2f} s, emulated"


def answer_of(stub: Stub, process) -> tuple[str, bytes]:
    """What the function answered, and of which kind: `response`, or `error` with its reason."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            return stub.answers.get(timeout=0.2)
        except Empty:
            if process.poll() is not None:
                return f"nothing and ended with {process.returncode}", b""
    return "nothing", b""


def main() -> None:
    """Verifies every function."""
    archives = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory, redis(Path(directory)) as redis_port:
        for name, (event, is_right) in CASES.items():
            print(verify(archives / f"{name}.zip", event(), is_right, redis_port), flush=True)


if __name__ == "__main__":
    main()
