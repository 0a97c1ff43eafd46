"""What Ray fills in where a launcher's file says nothing: its defaults replace whole sections, not
single values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from va_search.cluster.document import Document, Finding, Level
from va_search.cluster.schema import defaults

STOPPING = {"aws", "azure", "gcp", "aliyun"}
"""Providers that stop machines instead of ending them, unless told otherwise."""

BY_COMMAND = (
    (
        "ray-wheels/latest",
        "default-nightly",
        "installs a nightly build of Ray, another version than yours",
    ),
    (
        "--dashboard-host=0.0.0.0",
        "default-dashboard",
        "opens the dashboard to the network (0.0.0.0), without a token",
    ),
    ("ray start", "default-start", "starts nodes without RAY_AUTH_MODE=token"),
)
"""What Ray's default commands may hold, the finding's rule, and what it does."""

BY_SECTION: dict[str, tuple[str, Level, str]] = {
    "available_node_types": (
        "default-nodes",
        "error",
        "Ray's default is its own choice of machines, without GPUs and with disks of its own size; write your own",
    ),
    "max_workers": (
        "default-number",
        "warning",
        "Ray's default is {value}; say what you want to pay for",
    ),
    "idle_timeout_minutes": (
        "default-number",
        "warning",
        "Ray's default is {value}; say what you want to pay for",
    ),
    "setup_commands": (
        "default-setup",
        "warning",
        "Ray and this package must be on the nodes already, as they are here",
    ),
}


def merging(document: Document) -> Iterator[Finding]:
    """Sections left out, by what would stand there instead."""
    provider = document.at("provider", "type", kind=str)
    filled = defaults(provider)
    if filled is None:
        known = "aws, gcp, local, or a RayJob of KubeRay"
        text = f"provider {provider!r} is not known here (known: {known}); Ray may know it, this check does not"
        yield document.find("provider", "warning", ("provider", "type"), text)
        return
    place = ("provider",)
    for section, value in filled.items():
        told = _told(section, value) if not document.has(section) else None
        if told is not None:
            yield document.find(*told[:2], place, told[2])
    if provider in STOPPING and document.at("provider").get("cache_stopped_nodes") is not False:
        said = (
            "is true"
            if document.has("provider", "cache_stopped_nodes")
            else "is left out, and true by default"
        )
        text = f"cache_stopped_nodes {said}: machines are stopped, not ended, and their disks billed on; write false"
        yield document.find("kept-disks", "warning", ("provider", "cache_stopped_nodes"), text)


def _told(section: str, value: Any) -> tuple[str, Level, str] | None:
    """Rule, level and text for a section that is not in the file; None where Ray's default does no
    harm."""
    commands = (
        " ".join(value)
        if isinstance(value, list) and all(isinstance(one, str) for one in value)
        else ""
    )
    for sign, rule, text in BY_COMMAND:
        if sign in commands:
            return rule, "error", f"no {section}: Ray's default {text}; write your own"
    if section in BY_SECTION:
        rule, level, text = BY_SECTION[section]
        return rule, level, f"no {section}: {text}".format(value=value)
    if commands:
        return (
            "default-commands",
            "warning",
            f"no {section}: Ray's default runs `{commands}`; write [] or your own",
        )
    return None
