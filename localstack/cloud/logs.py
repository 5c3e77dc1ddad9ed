"""`cloud-logs`: what functions and processes have written."""

from typing import Iterator

from cloud import emulator, processes
from cloud.place import Place


def lines(place: Place, last: int) -> Iterator[str]:
    """The end of each process's log, then that of each log group: a function's output goes to its group alone."""
    for path in sorted(place.logs.glob("*.log")):
        yield f"== {path.name}"
        yield processes.tail(path, last)
    if "emulator" in processes.running(place):
        yield from _groups(place, last)


def _groups(place: Place, last: int) -> Iterator[str]:
    logs = emulator.client(place, "logs")
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        messages = [event["message"].rstrip() for page in pages for event in page["events"]]
        yield f"== {group['logGroupName']}"
        yield from messages[-last:]
