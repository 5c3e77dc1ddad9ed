"""Deploys the templates to the emulator, by the same commands as to AWS."""

import json
import os
from pathlib import Path

from addresses import localise
from cloud.build import CDK
from cloud.emulator import ACCOUNT, REGION, ROOT, Credentials, access, client
from cloud.place import Place
from cloud.processes import run, running


def bootstrap(place: Place) -> None:
    """Gives the emulated account what CDK deploys with, once."""
    if not _bootstrapped(place):
        _cdk(place, ROOT, "bootstrap", f"aws://{ACCOUNT}/{REGION}")


def _bootstrapped(place: Place) -> bool:
    stacks = client(place, "cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"]
    return any(stack["StackName"] == "CDKToolkit" for stack in stacks)


def deploy_changes(place: Place, assembly: Path, who: Credentials) -> dict[str, str]:
    """Deploys every stack, unless this emulator has them as they are. Gives their outputs by name."""
    outputs, mark = place.root / "outputs.json", place.root / "deployed"
    deployed = f"{assembly.name} {running(place)['emulator'].pid}"
    if not mark.exists() or mark.read_text() != deployed:
        options = ["--require-approval", "never", "--concurrency", "6", "--outputs-file", str(outputs)]
        _cdk(place, who, "deploy", "--all", "--app", str(assembly), *options)
        mark.write_text(deployed)
    stacks = json.loads(outputs.read_text())
    return {name: localise(value, place.endpoint) for stack in stacks.values() for name, value in stack.items()}


def _cdk(place: Place, who: Credentials, command: str, *arguments: str) -> None:
    """Runs away from `iac`, whose app would otherwise be synthesised anew."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    environment = inherited | access(place, who) | {
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_HOME": str(place.directory("cdk")),
        "CI": "true",
    }
    words = [str(CDK), command, *arguments, "--no-notices", "--no-color"]
    run(place, f"cdk-{command}", words, environment, cwd=place.root)
