"""One emulator under our launcher for all tests of this directory."""

import pytest

from cloud import emulator, processes
from cloud.place import Place


@pytest.fixture(scope="session")
def cloud(tmp_path_factory) -> Place:
    """A running emulator's directory."""
    place = Place(tmp_path_factory.mktemp("cloud"))
    place.make()
    emulator.start(place, None, enforce_iam=False, trusted="/dev/null")
    yield place
    processes.stop(place, "emulator")
