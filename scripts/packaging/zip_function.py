#!/usr/bin/env python3
"""Packs a binary as Lambda wants it: a zip that holds `bootstrap`. The same binary makes the same zip.

Usage: zip_function.py BINARY ZIP
"""

import sys
import zipfile
from pathlib import Path

EXECUTABLE_FILE = 0o100755 << 16
# The earliest time that a zip can hold, so that the time of the build does not show.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def pack(binary: Path, target: Path, level: int = 9) -> None:
    """Writes the zip, compressed as hard as `level` says."""
    entry = zipfile.ZipInfo("bootstrap", date_time=NO_TIME)
    entry.external_attr = EXECUTABLE_FILE
    entry.create_system = 3  # Unix: without it, Lambda finds no executable bit
    entry.compress_type = zipfile.ZIP_DEFLATED
    content = binary.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(entry, content, compresslevel=level)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
