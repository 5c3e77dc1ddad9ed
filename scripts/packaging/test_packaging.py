"""What packages must be like, over files made here."""

import io
import json
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import verify_functions
import verify_image
import zip_function
from image import Image, is_static


def elf(kind: int) -> bytes:
    """A 64-bit ELF file with one program header of this type."""
    header = bytearray(64)
    header[:4] = b"\x7fELF"
    header[32:40] = (64).to_bytes(8, "little")
    header[54:56] = (56).to_bytes(2, "little")
    header[56:58] = (1).to_bytes(2, "little")
    return bytes(header) + kind.to_bytes(4, "little") + bytes(52)


def archive(path: Path, files: dict[str, bytes], user: str = "65532:65532") -> Image:
    """An OCI archive of one layer."""
    layer = tarred(files)
    config = {"architecture": "amd64", "config": {"User": user, "Entrypoint": ["/bond-cloud"], "Cmd": ["ingest"]}}
    blobs = {
        "blobs/sha256/layer": layer,
        "blobs/sha256/config": json.dumps(config).encode(),
        "blobs/sha256/manifest": json.dumps({"config": {"digest": "sha256:config"}, "layers": [{"digest": "sha256:layer"}]}).encode(),
        "index.json": json.dumps({"manifests": [{"digest": "sha256:manifest"}]}).encode(),
    }
    path.write_bytes(tarred(blobs))
    return Image(path)


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = {"bond-cloud": elf(kind=1), "etc/ssl/certs/ca-certificates.crt": b"certificates"}


def test_the_same_binary_makes_the_same_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    binary = tmp_path / "api"
    binary.write_bytes(b"binary")
    zip_function.pack(binary, tmp_path / "one.zip")
    later = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    zip_function.pack(binary, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_lambda_finds_an_executable_bootstrap(tmp_path: Path):
    binary = tmp_path / "api"
    binary.write_bytes(b"binary")
    zip_function.pack(binary, tmp_path / "api.zip")
    assert verify_functions.unpacked(tmp_path / "api.zip", tmp_path / "out").read_bytes() == b"binary"


def test_a_zip_with_anything_but_an_executable_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "api.zip", "w") as out:
        out.writestr(zipfile.ZipInfo("bootstrap"), b"binary")
    with pytest.raises(SystemExit, match="executable bootstrap"):
        verify_functions.unpacked(tmp_path / "api.zip", tmp_path / "out")


def test_a_binary_with_an_interpreter_is_not_static(tmp_path: Path):
    for kind, static in ((1, True), (3, False)):
        (tmp_path / "binary").write_bytes(elf(kind))
        assert is_static(tmp_path / "binary") is static


def test_a_right_image_passes_and_runs_its_own_command(tmp_path: Path):
    image = archive(tmp_path / "image.tar", GOOD)
    verify_image.check(image, tmp_path / "root")
    assert verify_image.command(image, tmp_path / "root", *image.config["Cmd"])[-2:] == [str(tmp_path / "root" / "bond-cloud"), "ingest"]


@pytest.mark.parametrize(
    ("files", "user", "reason"),
    [
        ({**GOOD, "bin/sh": b"shell"}, "65532:65532", "other files"),
        (GOOD, "0", "user 65532"),
        ({**GOOD, "bond-cloud": elf(kind=3)}, "65532:65532", "not static"),
    ],
)
def test_a_wrong_image_is_refused(tmp_path: Path, files: dict, user: str, reason: str):
    with pytest.raises(SystemExit, match=reason):
        verify_image.check(archive(tmp_path / "image.tar", files, user), tmp_path / "root")
