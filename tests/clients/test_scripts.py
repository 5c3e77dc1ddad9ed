"""`scripts/up` and `scripts/down`: whom they stop, and what others may read."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT

BINARY = os.environ.get("BOND_BINARY", str(ROOT / "target/debug/bond"))


def script(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([ROOT / "scripts" / name, *arguments], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.joinpath("self").exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True).returncode == 0


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody here may stop."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    yield directory
    script("down", directory)


def up(data: Path) -> str:
    return script("up", BINARY, data, "--rest-port", "0", "--ws-port", "0")


@pytest.mark.parametrize("noted", ["", "1 target/release/bond up --data-dir .bond"])
def test_down_leaves_a_stranger_alone_that_has_the_number_now(stranger: subprocess.Popen[bytes], tmp_path: Path, noted: str) -> None:
    pid_file = tmp_path / "bond.pid"
    pid_file.write_text(f"{stranger.pid}\n{noted}\n")
    assert "stale" in script("down", tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        stranger.wait(0.5)
    assert not pid_file.exists()


@pytest.mark.parametrize("noted", ["", "0", "-1", "1 2", "x\ny"])
def test_down_signals_nobody_for_a_pid_file_without_a_number(tmp_path: Path, noted: str) -> None:
    (tmp_path / "bond.pid").write_text(noted)
    assert "stale" in script("down", tmp_path)


def test_up_starts_beside_a_stale_pid_file_and_down_stops_what_it_started(stranger: subprocess.Popen[bytes], data: Path) -> None:
    data.mkdir()
    (data / "bond.pid").write_text(f"{stranger.pid}\n")
    assert "running already" not in up(data)
    pid = int((data / "bond.pid").read_text().split()[0])
    assert pid != stranger.pid and runs(pid)
    assert "running already" in up(data)
    assert "bond stopped" in script("down", data)
    assert not runs(pid) and stranger.poll() is None


def test_nobody_else_reads_what_bond_keeps_and_the_last_log_is_kept(data: Path) -> None:
    data.mkdir(mode=0o755)
    log = data / "bond.log"
    log.write_text("the run before\n")
    log.chmod(0o644)
    up(data)
    assert (data / "bond.log.1").read_text() == "the run before\n"
    assert "the run before" not in log.read_text()
    assert data.stat().st_mode & 0o777 == 0o700
    open_to_others = [path.name for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not open_to_others


def test_a_log_that_grows_is_turned_over(tmp_path: Path) -> None:
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    writer = subprocess.Popen(["bash", "-c", 'while sleep 0.01; do echo "a line of the log" >>"$0"; done', log])
    log.touch()
    shell = f'. scripts/process; printf "%s\\n%s\\n" {writer.pid} "$(identity {writer.pid})"'
    pid_file.write_bytes(subprocess.check_output(["bash", "-c", shell], cwd=ROOT))
    watcher = subprocess.Popen([ROOT / "scripts/turn-over", log, pid_file, "500", "0.05"])
    try:
        until(lambda: (tmp_path / "log.1").exists() and log.stat().st_size < 500)
        assert (tmp_path / "log.1").read_text().startswith("a line of the log\n")
    finally:
        writer.kill()
        writer.wait()
    assert watcher.wait(20) == 0
