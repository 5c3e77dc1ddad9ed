"""What is deployed: the binaries, their zips, and the templates. Made once for as long as nothing changes."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import zip_function

from cloud import processes
from cloud.place import REPOSITORY, Place

FUNCTIONS = ("api", "ws_connect", "ws_disconnect", "ws_message", "fanout")
IAC = REPOSITORY / "iac"
TOOLS = IAC / "node_modules" / ".bin"
CDK = TOOLS / "cdk"
# Assemblies are kept as cargo keeps what it builds; the oldest beyond this many are removed.
KEPT_ASSEMBLIES = 4


def install_cdk(place: Place) -> None:
    """Installs iac's packages as its lock file says, unless they are those already."""
    installed, lock = IAC / "node_modules" / ".package-lock.json", IAC / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        processes.run(place, "npm", ["npm", "ci", "--no-audit", "--no-fund"], cwd=IAC)
        installed.touch()


def binaries(place: Place, profile: str) -> Path:
    """Builds the functions, ingest and the `bond` command for this machine. Gives their directory."""
    packages = ["-p", "bond-functions", "-p", "bond-cloud", "-p", "bond-edge"]
    processes.run(place, "cargo", ["cargo", "build", "--locked", "--profile", profile, "--bins", *packages], cwd=REPOSITORY)
    return directory(profile)


def directory(profile: str) -> Path:
    """Where cargo puts what it builds with a profile."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / ("debug" if profile == "dev" else profile)


def assembly(place: Place, built: Path, settings: list[str]) -> Path:
    """The templates with the functions of `built` as their assets: a directory that `cdk --app` takes.

    `settings` are iac's, each as `NAME=VALUE`.
    """
    store = REPOSITORY / "target" / "cloud"
    store.mkdir(parents=True, exist_ok=True)
    made = store / _fingerprint(built, settings)
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=store) as work:
            _synthesise(place, built, settings, Path(work))
            _keep(Path(work) / "cdk.out", made)
    os.utime(made)
    _prune(store)
    return made


def _synthesise(place: Place, built: Path, settings: list[str], work: Path) -> None:
    zips = work / "dist"
    zips.mkdir()
    for name in FUNCTIONS:
        _zip(built / name, zips / f"{name}.zip")
    environment = dict(os.environ) | {"PATH": f"{TOOLS}:{os.environ['PATH']}"}
    context = [word for setting in [f"zips={zips}", *settings] for word in ("--context", f"bond:{setting}")]
    command = [str(CDK), "synth", "--quiet", *context, "--output", str(work / "cdk.out")]
    processes.run(place, "cdk-synth", command, environment, cwd=IAC)


def _keep(made: Path, kept: Path) -> None:
    try:
        made.rename(kept)
    except OSError:
        if not kept.exists():
            raise


def _prune(store: Path) -> None:
    oldest_first = sorted((path for path in store.iterdir() if len(path.name) == 64), key=lambda path: path.stat().st_mtime)
    for path in oldest_first[:-KEPT_ASSEMBLIES]:
        shutil.rmtree(path, ignore_errors=True)


def _fingerprint(built: Path, settings: list[str]) -> str:
    sources = [path for path in IAC.rglob("*") if path.is_file() and not {"node_modules", "cdk.out"} & set(path.parts)]
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in [*sorted(sources), *(built / name for name in FUNCTIONS)]:
        digest.update(f"{path.name}\0{content_hash(path)}\0".encode())
    return digest.hexdigest()


def content_hash(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zip(binary: Path, to: Path) -> None:
    """Packs a binary without its symbols: a debug build takes long enough to load."""
    bare = to.with_suffix("")
    subprocess.run(["strip", "-o", str(bare), str(binary)], check=True)
    zip_function.pack(bare, to, level=1)
    bare.unlink()
