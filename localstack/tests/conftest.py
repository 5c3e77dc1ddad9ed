"""One emulator under our launcher for all tests of this directory."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cloud import emulator, processes  # noqa: E402
from cloud.place import Place  # noqa: E402


@pytest.fixture(scope="session")
def cloud(tmp_path_factory) -> Place:
    """A running emulator's directory."""
    place = Place(tmp_path_factory.mktemp("cloud"))
    place.make()
    emulator.start(place, None, enforce_iam=False, trusted="/dev/null")
    yield place
    processes.stop(place, "emulator")
