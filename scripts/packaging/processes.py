"""Processes that live as long as a block, Redis among them."""

import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

from stub import REDIS_PASSWORD


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def running(arguments: list[str], log: Path, **options):
    """A process, its output in `log`, killed at the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def redis(directory: Path):
    """An empty Redis, as the port it listens to. Whoever connects may be earlier than it: clients try again."""
    port = free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory), "--requirepass", REDIS_PASSWORD]
    with running(["redis-server", *arguments], directory / "redis.log"):
        yield port
