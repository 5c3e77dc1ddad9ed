"""Templates are synthesised anew when something in them changes, and only then."""

import pytest

from cloud import build
from cloud.place import Place


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    """A place with five binaries, in a repository of its own, where synthesis only counts."""
    place = Place(tmp_path / "cloud")
    place.make()
    binaries, iac = place.directory("binaries"), place.directory("iac")
    for name in build.FUNCTIONS:
        (binaries / name).write_text(name)
    (iac / "app.ts").write_text("app")
    monkeypatch.setattr(build, "REPOSITORY", tmp_path)
    monkeypatch.setattr(build, "IAC", iac)
    monkeypatch.setattr(build, "_synthesise", lambda place, built, settings, work: (work / "cdk.out").mkdir())
    return place


@pytest.mark.parametrize("changed", ["binaries/fanout", "iac/app.ts"])
def test_a_change_makes_another_assembly(place, changed):
    first = build.assembly(place, place.root / "binaries", [])
    assert build.assembly(place, place.root / "binaries", []) == first
    (place.root / changed).write_text("changed")
    second = build.assembly(place, place.root / "binaries", [])
    assert second != first
    assert first.exists() and second.exists()


def test_another_setting_makes_another_assembly(place):
    binaries = place.root / "binaries"
    assert build.assembly(place, binaries, ["BOND_MAX_STREAMS=50"]) != build.assembly(place, binaries, [])


def test_old_assemblies_are_removed(place):
    binary = place.root / "binaries" / "api"
    made = []
    for number in range(build.KEPT_ASSEMBLIES + 2):
        binary.write_text(str(number))
        made.append(build.assembly(place, place.root / "binaries", []))
    assert [path.exists() for path in made] == [False, False] + [True] * build.KEPT_ASSEMBLIES
