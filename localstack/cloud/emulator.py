"""The emulator: MiniStack under our launcher, and clients of its API."""

import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass

import botocore.client
import botocore.session

from cloud import processes
from cloud.place import REPOSITORY, Place

REGION = "us-east-1"
ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Credentials:
    """An access key of the emulator."""

    key: str
    secret: str


# The emulator's root, which only `cdk bootstrap` and what an account's owner does need where it enforces IAM.
ROOT = Credentials("test", "test")


def access(place: Place, who: Credentials = ROOT) -> dict[str, str]:
    """The variables by which an AWS SDK finds the emulator and its credentials."""
    return {
        "AWS_ENDPOINT_URL": place.endpoint,
        "AWS_ACCESS_KEY_ID": who.key,
        "AWS_SECRET_ACCESS_KEY": who.secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def client(place: Place, service: str, who: Credentials = ROOT) -> botocore.client.BaseClient:
    """A client of one service."""
    return botocore.session.Session().create_client(
        service,
        region_name=REGION,
        endpoint_url=place.endpoint,
        aws_access_key_id=who.key,
        aws_secret_access_key=who.secret,
    )


def secret(place: Place, arn: str) -> str:
    """The text of a secret."""
    return client(place, "secretsmanager").get_secret_value(SecretId=arn)["SecretString"]


def start(place: Place, port: int | None, enforce_iam: bool, trusted: str) -> None:
    """Starts the emulator unless it runs. `trusted` is the file of certificates that its functions trust."""
    if "emulator" in processes.running(place):
        return
    place.port("emulator", port)
    launcher = REPOSITORY / "localstack" / "launcher.py"
    environment = _environment(place, enforce_iam, trusted)
    process = processes.start(place, "emulator", [sys.executable, str(launcher)], environment)
    processes.wait_ready(place, "emulator", process, lambda: _healthy(place))


def _environment(place: Place, enforce_iam: bool, trusted: str) -> dict[str, str]:
    return access(place) | {
        # Functions inherit what follows, and nothing else of this process.
        "PATH": os.environ["PATH"],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(place.port("emulator")),
        "TMPDIR": str(place.directory("tmp")),
        "STATE_DIR": str(place.directory("state")),
        "PERSIST_STATE": "0",
        "AUTH": "true" if enforce_iam else "false",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(place.port("redis")),
        "SSL_CERT_FILE": trusted,
    }


def _healthy(place: Place) -> bool:
    try:
        with urllib.request.urlopen(f"{place.endpoint}/_ministack/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
