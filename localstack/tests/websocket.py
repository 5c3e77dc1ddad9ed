"""A WebSocket client of a few lines, over the protocol library that the emulator brings with it."""

import socket
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request, TextMessage


class WebSocket:
    """An open WebSocket. `subprotocol` is the one that the server chose."""

    def __init__(self, url: str, subprotocols: list[str]):
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._protocol = WSConnection(ConnectionType.CLIENT)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._send(Request(host=parts.netloc, target=target, subprotocols=subprotocols))
        answer = self._next()
        if isinstance(answer, RejectConnection):
            raise ConnectionRefusedError(answer.status_code)
        assert isinstance(answer, AcceptConnection)
        self.subprotocol = answer.subprotocol

    def ask(self, text: str) -> str:
        """Sends a message and gives the next one that comes."""
        self._send(TextMessage(data=text))
        answer = self._next()
        assert isinstance(answer, TextMessage)
        return answer.data

    def close(self) -> None:
        self._socket.close()

    def _send(self, event) -> None:
        self._socket.sendall(self._protocol.send(event))

    def _next(self):
        while True:
            for event in self._protocol.events():
                return event
            self._protocol.receive_data(self._socket.recv(65536) or None)
