"""The directory of one running cloud, and what lies where in it."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """One cloud's directory. Several clouds run side by side in several directories."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    def make(self) -> None:
        """Makes the directory, for this user alone: it holds keys."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for path in (self.logs, self.pids):
            path.mkdir(exist_ok=True)

    def directory(self, name: str) -> Path:
        """A directory below this one, made if need be."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def ports(self) -> dict[str, int]:
        """Every port that is in use here, by the name of its user."""
        path = self.root / "ports.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def port(self, name: str, wanted: int | None = None) -> int:
        """The port kept for `name`: chosen free, or as wanted, at first, and the same ever after."""
        kept = self.ports()
        if name not in kept:
            kept[name] = wanted or free_port()
            (self.root / "ports.json").write_text(json.dumps(kept))
        return kept[name]

    @property
    def endpoint(self) -> str:
        """The emulator's address."""
        return f"http://127.0.0.1:{self.port('emulator')}"


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether something answers at a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
