"""The little of AWS that a function meets when it is started once: the Lambda Runtime API, three secrets, and tables without items."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REDIS_PASSWORD = "verified"

SECRETS = {
    "token-keys": json.dumps({"current": "verified-when-packaged-and-used-for-nothing-else"}),
    "api-keys": json.dumps({"version": 1, "hash_key": "A" * 43, "keys": []}),
    "redis-auth": REDIS_PASSWORD,
}

INVOCATION = "/2018-06-01/runtime/invocation/"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Whoever is ended in the middle of a request is no error of ours."""


class Stub:
    """Hands out one event, and takes what is answered to it. Serves until closed."""

    def __init__(self, event: dict):
        self.event = json.dumps(event).encode()
        self.handed_out = threading.Event()
        self.closed = threading.Event()
        self.answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == f"{INVOCATION}next" and not stub.handed_out.is_set():
                stub.handed_out.set()
                self._send(200, stub.event, _invocation_headers())
            else:
                stub.closed.wait()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if target := self.headers.get("x-amz-target"):
                self._send(200, json.dumps(_service(target, json.loads(body))).encode(), {})
            else:
                stub.answers.put((self.path.rpartition("/")[2], body))
                self._send(202, b"", {})

        def _send(self, status: int, body: bytes, headers: dict):
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def _invocation_headers() -> dict:
    return {
        "lambda-runtime-aws-request-id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "lambda-runtime-deadline-ms": "4102444800000",
        "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:123456789012:function:verified",
    }


def _service(target: str, request: dict) -> dict:
    if target == "secretsmanager.GetSecretValue":
        name = request["SecretId"]
        return {"Name": name, "ARN": name, "VersionId": "1", "SecretString": SECRETS[name]}
    if target.endswith(".Query"):
        return {"Items": [], "Count": 0, "ScannedCount": 0}
    return {}
