"""The commands `up`, `down` and `logs`."""

import argparse
import shlex
import sys
from pathlib import Path

from cloud import build, logs
from cloud.down import down
from cloud.place import Place
from cloud.processes import Failed
from cloud.up import Options, default_place, up


def main() -> int:
    arguments = _parser().parse_args()
    place = Place(arguments.dir.resolve()) if arguments.dir else default_place()
    try:
        return arguments.run(place, arguments)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloud")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", prog="cloud-up", description="Runs the AWS shape of Bond on this machine.")
    stop = commands.add_parser("down", prog="cloud-down", description="Ends what cloud-up started.")
    show = commands.add_parser("logs", prog="cloud-logs", description="Shows what functions and processes wrote.")
    for command, run in ((start, _up), (stop, _down), (show, _logs)):
        command.add_argument("--dir", type=Path, help="the cloud's directory (default: .cloud)")
        command.set_defaults(run=run)
    show.add_argument("--last", type=int, default=50, help="how many lines of each (default: 50)")
    start.add_argument("--auth", action="store_true", help="let the emulator enforce IAM")
    start.add_argument("--profile", default="dev", help="the cargo profile to build with (default: dev)")
    start.add_argument("--no-build", action="store_true", help="take the binaries of --profile as they are")
    start.add_argument("--binaries", type=Path, help="take the binaries of this directory")
    start.add_argument("--ingest", type=int, default=1, help="how many ingest processes, of which one leads (default: 1)")
    start.add_argument("--port", type=int, help="the emulator's port (default: a free one)")
    start.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of iac")
    start.add_argument("--venues", choices=("sim", "live"), default="sim", help="simulated or real venues (default: sim)")
    start.add_argument("--ingest-args", default="", help="what else ingest is told, as on a command line")
    start.add_argument("--json", type=Path, help="write URLs, key and pids to this file")
    return parser


def _up(place: Place, arguments: argparse.Namespace) -> int:
    binaries = arguments.binaries
    if arguments.no_build and binaries is None:
        binaries = build.directory(arguments.profile)
    described = up(
        Options(
            place,
            binaries=binaries,
            profile=arguments.profile,
            enforce_iam=arguments.auth,
            ingest=arguments.ingest,
            port=arguments.port,
            settings=tuple(arguments.set),
            ingest_arguments=("--venues", arguments.venues, *shlex.split(arguments.ingest_args)),
            json=arguments.json,
        )
    )
    print(f"REST:       {described['rest_url']}")
    print(f"WebSocket:  {described['ws_url']}")
    print(f"API key:    {described['api_key']}")
    print(f"Running:    {', '.join(f'{name} (pid {pid})' for name, pid in described['pids'].items())}")
    print(f"Logs:       {place.logs}   stop with `make cloud-down`")
    return 0


def _down(place: Place, arguments: argparse.Namespace) -> int:
    ended = down(place)
    print(f"ended {', '.join(ended)}" if ended else "no cloud is running")
    return 0


def _logs(place: Place, arguments: argparse.Namespace) -> int:
    for line in logs.lines(place, arguments.last):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
