"""What is started can be found, and is gone with its children when stopped."""

import os
import signal
import sys

import pytest

from cloud import processes
from cloud.place import Place

# A parent that ends when told to, with a child that does not.
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE).stdout.readline()
print("ready", flush=True)
time.sleep(600)
"""

# One that ends in its own way when told to, as Bond does.
HANDLING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path) -> Place:
    place = Place(tmp_path)
    place.make()
    return place


def start(place: Place, source: str) -> processes.Process:
    return processes.start(place, "it", [sys.executable, "-c", source], {})


def test_a_child_that_ignores_the_signal_is_killed(place):
    process = start(place, STUBBORN)
    processes.wait_ready(place, "it", process, lambda: "ready" in (place.logs / "it.log").read_text())
    assert len(processes.stop(place, "it")) == 1
    assert not process.alive()
    assert processes.running(place) == {}


def test_one_that_ends_by_itself_is_reported_with_its_log(place):
    process = start(place, "print('no such thing'); raise SystemExit(3)")
    with pytest.raises(processes.Failed, match="no such thing"):
        processes.wait_ready(place, "it", process, lambda: False)


def test_a_later_process_with_the_same_pid_is_not_ours(place):
    process = start(place, "import time; time.sleep(600)")
    (place.pids / "other").write_text(f"{process.pid} 1 ")
    assert list(processes.running(place)) == ["it"]
    assert processes.stop(place, "other") == []
    assert process.alive()
    processes.stop(place, "it")


def test_a_frozen_process_that_would_handle_the_signal_is_killed(place):
    process = start(place, HANDLING)
    processes.wait_ready(place, "it", process, lambda: "ready" in (place.logs / "it.log").read_text())
    os.kill(process.pid, signal.SIGSTOP)
    assert processes.stop(place, "it", patience=0.1) == [process.pid]


def test_a_port_stays_the_same(place):
    assert place.port("redis") == place.port("redis")
    assert place.port("other") != place.port("redis")
