"""A server on one port that answers REST and WebSocket requests as a script says, byte by byte where it matters."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from bond import Client

STREAM = "0123456789abcdef"
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Act = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""What is done with one request, given its head; the connection is cut afterwards."""


class Scripted:
    """Each request uses up one act of its kind. Requests beyond the script are fine for REST, and cut off for WebSockets."""

    def __init__(self, sockets: list[Act], rest: list[Act | None] | None = None) -> None:
        self.sockets, self.rest = list(sockets), list(rest or [])
        self.asked: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def opened(self) -> list[str]:
        """The request lines of WebSocket handshakes."""
        return [line for line in self.asked if "/ws/" in line]

    async def numbers(self, count: int, **options: Any) -> list[int]:
        """The numbers of this many events, as the SDK gives them."""
        seen: list[int] = []
        async with Client(self.url) as client:
            async for event in client.subscribe(STREAM, **options):
                seen.append(event["seq"])
                if len(seen) == count:
                    break
        return seen

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.split("\r\n")[0])
            if header(head, "upgrade"):
                act: Act | None = self.sockets.pop(0) if self.sockets else raw(b"")
            else:
                await reader.readexactly(int(header(head, "content-length") or 0))
                act = self.rest.pop(0) if self.rest else None
            await (act or self._fine)(head, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _fine(self, _: str, writer: asyncio.StreamWriter) -> None:
        ws_url = f"{self.url.replace('http', 'ws', 1)}/ws/{STREAM}?token=t{len(self.asked)}"
        body = {"stream_id": STREAM, "spec": {}, "ws_url": ws_url, "token": "t", "expires_in_sec": 60}
        writer.write(_answer(200, json.dumps(body | {"created": True, "explanation": []}).encode()))


def header(head: str, name: str) -> str | None:
    lines = (line.partition(": ") for line in head.split("\r\n"))
    return next((value for found, _, value in lines if found.lower() == name), None)


def raw(answer: bytes) -> Act:
    """These bytes instead of an answer."""

    async def act(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return act


def status(code: int, body: bytes = b"", **headers: str) -> Act:
    """An HTTP answer."""
    return raw(_answer(code, body, **headers))


def _answer(code: int, body: bytes, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {code} X\r\n{lines}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def frames(*payloads: bytes) -> Act:
    """A good handshake, these frames, and a cut."""

    async def act(head: str, writer: asyncio.StreamWriter) -> None:
        key = header(head, "sec-websocket-key") or ""
        accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + b"".join(payloads))

    return act


def text(value: Any) -> bytes:
    """A text frame; a string goes as it is."""
    body = (value if isinstance(value, str) else json.dumps(value)).encode()
    assert len(body) < 126 << 8
    return b"\x81" + (bytes([len(body)]) if len(body) < 126 else b"\x7e" + len(body).to_bytes(2, "big")) + body


def events(*numbers: int, epoch: str = "e", topic: str = "streams.s") -> Act:
    """These events, and a cut."""
    return frames(*(text({"type": "aggregate", "topic": topic, "epoch": epoch, "seq": seq}) for seq in numbers))


def closed(code: int, reason: str = "") -> Act:
    """A close frame."""
    body = code.to_bytes(2, "big") + reason.encode()
    return frames(b"\x88" + bytes([len(body)]) + body)
