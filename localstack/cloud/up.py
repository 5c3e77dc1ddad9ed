"""`cloud-up`: from nothing, or from an older version, to a running cloud."""

import fcntl
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from cloud import account, build, deploy, emulator, ingest, processes, redis
from cloud.place import REPOSITORY, Place


@dataclass(frozen=True)
class Options:
    """What a run of `cloud-up` may choose."""

    place: Place
    # Where the binaries are; built first if none.
    binaries: Path | None = None
    profile: str = "dev"
    enforce_iam: bool = False
    # How many ingest processes, of which one leads.
    ingest: int = 1
    port: int | None = None
    # Settings of iac, each as `NAME=VALUE`.
    settings: tuple[str, ...] = ()
    # What else ingest is told on its command line.
    ingest_arguments: tuple[str, ...] = ("--bind", "127.0.0.1", "--venues", "sim")
    json: Path | None = None


def up(options: Options) -> dict:
    """Brings up what does not run, and replaces what is older than what is there now. Gives what a client needs."""
    place = options.place
    place.make()
    with _alone(place):
        _settle_mode(options)
        trusted = str(redis.certificates(place))
        outputs, binaries = _deployed(options, trusted)
        with step("redis"):
            redis.start(place, redis.users(place, outputs))
        with step("api key"):
            key = account.api_key(place, binaries / "bond", outputs["ApiKeysSecret"])
        with step("ingest"):
            task = ingest.task(place, outputs, binaries, options.enforce_iam, trusted)
            ingest.roll(place, task.with_arguments(options.ingest_arguments), options.ingest)
        return _describe(options, outputs, key)


def _deployed(options: Options, trusted: str) -> tuple[dict[str, str], Path]:
    """Builds and synthesises while the emulator starts and is bootstrapped, then deploys."""
    place = options.place
    with step("npm packages"):
        build.install_cdk(place)
    with ThreadPoolExecutor(1) as beside:
        account_ready = beside.submit(_ready_account, options, trusted)
        with step("binaries"):
            binaries = options.binaries or build.binaries(place, options.profile)
        with step("synthesis"):
            assembly = build.assembly(place, binaries, list(options.settings))
        who = account_ready.result()
    with step("deployment"):
        return deploy.deploy_changes(place, assembly, who), binaries


def _ready_account(options: Options, trusted: str) -> emulator.Credentials:
    with step("emulator"):
        emulator.start(options.place, options.port, options.enforce_iam, trusted)
    with step("bootstrap"):
        deploy.bootstrap(options.place)
        return account.deployer(options.place) if options.enforce_iam else emulator.ROOT


def _settle_mode(options: Options) -> None:
    """Whether IAM is enforced is settled at the emulator's start."""
    kept = options.place.root / "mode"
    mode = "enforcing IAM" if options.enforce_iam else "without IAM"
    if "emulator" in processes.running(options.place) and kept.read_text() != mode:
        raise processes.Failed(f"a cloud runs here {kept.read_text()}; `make cloud-down` ends it")
    kept.write_text(mode)


def _describe(options: Options, outputs: dict[str, str], key: str) -> dict:
    place = options.place
    running = processes.running(place)
    described = {
        "rest_url": outputs["RestUrl"],
        "ws_url": outputs["WebSocketUrl"],
        "callback_url": outputs["CallbackUrl"],
        "api_key": key,
        "endpoint": place.endpoint,
        "redis_url": outputs["RedisUrl"],
        "pids": {name: process.pid for name, process in running.items()},
        "ports": {name: port for name, port in place.ports().items() if name in running},
        "outputs": outputs,
        "dir": str(place.root),
    }
    for path in filter(None, (options.json, place.root / "cloud.json")):
        path.touch(mode=0o600)
        path.write_text(json.dumps(described, indent=2))
    return described


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Keeps two runs from the same directory apart."""
    with (place.root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tells how long a step took."""
    began = time.monotonic()
    yield
    print(f"  {name:<14}{time.monotonic() - began:6.1f} s", file=sys.stderr, flush=True)


def default_place() -> Place:
    """The cloud of `make cloud-up`."""
    return Place(REPOSITORY / ".cloud")
