"""Where studies, bank and ensembles lie: a place that the workers reach too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from va_search.cluster.document import Document, Finding, Place
from va_search.cluster.nodes import TYPES, has_workers, worker_types

HOME_OPTION = re.compile(r"""--home[=\s]+["']?([^\s"';]+)""")
MOUNTING = re.compile(r"\b(mount|mountpoint|mount\.\w+|gcsfuse|mount-s3|s3fs|juicefs)\b")
SHARED = "an s3:// or gs:// URL, or a folder that a setup command mounts on every node (NFS, EFS)"


def homes(document: Document) -> Iterator[Finding]:
    """A home that only the head would see, none at all, or a bucket that the workers may not
    read."""
    if not has_workers(document):
        return
    said = document.settings("VA_SEARCH_HOME")
    said += [
        (command.place, home)
        for command in document.commands
        for home in HOME_OPTION.findall(command.text)
    ]
    if not said:
        text = (
            "no home is said, and the default, ./va-home, would lie on the head alone; put VA_SEARCH_HOME into the "
            f"nodes' shells (setup_commands) or give --home to the job: {SHARED}"
        )
        yield document.find("no-home", "warning", ("setup_commands",), text)
    for place, home in said:
        if home.startswith("s3://"):
            yield from _may_read(document, place)
        elif _is_path(home) and not _mounted(document, home.removeprefix("file://")):
            text = f"the home {home} is a folder of each machine by itself: workers can't see the head's; give {SHARED}"
            yield document.find("local-home", "error", place, text)


def _is_path(home: str) -> bool:
    return "://" not in home or home.startswith("file://")


def _mounted(document: Document, home: str) -> bool:
    """Whether a setup command mounts, or checks for, a folder above the home."""
    parts = [part for part in home.split("/") if part]
    above = {"/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return any(
        MOUNTING.search(command.text)
        and any(re.search(rf"{re.escape(folder)}(?![\w/.-])", command.text) for folder in above)
        for command in document.commands
    )


def _may_read(document: Document, place: Place) -> Iterator[Finding]:
    if document.at("provider", "type", kind=str) != "aws" or document.settings("AWS_ACCESS_KEY_ID"):
        return
    for name in worker_types(document):
        if "IamInstanceProfile" not in document.at(TYPES, name, "node_config"):
            text = f"{name} has no IamInstanceProfile (Ray gives one to the head only): its trials can't reach the bucket"
            yield document.find("no-bucket-role", "error", (TYPES, name, "node_config"), text)
