"""Redis as ElastiCache gives it: over TLS, for the deployed users alone, and never forgetting by itself."""

import hashlib
import ssl
from pathlib import Path

from cloud import emulator, processes
from cloud.place import REPOSITORY, Place, listens


def certificates(place: Place) -> Path:
    """Makes an authority and a certificate of 127.0.0.1, once. Gives a file of all authorities to trust: ours and this machine's."""
    directory = place.directory("tls")
    trusted = directory / "trusted.crt"
    if not trusted.exists():
        _make_authority(place, directory)
        _make_certificate(place, directory)
        trusted.write_text((directory / "ca.crt").read_text() + _authorities_of_this_machine())
    return trusted


def _authorities_of_this_machine() -> str:
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_text() if path else ""


def _make_authority(place: Place, directory: Path) -> None:
    subject = ["-subj", "/CN=Bond local authority", "-days", "3650", "-addext", "keyUsage=critical,keyCertSign"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{directory}/ca.key"]
    processes.run(place, "tls", ["openssl", "req", "-x509", *key, *subject, "-out", f"{directory}/ca.crt"])


def _make_certificate(place: Place, directory: Path) -> None:
    authority = ["-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{directory}/redis.key"]
    out = ["-days", "3650", "-out", f"{directory}/redis.crt"]
    processes.run(place, "tls", ["openssl", "req", "-x509", *key, *name, *authority, *out])


def users(place: Place, outputs: dict[str, str]) -> list[str]:
    """The users of ElastiCache as lines of Redis's configuration. Passwords, which no API gives back, are in the secrets."""
    lines = []
    for user in emulator.client(place, "elasticache").describe_users()["Users"]:
        name, access = user["UserName"], user["AccessString"]
        secret = outputs.get(f"Redis{name.capitalize()}Secret")
        lines.append(f"user {name} {f'>{emulator.secret(place, secret)} ' if secret else ''}{access}")
    return sorted(lines)


def start(place: Place, users: list[str]) -> None:
    """Starts Redis, or starts it anew where it has other users or passwords: those of secrets which are gone."""
    text = _configuration(place, users)
    version = hashlib.sha256(text.encode()).hexdigest()
    process = processes.running(place).get("redis")
    if process and process.version == version:
        return
    processes.stop(place, "redis")
    configuration = place.directory("redis") / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(text)
    process = processes.start(place, "redis", [_server(place), str(configuration)], {"PATH": "/usr/bin:/bin"}, version)
    processes.wait_ready(place, "redis", process, lambda: listens(place.port("redis")))


def _configuration(place: Place, users: list[str]) -> str:
    tls = place.root / "tls"
    return "\n".join(
        [
            "bind 127.0.0.1",
            "port 0",
            f"tls-port {place.port('redis')}",
            f"tls-cert-file {tls}/redis.crt",
            f"tls-key-file {tls}/redis.key",
            f"tls-ca-cert-file {tls}/ca.crt",
            "tls-auth-clients no",
            *users,
            f"dir {place.root}/redis",
            "maxmemory-policy noeviction",
            "appendonly yes",
            'save ""',
        ]
    )


def _server(place: Place) -> str:
    """The path of redis-server, which is installed where it is missing."""
    return processes.run(place, "redis-tool", [str(REPOSITORY / "scripts" / "tools" / "redis")]).splitlines()[-1]
