"""`cloud-down`: ends every process and removes the directory."""

import shutil

from cloud import processes
from cloud.place import Place, listens
from cloud.processes import Failed


def down(place: Place) -> list[str]:
    """Ends what runs, those first that need the others. Gives what was ended; fails if anything stays behind."""
    if not place.root.exists():
        return []
    ended = sorted((path.name for path in place.pids.glob("*")), key=_order)
    for name in ended:
        processes.stop(place, name, patience=20.0)
    held = [f"{name} ({port})" for name, port in place.ports().items() if listens(port)]
    if held:
        raise Failed(f"something still listens at the ports of {', '.join(held)}; see {place.logs}")
    shutil.rmtree(place.root)
    return ended


def _order(name: str) -> tuple[int, str]:
    ends_last = ("emulator", "redis")
    return (ends_last.index(name) + 1 if name in ends_last else 0, name)
