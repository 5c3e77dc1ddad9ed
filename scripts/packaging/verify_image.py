#!/usr/bin/env python3
"""Starts the binary of the image with the image's own command, and asks for its health as ECS does. Usage: verify_image.py ARCHIVE

It meets an empty Redis, and tables without items.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from image import Image, is_static
from processes import free_port, redis, running
from stub import Stub

FILES = ["bond-cloud", "etc/ssl/certs/ca-certificates.crt"]
EMULATORS = {"arm64": ("aarch64", ["qemu-aarch64-static"]), "amd64": ("x86_64", ["qemu-x86_64-static"])}
PATIENCE_SECONDS = 90


def check(image: Image, root: Path) -> None:
    """What ECS and whoever attacks a container find in the image."""
    files = image.unpack(root)
    if files != FILES:
        raise SystemExit(f"the image holds other files than {FILES}: {files}")
    if not image.config.get("User", "").startswith("65532"):
        raise SystemExit(f"the image does not run as user 65532: {image.config}")
    if not is_static(root / "bond-cloud"):
        raise SystemExit("bond-cloud is not static: the image has no libraries")


def command(image: Image, root: Path, *arguments: str) -> list[str]:
    """The image's entry point with these arguments, emulated where the machine is of another kind."""
    machine, emulator = EMULATORS[image.architecture]
    [entry] = image.config["Entrypoint"]
    return [*([] if platform.machine() == machine else emulator), str(root / entry.lstrip("/")), *arguments]


def environment(root: Path, redis_port: int, aws: str, port: int) -> dict[str, str]:
    """What the task definition tells ingest."""
    return {
        "PATH": os.environ["PATH"],
        "SSL_CERT_FILE": str(root / FILES[1]),
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "verified",
        "AWS_SECRET_ACCESS_KEY": "verified",
        "AWS_ENDPOINT_URL": f"http://{aws}",
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "BOND_REDIS_AUTH_SECRET": "redis-auth",
        "BOND_PORT": str(port),
        "BOND_TABLE_STREAMS": "streams",
        "BOND_TABLE_CONNECTIONS": "connections",
        "BOND_FANOUT_FUNCTION": "fanout",
        "BOND_WS_CALLBACK_URL": f"http://{aws}/v1",
    }


def wait_for_health(process: subprocess.Popen, port: int, log: Path) -> float:
    """How long it took until `/health` answered 200."""
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < PATIENCE_SECONDS:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - begun
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"bond-cloud did not answer /health\n{log.read_text(errors='replace')}")


def main() -> None:
    """Verifies one image."""
    image = Image(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name, Stub({}) as aws, redis(Path(name)) as redis_port:
        root, log, port = Path(name) / "root", Path(name) / "log", free_port()
        check(image, root)
        told = environment(root, redis_port, aws.address, port)
        with running(command(image, root, *image.config["Cmd"]), log, env=told) as process:
            took = wait_for_health(process, port, log)
            subprocess.run(command(image, root, "healthy"), env=told, check=True)
    print(f"bond-cloud ({image.architecture}) answered /health in {took:.2f} s")


if __name__ == "__main__":
    main()
