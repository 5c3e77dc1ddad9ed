"""An image in an OCI archive: what it says of itself, and its files."""

import json
import tarfile
from pathlib import Path

# Of an ELF program header, the type that names an interpreter: a static binary has none.
PT_INTERP = 3


class Image:
    """Reads the archive's only image."""

    def __init__(self, archive: Path):
        self._archive = tarfile.open(archive)
        manifest = self._json(self._blob(self._json("index.json")["manifests"][0]))
        self._layers = [self._blob(layer) for layer in manifest["layers"]]
        described = self._json(self._blob(manifest["config"]))
        #: `amd64`, `arm64`.
        self.architecture: str = described["architecture"]
        #: Entry point, command, user.
        self.config: dict = described["config"]

    def unpack(self, directory: Path) -> list[str]:
        """Writes the files below `directory`, and gives their paths."""
        files = []
        for name in self._layers:
            with tarfile.open(fileobj=self._archive.extractfile(name)) as layer:
                layer.extractall(directory, filter="data")
                files += [member.name for member in layer.getmembers() if member.isfile()]
        return sorted(files)

    def _json(self, name: str) -> dict:
        return json.load(self._archive.extractfile(name))

    @staticmethod
    def _blob(descriptor: dict) -> str:
        return "blobs/" + descriptor["digest"].replace(":", "/")


def is_static(binary: Path) -> bool:
    """Whether a 64-bit little-endian ELF file asks for no interpreter."""
    data = binary.read_bytes()
    start, size, count = (int.from_bytes(data[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2)))
    headers = (data[start + index * size :][:4] for index in range(count))
    return all(int.from_bytes(kind, "little") != PT_INTERP for kind in headers)
