"""`cloud-down` leaves nothing behind, or says what it could not end."""

import socket
import sys

import pytest

from cloud import processes
from cloud.down import down
from cloud.place import Place

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


@pytest.fixture
def place(tmp_path) -> Place:
    place = Place(tmp_path / "cloud")
    place.make()
    return place


def test_processes_and_files_are_gone(place):
    process = processes.start(place, "redis", [sys.executable, "-c", LISTEN, str(place.port("redis"))], {})
    assert down(place) == ["redis"]
    assert not process.alive()
    assert not place.root.exists()


def test_a_port_that_is_still_held_is_told(place):
    with socket.create_server(("127.0.0.1", place.port("redis"))):
        with pytest.raises(processes.Failed, match="redis"):
            down(place)
    assert place.root.exists()


def test_ingest_ends_before_what_it_needs(place):
    for name in ("emulator", "ingest-1", "redis"):
        processes.start(place, name, [sys.executable, "-c", "import time; time.sleep(600)"], {})
    assert down(place) == ["ingest-1", "emulator", "redis"]


def test_where_nothing_runs_nothing_is_ended(tmp_path):
    assert down(Place(tmp_path / "none")) == []
