"""Where the addresses that a template computes are found on this machine.

A template names an API by the host that AWS gives it. Nothing resolves that name here, so the emulator serves each API under
a path of its own address. What a template hands to a function or a task is translated at the rim, and stays as it is in `iac`.
"""

import re

_API_HOST = re.compile(
    r"(?P<scheme>https?|wss?)://(?P<api>[a-z0-9]+)\.execute-api\.(?:[a-z0-9-]+\.amazonaws\.com|localhost)(?::\d+)?"
)


def localise(text: str, endpoint: str) -> str:
    """Replaces every API host in `text` by its path below `endpoint` (`http://host:port`)."""
    host = endpoint.partition("://")[2]

    def local(match: re.Match) -> str:
        scheme = "ws" if match["scheme"].startswith("ws") else "http"
        return f"{scheme}://{host}/_aws/execute-api/{match['api']}"

    return _API_HOST.sub(local, text)


def localise_environment(environment: dict[str, str], endpoint: str) -> dict[str, str]:
    """`localise` for each value."""
    return {name: localise(str(value), endpoint) for name, value in environment.items()}
