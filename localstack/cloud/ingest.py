"""Ingest as its deployed task definition says, run as processes of this machine: the emulator's ECS starts nothing."""

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from addresses import localise_environment
from cloud import account, build, processes
from cloud.emulator import ROOT, access, client
from cloud.place import Place


@dataclass(frozen=True)
class Task:
    """What a task of the service runs."""

    command: list[str]
    environment: dict[str, str]

    def with_arguments(self, arguments: tuple[str, ...]) -> "Task":
        return Task([*self.command, *arguments], self.environment)


def task(place: Place, outputs: dict[str, str], binaries: Path, enforce_iam: bool, trusted: str) -> Task:
    """The task of the deployed service, with local addresses and, where IAM is enforced, its role's rights.

    `trusted` is the file of certificates that it trusts.
    """
    ecs = client(place, "ecs")
    service = ecs.describe_services(cluster=outputs["ClusterName"], services=[outputs["ServiceName"]])["services"][0]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    container = definition["containerDefinitions"][0]
    who = account.like_role(place, definition["taskRoleArn"], "ingest") if enforce_iam else ROOT
    given = {pair["name"]: pair["value"] for pair in container["environment"]}
    environment = access(place, who) | localise_environment(given, place.endpoint)
    command = [str(binaries / "bond-cloud"), *container["command"]]
    return Task(command, environment | {"SSL_CERT_FILE": trusted})


def roll(place: Place, wanted: Task, count: int) -> None:
    """Lets `count` processes run of this very version, one that leads and others that stand by.

    As on ECS, a new one is there before an old one ends, and what it replaced hands over its lease.
    """
    version = _version(wanted)
    old = {name: process for name, process in processes.running(place).items() if name.startswith("ingest-")}
    current = [name for name, process in old.items() if process.version == version]
    outdated = [name for name in old if name not in current]
    while len(current) < count:
        current.append(_start(place, wanted, version))
        if outdated:
            processes.stop(place, outdated.pop(0))
    for name in outdated + current[count:]:
        processes.stop(place, name)


def _version(wanted: Task) -> str:
    binary = build.content_hash(Path(wanted.command[0]))
    return hashlib.sha256(json.dumps([binary, wanted.command, sorted(wanted.environment.items())]).encode()).hexdigest()


def _start(place: Place, wanted: Task, version: str) -> str:
    taken = processes.running(place)
    name = next(name for name in (f"ingest-{number}" for number in range(1, 100)) if name not in taken)
    port = place.port(name)
    environment = wanted.environment | {"BOND_PORT": str(port)}
    process = processes.start(place, name, wanted.command, environment, version)
    processes.wait_ready(place, name, process, lambda: _healthy(port))
    return name


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
