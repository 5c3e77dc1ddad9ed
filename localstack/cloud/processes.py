"""Processes in the background: started in a group of their own, known by pid and start, ended with all their children."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from cloud.place import Place


class Failed(Exception):
    """Something that cannot go on, with what its user should read."""


@dataclass(frozen=True)
class Process:
    """A process that was started here.

    `started` tells it from a later one with the same pid, `version` whether it was started from what is there now.
    """

    pid: int
    started: str
    version: str = ""

    def alive(self) -> bool:
        return self.started == _start_of(self.pid)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _start_of(pid: int) -> str | None:
    """When the process began, as the kernel counts; none if there is no such process, or only its zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def _group_of(pid: int) -> list[int]:
    members = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    stats = ((member, _stat(member)) for member in members)
    return [member for member, fields in stats if fields and fields[0] != "Z" and int(fields[2]) == pid]


def start(place: Place, name: str, command: list[str], environment: dict[str, str], version: str = "") -> Process:
    """Starts `command` with its output in `logs/{name}.log`, and keeps its pid and version."""
    log = place.logs / f"{name}.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    process = Process(child.pid, _start_of(child.pid) or "", version)
    (place.pids / name).write_text(f"{process.pid} {process.started} {process.version}")
    return process


def running(place: Place) -> dict[str, Process]:
    """What was started and still runs, by name."""
    kept = {path.name: _read(path) for path in sorted(place.pids.glob("*"))}
    return {name: process for name, process in kept.items() if process.alive()}


def _read(path: Path) -> Process:
    pid, started, version = path.read_text().split(" ", 2)
    return Process(int(pid), started, version)


def stop(place: Place, name: str, patience: float = 10.0) -> list[int]:
    """Ends a process by SIGTERM, then what is left of its group. Gives the pids that had to be killed."""
    path = place.pids / name
    if not path.exists():
        return []
    process = _read(path)
    if process.alive():
        os.kill(process.pid, signal.SIGTERM)
        _wait_until(lambda: not process.alive(), patience)
    survivors = _left_of(process)
    for pid in survivors:
        _kill(pid)
    path.unlink()
    return survivors


def _left_of(process: Process) -> list[int]:
    """A process and its group as far as they live; nothing where its number has gone to another."""
    return _group_of(process.pid) if _start_of(process.pid) in (None, process.started) else []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _wait_until(lambda: _start_of(pid) is None, 5.0)


def _wait_until(condition: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_ready(place: Place, name: str, process: Process, ready: Callable[[], bool], patience: float = 30.0) -> None:
    """Waits until `ready`; fails with the end of the log if the process ends or takes too long."""
    settled = _wait_until(lambda: ready() or not process.alive(), patience)
    if not settled or not process.alive():
        why = "ended" if not process.alive() else f"was not ready within {patience:.0f} s"
        raise Failed(f"{name} {why}; the end of its log:\n{tail(place.logs / f'{name}.log')}")


def tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def run(place: Place, name: str, command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a command to its end and gives its output, which it also keeps in a log. Fails where the command does."""
    done = subprocess.run(command, env=environment, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with (place.logs / f"{name}.log").open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        raise Failed(f"{name} failed ({done.returncode}):\n" + "\n".join(done.stdout.splitlines()[-30:]))
    return done.stdout
